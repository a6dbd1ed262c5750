"""The one event loop of a process that runs an asynchronous model."""

import asyncio
import contextlib
import warnings
from typing import Iterator, Optional


@contextlib.contextmanager
def own_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The loop that ``asyncio.get_event_loop()`` gives, not running yet: a synchronous ``setup`` may put
    tasks on it, or run something on it, and what it makes there is of use to ``predict``. One that the
    model's module got in this way is taken over. At the end its tasks are cancelled.
    """
    loop = _present_loop() or asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        try:
            _cancel_tasks(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _present_loop() -> Optional[asyncio.AbstractEventLoop]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some Pythons make one here, and warn that later ones will not
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            return None
    return None if loop.is_closed() else loop


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks))
