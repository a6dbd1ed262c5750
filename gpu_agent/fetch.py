"""Fetching what users name: any http(s) URL, but never an address inside our network.

Each connection resolves the name itself, checks every address, and connects to one that was checked, so that
a name that changes between check and use gains nothing. Redirects go the same way.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpcore
import httpx

from coordinator.protocol.addresses import AddressRules, UrlRefused, check_url
from gpu_agent import disk
from gpu_agent.filenames import fetched_name

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CONNECT_S = 10.0
IDLE_S = 60.0

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Host name and port to its addresses."""


class FetchFailed(Exception):
    """The file could not be had; the text says why and is fit for the user's eyes."""


class AddressRefused(Exception):
    """A name leads to an address that the rules do not allow."""


async def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, in the system's order of preference. Raises OSError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
    except UnicodeError:
        raise OSError("it is no name of a host") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connections to allowed addresses only. Raises ``AddressRefused``."""

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
        if not all(self._rules.allows(address) for address in addresses):
            raise AddressRefused
        error: Exception = httpcore.ConnectError("the name has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class Fetcher:
    """Fetches URLs under rules and limits. ``close`` it at the end."""

    def __init__(
        self,
        rules: AddressRules,
        tls: ssl.SSLContext,
        *,
        limit_bytes: int,
        limit_s: float,
        resolve: Resolve = resolve,
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls, network_backend=GuardedBackend(rules, resolve), keepalive_expiry=5.0
        )
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s

    async def fetch(self, url: str, folder: Path) -> Path:
        """Save what the URL holds in ``folder``, under its own name. Raises ``FetchFailed``."""
        shown = shown_url(url)
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._follow(url, folder)
        except UrlRefused as error:
            raise FetchFailed(f"could not fetch {shown}: {error}") from None
        except AddressRefused:
            raise FetchFailed(f"could not fetch {shown}: it leads to an address that is not public") from None
        except disk.TooLarge:
            raise FetchFailed(f"could not fetch {shown}: larger than {self._limit_bytes} bytes") from None
        except TimeoutError:
            raise FetchFailed(f"could not fetch {shown}: took over {self._limit_s:g} s") from None
        except httpcore.TimeoutException:
            raise FetchFailed(f"could not fetch {shown}: no answer in time") from None
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
            OSError,
        ) as error:
            raise FetchFailed(f"could not fetch {shown}: {str(error) or type(error).__name__}") from None

    async def close(self) -> None:
        await self._pool.aclose()

    async def _follow(self, url: str, folder: Path) -> Path:
        for _ in range(MAX_REDIRECTS + 1):
            target = _parse(url)
            async with self._pool.stream(
                b"GET",
                httpcore.URL(
                    scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
                ),
                headers={
                    "Host": target.netloc.decode("ascii"),
                    "User-Agent": "cogflare-agent",
                    "Accept": "*/*",
                    "Accept-Encoding": "identity",
                },
                extensions={
                    "timeout": {"connect": CONNECT_S, "read": IDLE_S, "write": IDLE_S, "pool": self._limit_s}
                },
            ) as response:
                headers = {
                    key.decode("latin-1").lower(): value.decode("latin-1") for key, value in response.headers
                }
                if response.status in REDIRECTS and "location" in headers:
                    url = _joined(target, headers["location"])
                    continue
                if response.status != 200:
                    raise UrlRefused(f"the answer was {response.status}")
                name = fetched_name(
                    str(target), headers.get("content-disposition", ""), headers.get("content-type", "")
                )
                path = folder / name
                await disk.save(response.aiter_stream(), path, self._limit_bytes)
                return path
        raise UrlRefused(f"more than {MAX_REDIRECTS} redirects")


def shown_url(url: str) -> str:
    """A URL without what may be secret in it, and not too long."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))[:200]
    except ValueError:
        return "the URL"


def _joined(base: httpx.URL, location: str) -> str:
    try:
        return str(base.join(location))
    except (httpx.InvalidURL, ValueError):
        raise UrlRefused("it redirects to what is no URL") from None


def _parse(url: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise UrlRefused(f"not a URL: {error}") from None
    if target.userinfo:
        raise UrlRefused("a user name and password in a URL are not supported")
    check_url(str(target))
    return target
