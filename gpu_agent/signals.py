"""SIGHUP, by which model processes say that they have written something, for any number of listeners.

A signal does not tell who sent it, and several may arrive as one: each listener looks at its own files.
"""

import asyncio
import signal
import weakref
from collections.abc import Callable

Listener = Callable[[], None]


class OutputSignal:
    """The one handler of SIGHUP on a loop. Only for a loop in the main thread."""

    _of_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, OutputSignal]" = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._listeners: set[Listener] = set()
        self._told = False
        # Not the loop's own way, which takes it another turn to tell us. The handler stays when the loop has
        # ended: without one SIGHUP would end this process.
        signal.signal(signal.SIGHUP, self._received)

    @classmethod
    def here(cls) -> "OutputSignal":
        """The one of the running loop. Raises ``RuntimeError`` when that is not in the main thread."""
        loop = asyncio.get_running_loop()
        found = cls._of_loop.get(loop)
        if found is None:
            try:
                found = cls._of_loop[loop] = cls(loop)
            except ValueError as error:
                raise RuntimeError(str(error)) from None
        return found

    def listen(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def forget(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def _received(self, _number: int, _frame: object) -> None:
        # Signals until the listeners are told stand for files that they will see then.
        if not self._told and not self._loop.is_closed():
            self._told = True
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._told = False
        for listener in tuple(self._listeners):
            listener()
