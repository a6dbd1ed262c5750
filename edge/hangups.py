"""Notices that the client of a request has gone, while its answer is being waited for."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from edge.one_write import GONE
from edge.replies import HTTPRequest

T = TypeVar("T")


class HungUp(Exception):
    """The client closed its connection."""


async def unless_hung_up(request: HTTPRequest, work: Awaitable[T]) -> T:
    """The result of ``work``. Raises HungUp, and cancels ``work``, when the client goes before that.

    The request's body must have been read: what comes after it can only be the end of the connection.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        gone.result()
        raise HungUp
    finally:
        both: tuple[asyncio.Future[Any], ...] = (working, gone)
        for future in both:
            future.cancel()
        await asyncio.gather(*both, return_exceptions=True)


def departure(request: HTTPRequest) -> Callable[[], bool]:
    """What says whether the client of this request has closed its connection by then."""
    known: Callable[[], bool] | None = request.scope.get(GONE)  # type: ignore[assignment]
    return known or partial(is_gone, request)


def is_gone(request: HTTPRequest) -> bool:
    """Whether the client has closed its connection by now. The request's body must have been read."""
    # One step of what would otherwise be waited for.
    steps = request.receive().__await__()
    try:
        next(steps)
    except StopIteration as told:
        return bool(told.value["type"] == "http.disconnect")
    finally:
        steps.close()
    return False


async def _gone(request: HTTPRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
