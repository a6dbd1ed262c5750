"""HTTP that the server itself asks for: webhooks and uploads. Connections are kept and shared, and each goes
only where the rules of addresses allow. What is needed for it is imported with the first request, as many
servers never make one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from coordinator.protocol.addresses import AddressRules, UrlRefused, check_url

if TYPE_CHECKING:
    import httpcore

CONNECT_S = 10.0
ANSWER_BYTES = 64 * 1024
"""What is read of an answer; nobody looks at more."""
KEEP_ALIVE_S = 30.0

Headers = Sequence[tuple[str, str]]


class SendFailed(Exception):
    """There was no answer; the text says why. Trying again may help."""


class SendRefused(Exception):
    """It may not be sent there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of an answer what anybody looks at."""

    status: int
    location: str
    """Absolute; empty without a Location header."""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def passing(self) -> bool:
        """A refusal that time may cure."""
        return self.status in (408, 425, 429) or self.status >= 500


class Outgoing:
    """One pool of connections. ``close`` it at the end."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._making = asyncio.Lock()

    async def send(
        self,
        method: str,
        url: str,
        headers: Headers,
        content: bytes | AsyncIterator[bytes],
        *,
        timeout_s: float,
    ) -> Answer:
        """Send one request and read the answer. Raises ``SendFailed`` or ``SendRefused``."""
        try:
            check_url(url)
        except UrlRefused as error:
            raise SendRefused(str(error)) from None
        pool = self._pool or await self._make_pool()
        import httpcore

        from gpu_agent.fetch import AddressRefused

        times = {
            "connect": min(CONNECT_S, timeout_s),
            "read": timeout_s,
            "write": timeout_s,
            "pool": timeout_s,
        }
        try:
            async with (
                asyncio.timeout(timeout_s),
                pool.stream(
                    method, url, headers=list(headers), content=content, extensions={"timeout": times}
                ) as response,
            ):
                length = 0
                async for chunk in response.aiter_stream():
                    length += len(chunk)
                    if length > ANSWER_BYTES:
                        break
                locations = [value for name, value in response.headers if name.lower() == b"location"]
                location = urljoin(url, locations[0].decode("latin-1")) if locations else ""
                return Answer(response.status, location)
        except AddressRefused:
            raise SendRefused("it leads to an address that is not allowed") from None
        except TimeoutError:
            raise SendFailed(f"no answer within {timeout_s:g} s") from None
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
            OSError,
            ValueError,
        ) as error:
            raise SendFailed(str(error) or type(error).__name__) from None

    async def _make_pool(self) -> "httpcore.AsyncConnectionPool":
        async with self._making:
            if self._pool is None:
                # Certificates and libraries are some 100 ms, in which nobody else should wait.
                self._pool = await asyncio.to_thread(self._new_pool)
            return self._pool

    def _new_pool(self) -> "httpcore.AsyncConnectionPool":
        import httpcore

        from gpu_agent.fetch import GuardedBackend, resolve
        from gpu_agent.tls import client_context

        return httpcore.AsyncConnectionPool(
            ssl_context=client_context(),
            network_backend=GuardedBackend(self._rules, resolve),
            max_connections=100,
            keepalive_expiry=KEEP_ALIVE_S,
        )

    async def close(self) -> None:
        """Safe to call twice."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()


def open_rules() -> AddressRules:
    """Any address but those where clouds hand out credentials."""
    return AddressRules(("0.0.0.0/0", "::/0"))
