"""FIFOs that serve one prediction after the other."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from gpu_agent.log_fifo import LogFifos


@pytest_asyncio.fixture
async def fifos(tmp_path: Path) -> AsyncIterator[LogFifos]:
    made = LogFifos(str(tmp_path))
    yield made
    made.close()


async def test_one_that_nobody_holds_serves_the_next(fifos: LogFifos, tmp_path: Path) -> None:
    first: list[bytes] = []
    fifo = fifos.take("1")
    fifo.listen(first.append)
    inode = (tmp_path / "1").stat().st_ino
    (tmp_path / "1").write_text("one")
    fifo.pipe.drain()
    (tmp_path / "1").write_text("after the answer")
    fifos.give(fifo)
    second: list[bytes] = []
    again = fifos.take("2")
    again.listen(second.append)
    assert (tmp_path / "2").stat().st_ino == inode
    assert not (tmp_path / "1").exists()
    (tmp_path / "2").write_text("two")
    again.pipe.drain()
    assert (first, second) == ([b"one"], [b"two"])


async def test_one_that_is_held_serves_no_other(fifos: LogFifos, tmp_path: Path) -> None:
    fifo = fifos.take("1")
    left_behind = os.open(tmp_path / "1", os.O_WRONLY)
    try:
        fifos.give(fifo)
        said: list[bytes] = []
        other = fifos.take("2")
        other.listen(said.append)
        os.write(left_behind, b"late")
        other.pipe.drain()
        assert said == []
        assert fifo.pipe.open
    finally:
        os.close(left_behind)
    fifo.pipe.drain()
    assert not fifo.pipe.open


async def test_one_that_the_model_has_removed_is_made_anew(fifos: LogFifos, tmp_path: Path) -> None:
    for when in ("before the end", "after it"):
        fifo = fifos.take("1")
        if when == "before the end":
            (tmp_path / "1").unlink()
        fifos.give(fifo)
        (tmp_path / "1").unlink(missing_ok=True)
        assert fifos.take("2") is not fifo
        assert (tmp_path / "2").is_fifo()
        (tmp_path / "2").unlink()
