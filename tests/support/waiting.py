"""Waiting for a condition inside the loop."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], T | None], what: str, deadline_s: float = 5.0) -> T:
    """Ask again until the condition gives something true; fail with what was waited for."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if loop.time() > end:
            raise AssertionError(f"after {deadline_s:g} s still not: {what}")
        await asyncio.sleep(0.001)


async def until_async(condition: Callable[[], Awaitable[T | None]], what: str, deadline_s: float = 5.0) -> T:
    """The same for a condition that must be awaited."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while True:
        value = await condition()
        if value:
            return value
        if loop.time() > end:
            raise AssertionError(f"after {deadline_s:g} s still not: {what}")
        await asyncio.sleep(0.001)
