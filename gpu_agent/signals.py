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
        # A loop that handles any signal, if only one that nobody sends, is woken by each (set_wakeup_fd).
        # Else one that comes just before it waits is not noticed until something else happens.
        loop.add_signal_handler(signal.SIGURG, _nothing)
        # SIGHUP itself not in the loop's way, which takes it another turn to tell us. The handler stays when
        # the loop has ended: without one SIGHUP would end this process.
        signal.signal(signal.SIGHUP, self._received)

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

    def _received(self, _number: int, _frame: object) -> None:
        # Signals until the listeners are told stand for files that they will see then.
        if not self._told and not self._loop.is_closed():
            self._told = True
            self._loop.call_soon(self._tell)  # the signal has woken the loop

    def _tell(self) -> None:
        self._told = False
        for listener in tuple(self._listeners):
            listener()


def _nothing() -> None:
    pass
