"""POST to a URL that a user named: checked, resolved, pinned, bounded in time; redirects are not followed."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

import httpcore
import httpx

from coordinator.protocol.addresses import AddressRules, UrlRefused, check_url

CONNECT_S = 5.0
ANSWER_BYTES = 64 * 1024
"""The longest answer that is read, and forgotten."""
READ_S = 1.0
KEEPALIVE_S = 5.0

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Host name and port to its addresses."""


class NoAnswer(Exception):
    """There is no status; the text says why and is fit for the user's eyes."""


class AddressRefused(Exception):
    """A name leads to an address that the rules do not allow."""


async def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, in the system's order of preference."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that does not stay open when its TLS is given up, whoever gives it up: the library closes
    it after an error of its own only, not when we cancel."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self.read = inner.read  # type: ignore[method-assign]
        self.write = inner.write  # type: ignore[method-assign]
        self.aclose = inner.aclose  # type: ignore[method-assign]
        self.get_extra_info = inner.get_extra_info  # type: ignore[method-assign]

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._inner.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self._inner.aclose()
            raise


class Guarded(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that it has checked, not to the name again."""

    def __init__(self, rules: AddressRules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._resolve(host, port)
        if not addresses or not all(map(self._rules.allows, addresses)):
            raise AddressRefused
        *others, last = addresses
        for address in others:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return _Stream(
                    await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
                )
        return _Stream(await self._inner.connect_tcp(last, port, timeout, local_address, socket_options))


class Poster:
    """Sends bodies to receivers. ``close`` it at the end."""

    def __init__(
        self,
        rules: AddressRules,
        tls: ssl.SSLContext,
        *,
        connections: int,
        limit_s: float,
        resolve: Resolve = resolve,
    ) -> None:
        self._limit_s = limit_s
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            network_backend=Guarded(rules, resolve),
            max_connections=connections,
            keepalive_expiry=KEEPALIVE_S,
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer. Raises NoAnswer."""
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._post(url, headers, body)
        except UrlRefused as error:
            raise NoAnswer(str(error)) from None
        except AddressRefused:
            raise NoAnswer("it leads to an address that is not public") from None
        except (TimeoutError, httpcore.TimeoutException):
            raise NoAnswer(f"no answer within {self._limit_s:g} s") from None
        except httpcore.RemoteProtocolError:
            raise NoAnswer("it closed the connection, or did not answer in HTTP") from None
        except ssl.SSLError as error:
            raise NoAnswer(f"TLS: {error.reason or 'failed'}") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError, UnicodeError) as error:
            raise NoAnswer(_said(error)) from None

    async def close(self) -> None:
        await self._pool.aclose()

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        target = parse(url)
        async with self._pool.stream(
            b"POST",
            httpcore.URL(
                scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
            ),
            headers=[
                ("Host", target.netloc.decode("ascii")),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("User-Agent", "cogflare"),
                ("Accept", "*/*"),
                *headers.items(),
            ],
            content=body,
            extensions={"timeout": {"connect": CONNECT_S}},
        ) as response:
            await _read(response)
            return int(response.status)


async def _read(response: httpcore.Response) -> None:
    """Read a short answer, so that its connection can be used again. Its status is what counts."""
    lengths = [value for name, value in response.headers if name.lower() == b"content-length"]
    if lengths and lengths[0].isdigit() and int(lengths[0]) <= ANSWER_BYTES:
        with suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
            async with asyncio.timeout(READ_S):
                await response.aread()


def parse(url: str) -> httpx.URL:
    """A receiver's URL. Raises UrlRefused."""
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise UrlRefused(f"not a URL: {error}") from None
    if target.userinfo:
        raise UrlRefused("a user name and password in a URL are not supported")
    check_url(str(target))
    return target


def _said(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return f"no connection: {text}"[:200]
