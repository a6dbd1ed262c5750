"""Threads of tests that do not take the signals by which models' processes speak to the test as their parent."""

import signal
import threading

SPOKEN = {signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}


def start_deaf(thread: threading.Thread) -> threading.Thread:
    """Start it with these signals blocked: the kernel gives a signal to any thread of the process that has not
    blocked it, and there its default action would end the whole test run."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SPOKEN)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread
