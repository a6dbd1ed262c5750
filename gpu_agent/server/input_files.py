"""Input files: what a request names by URL lies on this disk, under its own name, when the model sees it."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coordinator.protocol.addresses import AddressRules
from gpu_agent.declared import Declared

if TYPE_CHECKING:
    from gpu_agent.fetch import Fetcher
    from gpu_agent.inputs import Inputs


HandOver = Callable[[Path], None]
"""Makes a folder's files readable for whoever is to read them. Blocks."""


class BadFile(Exception):
    """An input file could not be had; the text is fit for the client's eyes."""


class InputFiles:
    """Fetches for one model. What does it is imported for the first file. ``close`` it at the end."""

    def __init__(
        self,
        declared: Declared,
        folder: Path,
        rules: AddressRules,
        *,
        limit_bytes: int,
        limit_s: float,
        hand_over: HandOver | None = None,
    ) -> None:
        self._declared = declared
        self._folder = folder
        self._rules = rules
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s
        self._hand_over = hand_over
        self._fetcher: Fetcher | None = None
        self._inputs: Inputs | None = None
        self._making = asyncio.Lock()

    def needed(self, given: Mapping[str, Any]) -> bool:
        """Whether the input, or a default of the model, names a file."""
        return bool(self._declared.with_files(given)[1])

    async def fetch(self, key: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The input with paths in the places of URLs; ``forget`` them. Raises ``BadFile``."""
        inputs = self._inputs or await self._make()
        from gpu_agent.inputs import InputFailed

        try:
            ready = await inputs.fetch(given, self._declared, {}, self._folder / key)
            if self._hand_over is not None:
                await asyncio.to_thread(self._hand_over, self._folder / key)
        except InputFailed as error:
            raise BadFile(str(error)) from None
        except OSError as error:
            raise BadFile(f"an input file could not be written: {error.strerror}") from None
        return ready

    async def forget(self, key: str) -> None:
        """Remove what was fetched for a prediction."""
        await asyncio.to_thread(shutil.rmtree, self._folder / key, ignore_errors=True)

    async def _make(self) -> "Inputs":
        async with self._making:
            if self._inputs is None:
                self._fetcher, made = await asyncio.to_thread(self._new)
                self._inputs = made
                return made
            return self._inputs

    def _new(self) -> "tuple[Fetcher, Inputs]":
        from gpu_agent.fetch import Fetcher
        from gpu_agent.inputs import Inputs
        from gpu_agent.tls import client_context

        fetcher = Fetcher(self._rules, client_context(), limit_bytes=self._limit_bytes, limit_s=self._limit_s)
        # Nothing is our own here: every URL is the world's.
        return fetcher, Inputs(own=fetcher, world=fetcher, base_url="")

    async def close(self) -> None:
        """Safe to call twice."""
        fetcher, self._fetcher, self._inputs = self._fetcher, None, None
        if fetcher is not None:
            await fetcher.close()
