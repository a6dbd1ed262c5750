"""Sends webhooks: takes a slot, signs, posts, and says what came of it."""

import logging
from collections.abc import Awaitable, Callable

from coordinator.actor.clock import Clock
from coordinator.errors import Unavailable
from coordinator.letters import Try
from coordinator.prediction import Document
from coordinator.protocol.addresses import check_url
from coordinator.webhooks.post import NoAnswer, Poster
from coordinator.webhooks.signing import headers
from coordinator.webhooks.slots import Room

log = logging.getLogger(__name__)

Render = Callable[[Document], Awaitable[bytes]]
Keys = Callable[[str], Awaitable[tuple[str, ...]]]
"""An account's secrets that are valid now, the newest first. Raises Unavailable."""


class Sender:
    """One for each process. ``renders`` gives the body of each dialect."""

    def __init__(
        self, *, poster: Poster, room: Room, renders: dict[str, Render], keys: Keys, clock: Clock
    ) -> None:
        self._poster = poster
        self._room = room
        self._renders = renders
        self._keys = keys
        self._clock = clock

    async def stop(self) -> None:
        """Close the connections, once nothing is sent any more."""
        await self._poster.close()

    async def render(self, dialect: str, document: Document) -> bytes:
        """The body. Raises Unavailable when it cannot be made now."""
        return await self._renders[dialect](document)

    async def send(self, account: str, url: str, message: str, body: bytes) -> Try:
        """One request, signed at the time of its sending."""
        target = check_url(url)
        async with self._room.hold(account, f"{target.host}:{target.port}"):
            began, at = self._clock.monotonic(), self._clock.now()
            status, error = await self._request(account, url, message, at // 1_000_000, body)
            took_s = round(self._clock.monotonic() - began, 3)
        if error:
            log.info("webhook %s was not delivered to %s: %s", message, target.host, error)
        return Try(at=at, took_s=took_s, status=status, error=error)

    async def _request(
        self, account: str, url: str, message: str, timestamp: int, body: bytes
    ) -> tuple[int | None, str]:
        try:
            signed = headers(await self._keys(account), message, timestamp, body)
            status = await self._poster.post(url, signed, body)
        except NoAnswer as failed:
            return None, str(failed)
        except Unavailable:
            return None, "the server could not read its secret"
        except Exception:
            log.exception("webhook %s could not be sent", message)
            return None, "the server could not send it"
        return status, _fault(status)


def _fault(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"the answer was {status}: redirects are not followed"
    return f"the answer was {status}"
