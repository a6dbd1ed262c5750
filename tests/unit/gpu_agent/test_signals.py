"""The one handler of SIGHUP on a loop."""

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from gpu_agent.signals import OutputSignal


async def test_each_listener_is_told_until_it_is_forgotten() -> None:
    told: list[str] = []
    both = asyncio.Event()
    signals = OutputSignal.here()

    def first() -> None:
        told.append("first")

    def second() -> None:
        told.append("second")
        both.set()

    signals.listen(first)
    signals.listen(second)
    signals.forget(first)
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(10):
        await both.wait()
    signals.forget(second)
    assert told == ["second"]
    assert OutputSignal.here() is signals


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_signal_that_does_not_interrupt_the_loops_wait_is_noticed_all_the_same() -> None:
    """As when it comes after the interpreter's last look at its signals, and before the wait has begun."""
    told = asyncio.Event()
    signals = OutputSignal.here()
    signals.listen(told.set)
    loop = Path(f"/proc/self/task/{threading.get_native_id()}/stat")

    def signal_this_thread() -> None:
        deadline = time.monotonic() + 10
        while loop.read_text().rsplit(")", 1)[1].split()[0] != "S" and time.monotonic() < deadline:
            time.sleep(0.001)
        signal.pthread_kill(threading.get_ident(), signal.SIGHUP)

    thread = threading.Thread(target=signal_this_thread)
    thread.start()
    try:
        async with asyncio.timeout(10):
            await told.wait()
    finally:
        signals.forget(told.set)
        thread.join()


def test_it_needs_the_main_thread() -> None:
    async def here() -> None:
        with pytest.raises(RuntimeError, match="main thread"):
            OutputSignal.here()

    thread = threading.Thread(target=lambda: asyncio.run(here()))
    thread.start()
    thread.join()


def test_a_signal_after_the_loops_end_ends_nothing() -> None:
    async def here() -> None:
        OutputSignal.here()

    asyncio.run(here())
    os.kill(os.getpid(), signal.SIGHUP)
