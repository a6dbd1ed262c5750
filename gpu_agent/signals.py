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
        # Stays until the loop closes: without a handler SIGHUP would end this process.
        loop.add_signal_handler(signal.SIGHUP, self._received)

    @classmethod
    def here(cls) -> "OutputSignal":
        """The one of the running loop. Raises ``RuntimeError`` when that is not in the main thread."""
        loop = asyncio.get_running_loop()
        found = cls._of_loop.get(loop)
        if found is None:
            found = cls._of_loop[loop] = cls(loop)
        return found

    def listen(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def forget(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def _received(self) -> None:
        # The loop calls this once for each signal. Those of one turn were all sent before the first is told
        # on, so that a look at the files now sees what each of them stands for.
        if not self._told:
            self._told = True
            self._loop.call_soon(self._next_turn)
            for listener in tuple(self._listeners):
                listener()

    def _next_turn(self) -> None:
        self._told = False
