"""Files on their way to a provider and back: inputs as it can read them, outputs stored here.

Stored outputs are the attempt's own, as an agent's files are: who reads the prediction sees no difference.
"""

import base64
import logging
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import httpcore
import httpx
import msgspec
from msgspec import Raw

from coordinator.actor.clock import Clock, sleep
from coordinator.blobs.base import Blobs, Stored
from coordinator.blobs.errors import BlobsUnavailable, Exists, Missing, TooLarge
from coordinator.blobs.keys import output_key
from coordinator.blobs.signing import Signer
from coordinator.overflow.carrier import Unfit
from coordinator.overflow.errand import Errand
from coordinator.overflow.provider import Provider
from coordinator.protocol import messages as wire
from coordinator.protocol.addresses import AddressRules, UrlRefused
from coordinator.protocol.limits import ServerLimits
from coordinator.webhooks.post import AddressRefused, Guarded, parse, resolve

log = logging.getLogger(__name__)

CONNECT_S, IDLE_S = 5.0, 60.0
TRIES_AFTER_S = (0.0, 1.0, 3.0)
"""Pauses before each try of a file that could not be fetched."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 5
STORAGE_RETRY_S = 1.0
UNKNOWN_TYPE = "application/octet-stream"


class OverflowFiles:
    """Implements ``carrier.Files``. ``base`` is where the provider reaches us, empty when it cannot."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        blobs: Blobs,
        signer: Signer,
        clock: Clock,
        limits: ServerLimits,
        rules: AddressRules,
        tls: ssl.SSLContext,
        base: str,
    ) -> None:
        self._providers = providers
        self._blobs = blobs
        self._signer = signer
        self._clock = clock
        self._limits = limits
        self._base = base
        self._near = httpcore.AsyncConnectionPool(ssl_context=tls, keepalive_expiry=5.0)
        """For what the operator has named: the provider itself."""
        self._far = httpcore.AsyncConnectionPool(
            ssl_context=tls, network_backend=Guarded(rules, resolve), keepalive_expiry=5.0
        )

    async def close(self) -> None:
        await self._near.aclose()
        await self._far.aclose()

    # --- there --------------------------------------------------------------------------------------------

    async def fit(self, keys: Collection[str]) -> bool:
        """See ``carrier.Files``."""
        if self._base:
            return True
        stats = [await self._blobs.stat(key) for key in keys]
        size = sum(stat.length for stat in stats if stat is not None)
        return size <= self._limits.overflow_inline_bytes

    async def given(self, errand: Errand) -> bytes:
        """Stored files as signed URLs of ours, the same each time, or as data URIs. Raises Unfit,
        BlobsUnavailable."""
        if not errand.input_files:
            return errand.input
        if self._base:
            urls = {url: self._base + self._path(key, errand) for url, key in errand.input_files.items()}
        else:
            urls = await self._inline(errand)
        return msgspec.json.encode(replaced(msgspec.json.decode(errand.input), urls.get))

    def _path(self, key: str, errand: Errand) -> str:
        expires_at = errand.dispatched_at + int((self._limits.upload_ttl_s + errand.run_s) * 1e6)
        name = unquote(PurePosixPath(key).name)
        return self._signer.get_path(key, name=name, content_type=UNKNOWN_TYPE, expires_at=expires_at)

    async def _inline(self, errand: Errand) -> dict[str, str]:
        left, urls = self._limits.overflow_inline_bytes, {}
        for url, key in errand.input_files.items():
            stat = await self._blobs.stat(key)
            if stat is None or stat.length > left:
                text = "is no longer stored" if stat is None else "is too large to be sent along"
                raise Unfit(
                    f"an input file {text}, and without a public https URL of this server the provider "
                    "cannot read it (limit: overflow_inline_bytes)"
                )
            left -= stat.length
            try:
                content = b"".join([piece async for piece in self._blobs.read(key)])
            except Missing:
                raise Unfit("an input file is no longer stored") from None
            content_type = stat.content_type or UNKNOWN_TYPE
            urls[url] = f"data:{content_type};base64,{base64.b64encode(content).decode()}"
        return urls

    # --- and back -----------------------------------------------------------------------------------------

    async def kept(
        self, errand: Errand, output: Raw, known: dict[str, wire.StoredFile]
    ) -> tuple[Raw, tuple[wire.StoredFile, ...]]:
        """See ``carrier.Files``."""
        if b"http" not in bytes(output):
            return output, ()
        provider = self._providers[errand.target.provider]
        value = msgspec.json.decode(output)
        wanted = dict.fromkeys(text for text in strings_of(value) if provider.delivers(text))
        for url in wanted:
            if url not in known:
                known[url] = await self._keep(errand, provider, url)
        if not wanted:
            return output, ()
        references = {url: wire.BLOB_REFERENCE + known[url].key for url in wanted}
        return Raw(msgspec.json.encode(replaced(value, references.get))), tuple(known[url] for url in wanted)

    async def _keep(self, errand: Errand, provider: Provider, url: str) -> wire.StoredFile:
        """Fetched and stored, under a key that is the same each time."""
        name = unquote(PurePosixPath(urlsplit(url).path).name) or "output"
        key = output_key(errand.prediction, errand.key, zlib.crc32(url.encode()), name)
        said = ""
        for pause_s in TRIES_AFTER_S:
            await sleep(self._clock, pause_s)
            try:
                content_type, stored = await self._stored(provider, url, key)
            except (UrlRefused, AddressRefused, httpcore.NetworkError, httpcore.ProtocolError) as error:
                said = str(error) or "it leads to an address that is not public"
            except (httpcore.TimeoutException, OSError) as error:
                said = str(error) or "no answer in time"
            except TooLarge:
                raise Unfit(
                    f"the output file {name} of {provider.name} is larger than "
                    f"{self._limits.output_file_bytes} bytes (limit: output_file_bytes)"
                ) from None
            except Exists:
                raise Unfit(f"the output file {name} of {provider.name} has changed") from None
            else:
                return wire.StoredFile(
                    key=key, name=name, content_type=content_type, length=stored.length, sha256=stored.sha256
                )
        raise Unfit(f"the output file {name} could not be fetched from {provider.name}: {said}")

    async def _stored(self, provider: Provider, url: str, key: str) -> tuple[str, Stored]:
        while True:
            with suppress(BlobsUnavailable):
                return await self._fetched(provider, url, key)
            log.warning("overflow: storage did not take an output file, trying again")
            await sleep(self._clock, STORAGE_RETRY_S)

    async def _fetched(self, provider: Provider, url: str, key: str) -> tuple[str, Stored]:
        """Content type, and what was stored. Raises UrlRefused, AddressRefused, TooLarge, and what the
        network does."""
        for _ in range(MOST_REDIRECTS + 1):
            near = provider.owns(url)
            target = httpx.URL(url) if near else parse(url)
            pool = self._near if near else self._far
            async with pool.stream(
                b"GET",
                httpcore.URL(
                    scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
                ),
                headers={
                    "Host": target.netloc.decode("ascii"),
                    "User-Agent": "cogflare",
                    "Accept": "*/*",
                    "Accept-Encoding": "identity",
                },
                extensions={"timeout": {"connect": CONNECT_S, "read": IDLE_S, "pool": IDLE_S}},
            ) as response:
                headers = {
                    key.decode("latin-1").lower(): value.decode("latin-1") for key, value in response.headers
                }
                if response.status in REDIRECTS and "location" in headers:
                    url = str(target.join(headers["location"]))
                    continue
                if response.status != 200:
                    raise UrlRefused(f"the answer was {response.status}")
                content_type = headers.get("content-type", UNKNOWN_TYPE)
                length = headers.get("content-length", "")
                stored = await self._blobs.put(
                    key,
                    _pieces(response),
                    content_type=content_type,
                    length=int(length) if length.isdecimal() else None,
                    limit_bytes=self._limits.output_file_bytes,
                )
                return content_type, stored
        raise UrlRefused(f"more than {MOST_REDIRECTS} redirects")


async def _pieces(response: httpcore.Response) -> AsyncIterator[bytes]:
    async for piece in response.aiter_stream():
        yield piece


def strings_of(value: Any) -> Iterator[str]:
    """Each string in a JSON value that is no key."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings_of(item)


def replaced(value: Any, other: Callable[[str], str | None]) -> Any:
    """The JSON value with those of its strings replaced for which ``other`` has something."""
    if isinstance(value, str):
        return other(value) or value
    if isinstance(value, list):
        return [replaced(item, other) for item in value]
    if isinstance(value, dict):
        return {name: replaced(item, other) for name, item in value.items()}
    return value
