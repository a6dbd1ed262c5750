"""Ends this process when its parent has died, even in the middle of a call into C."""

import os
import select
import signal
import stat
import sys

F_SETSIG = 10
"""Linux: which signal a descriptor sends. Not in ``fcntl`` of every Python."""
PR_SET_PDEATHSIG = 1


def hold(parent: int) -> None:
    """If stdin is a pipe, its end is the parent's; else, on Linux, the kernel is asked to tell of its death.

    Leaves /dev/null as stdin, so that neither the model nor its children read from or hold the pipe.
    """
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        _hold_pipe(os.dup(0))
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
    elif sys.platform == "linux" and os.getppid() == parent:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _hold_pipe(pipe: int) -> None:
    if sys.platform == "linux":
        import fcntl

        # The kernel kills without our help; the whole group if this process leads one, children included.
        owner = -os.getpid() if os.getpgrp() == os.getpid() else os.getpid()
        fcntl.fcntl(pipe, fcntl.F_SETOWN, owner)
        fcntl.fcntl(pipe, F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        if poll.poll(0):
            os._exit(1)
        return
    import threading

    def wait() -> None:
        while os.read(pipe, 512):
            pass
        os._exit(1)

    threading.Thread(target=wait, name="coglet-lifeline", daemon=True).start()
