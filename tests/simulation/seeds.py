"""Runs plans and seeds: one, or many side by side in processes of their own."""

import gc
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from pathlib import Path

from tests.simulation.history import Broken, History
from tests.simulation.plan import Plan, plan_of
from tests.simulation.world import run

MEMORY = Path("/dev/shm")


def simulate(plan: Plan, told: Callable[[str], object] = lambda line: None) -> History:
    """One run in a folder of its own; ``told`` gets each line of its story. Raises Broken."""
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        return run(plan, Path(folder), told)


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


def _ready() -> None:
    """Of a process that runs many: what is there from the start is not looked through after each of them."""
    quiet()
    broken(plan_of(0))
    gc.collect()
    gc.freeze()


def _broken_by(seed: int) -> str:
    return broken(plan_of(seed))


def failing(seeds: range, jobs: int, *, first: bool = False) -> Iterator[tuple[int, str]]:
    """The seeds that fail, and why; only the first that is found, if ``first``."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_ready) as pool:
        running = {pool.submit(_broken_by, seed): seed for seed in seeds}
        for done in as_completed(running):
            if reason := done.result():
                yield running[done], reason
                if first:
                    pool.shutdown(wait=False, cancel_futures=True)
                    for child in active_children():  # what they are at may take long, and nobody asks for it
                        child.kill()
                    return
