"""Runs plans and seeds: one, or many side by side in processes of their own."""

import gc
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from tests.simulation.history import Broken, History
from tests.simulation.plan import Plan, plan_of
from tests.simulation.world import run

MEMORY = Path("/dev/shm")
MOST_S = 120.0
"""Real time that one seed may take; most take less than one second. It finds what hangs within one step."""


def simulate(plan: Plan, told: Callable[[str], object] = lambda line: None) -> History:
    """One run in a folder of its own; ``told`` gets each line of its story. Raises Broken."""
    with _folder() as folder:
        return run(plan, Path(folder), told)


def _folder() -> "tempfile.TemporaryDirectory[str]":
    memory = str(MEMORY) if MEMORY.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="simulation-", dir=tempfile.tempdir or memory)


def broken(plan: Plan) -> str:
    """Why it fails; empty when it does not."""
    try:
        simulate(plan)
    except Broken as error:
        return str(error)
    except Exception as error:
        return f"the simulation itself failed: {error!r}"
    return ""


def quiet() -> None:
    """Say nothing of what killed processes leave behind for the garbage collector, and of what is logged."""
    sys.unraisablehook = lambda _: None
    logging.getLogger().setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")


def failing(seeds: range, jobs: int, *, first: bool = False) -> Iterator[tuple[int, str]]:
    """The seeds that fail, and why; only the first that is found, if ``first``: the others are killed then.

    Each runs in a fork of this process, which has everything in memory and is thrown away as it is.
    """
    _warm()
    left, running = iter(seeds), dict[Connection, _Running]()
    with _folder() as folder:
        try:
            while True:
                while len(running) < jobs and (seed := next(left, None)) is not None:
                    one = _forked(seed, folder)
                    running[one.answer] = one
                if not running:
                    return
                for one in _over(running):
                    reason = _reason(one)
                    if reason:
                        yield one.seed, reason
                        if first:
                            return
        finally:
            for one in running.values():
                one.process.kill()
                one.process.join()


class _Running(NamedTuple):
    seed: int
    process: BaseProcess
    answer: Connection
    until: float
    """On the monotonic clock."""


def _warm() -> None:
    """What is there from the start is neither read again nor looked through by each fork."""
    quiet()
    broken(plan_of(0))
    gc.collect()
    gc.freeze()


def _forked(seed: int, folder: str) -> _Running:
    forks = get_context("fork")
    near, far = forks.Pipe(duplex=False)
    process = forks.Process(target=_run_seed, args=(seed, folder, far))
    process.start()
    far.close()
    return _Running(seed, process, near, time.monotonic() + MOST_S)


def _run_seed(seed: int, folder: str, answer: Connection) -> None:
    tempfile.tempdir = folder
    gc.disable()
    answer.send(broken(plan_of(seed)))


def _over(running: dict[Connection, _Running]) -> list[_Running]:
    """Wait for some that have ended, or have run for too long."""
    nearest = min(one.until for one in running.values())
    wait(list(running), max(0.0, nearest - time.monotonic()))
    now = time.monotonic()
    over = [one for one in running.values() if one.answer.poll() or one.until <= now]
    for one in over:
        del running[one.answer]
    return over


def _reason(one: _Running) -> str:
    reason = f"it had not ended after {MOST_S:g} s of real time"
    if one.answer.poll():
        reason = "its process ended with no word"
        with suppress(EOFError):
            reason = one.answer.recv()
    else:
        one.process.kill()
    one.process.join()
    one.answer.close()
    return reason
