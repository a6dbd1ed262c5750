"""The threads that storage works on."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from coordinator.actor.writers import Writers
from tests.support.virtual_clock import breathe


@pytest.fixture
def writers() -> Iterator[Writers]:
    writers = Writers(2, "test")
    yield writers
    writers.close()
    writers.close()


async def test_what_a_function_gives_or_raises(writers: Writers) -> None:
    assert await writers.run(lambda: threading.current_thread().name) in ("test-0", "test-1")
    with pytest.raises(ZeroDivisionError):
        await writers.run(lambda: 1 // 0)
    assert await writers.run(lambda: "still here") == "still here"


async def test_as_many_at_once_as_there_are_threads(writers: Writers) -> None:
    both = threading.Barrier(2, timeout=5)
    await asyncio.gather(writers.run(both.wait), writers.run(both.wait))


async def test_a_function_runs_to_its_end_though_nobody_waits(writers: Writers) -> None:
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(5)
        done.set()

    waiting = asyncio.ensure_future(writers.run(work))
    await breathe()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    writers.post(lambda: None)
    writers.close()
    assert done.is_set()


async def test_close_lets_what_was_given_be_done(writers: Writers) -> None:
    done: list[int] = []
    for number in range(100):
        writers.post(lambda number=number: done.append(number))  # type: ignore[misc]
    writers.close()
    assert sorted(done) == list(range(100))
    with pytest.raises(RuntimeError, match="ended"):
        writers.run(lambda: None)


async def test_answers_that_come_before_the_loop_looks_wake_it_once(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    woken: list[object] = []
    wake = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *a: woken.append(a) or wake(*a))  # type: ignore[func-returns-value]
    done = threading.Semaphore(0)
    answers = [writers.run(done.release) for _ in range(20)]
    for _ in answers:  # the loop stands still meanwhile
        assert done.acquire(timeout=5)
    writers.close()
    await asyncio.gather(*answers)
    assert len(woken) == 1
