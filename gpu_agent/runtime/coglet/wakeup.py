"""Wakes coglet when a file appears in its working directory, without polling: SIGIO from the kernel.

On Linux the kernel itself sends it (``fcntl.F_NOTIFY``); elsewhere a thread on ``kqueue`` does. Where neither
works the parent sends SIGIO after each file it writes: the handler only ever means "look again".
"""

import os
import select
import signal
import sys
from typing import Any, Callable


class Wakeup:
    """The one receiver of SIGIO. Made and used in the main thread."""

    def __init__(self, on_signal: Callable[[], None]) -> None:
        self._on_signal = on_signal
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)
        self.refresh()
        # A parent that blocks signals passes that on to us.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO, signal.SIGHUP})

    def refresh(self) -> None:
        """Install the handler; again after setup and each prediction: a model may put its own there, and the
        next file to appear is our answer."""
        signal.signal(signal.SIGIO, self._handle)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def _handle(self, _number: int, _frame: Any) -> None:
        self._on_signal()

    def watch(self, path: str) -> bool:
        """Begin to watch the directory; look into it once afterwards. False: the parent must send SIGIO."""
        if sys.platform == "linux":
            return self._watch_by_kernel(path)
        return _watch_by_kqueue(path)

    def _watch_by_kernel(self, path: str) -> bool:
        import fcntl

        watched = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # A draft renamed into the directory counts as created, one renamed within it as renamed.
        events = fcntl.DN_CREATE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT
        try:
            fcntl.fcntl(watched, fcntl.F_NOTIFY, events)
        except OSError:
            return False
        return True

    def wait(self) -> None:
        """Return after a signal, at once if one came since the last ``clear``."""
        self._poll.poll()

    def clear(self) -> None:
        """Forget the signals until now, those of our own files among them: whoever calls it looks next."""
        try:
            while len(os.read(self._reader, 512)) == 512:
                pass
        except BlockingIOError:
            pass


def _watch_by_kqueue(path: str) -> bool:
    if sys.platform == "linux" or not hasattr(select, "kqueue"):
        return False
    import threading

    queue = select.kqueue()
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    change = select.kevent(
        directory,
        filter=select.KQ_FILTER_VNODE,
        flags=select.KQ_EV_ADD | select.KQ_EV_CLEAR,
        fflags=select.KQ_NOTE_WRITE,
    )
    queue.control([change], 0)
    main = threading.main_thread().ident
    assert main is not None

    def run() -> None:
        while True:
            if queue.control(None, 1, None):
                signal.pthread_kill(main, signal.SIGIO)

    threading.Thread(target=run, name="coglet-watch", daemon=True).start()
    return True
