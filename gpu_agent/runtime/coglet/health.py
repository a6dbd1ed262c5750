"""The model's own ``healthcheck``, in a thread of its own: it answers also while a prediction runs.

Who wants to know writes a line with an id into the FIFO ``healthcheck``; the answer is ``health-ID.json``.
"""

import os
import threading
from typing import Any, Callable, List, Optional

from coglet.folder import WorkFolder, valid_id
from coglet.outlets import Parent

LIMIT_S = 5.0
"""An asynchronous check ends then. One that blocks cannot be ended: no answer is then the answer."""


class Health:
    """Runs the checks that are asked for, one at a time; those asked for meanwhile share the next.

    ``loop`` is the predictions' event loop, on which an ``async def healthcheck`` runs.
    """

    def __init__(self, check: Callable[[], Any], folder: WorkFolder, parent: Parent, loop: Any) -> None:
        self._check = check
        self._folder = folder
        self._parent = parent
        self._loop = loop
        path = folder.healthcheck_path
        os.mkfifo(path, 0o600)
        # Open for writing too, so that the FIFO has no end when the last one who asks has gone.
        self._asked = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        threading.Thread(target=self._run, name="coglet-health", daemon=True).start()

    def _run(self) -> None:
        rest = b""
        while True:
            *lines, rest = (rest + os.read(self._asked, 4096)).split(b"\n")
            ids = [line.decode("ascii", "replace") for line in lines]
            self._answer([each for each in ids if valid_id(each)])

    def _answer(self, ids: List[str]) -> None:
        error = self._outcome()
        for each in ids:
            self._folder.write_health(each, {"healthy": error is None, "error": error})
        if ids:
            self._parent.output()

    def _outcome(self) -> Optional[str]:
        """None when it is well, else why not."""
        try:
            healthy = self._check()
            if hasattr(healthy, "__await__"):
                healthy = self._wait_for(healthy)
        except BaseException as error:
            return str(error) or type(error).__name__
        # What a check returns besides True and False says nothing; None is that of a check that only raises.
        return "user-defined healthcheck returned False" if healthy is False else None

    def _wait_for(self, running: Any) -> Any:
        import asyncio
        import concurrent.futures

        async def limited() -> Any:
            return await asyncio.wait_for(running, LIMIT_S)

        try:
            if self._loop is None:
                return asyncio.run(limited())
            return asyncio.run_coroutine_threadsafe(limited(), self._loop).result(LIMIT_S * 2)
        except (TimeoutError, asyncio.TimeoutError, concurrent.futures.TimeoutError):
            raise RuntimeError(f"the healthcheck took longer than {LIMIT_S:g} s") from None
