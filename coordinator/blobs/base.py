"""Stored files, as a seam. Blobs are immutable and streamed: none is ever held in memory whole."""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

READ_BYTES = 256 * 1024
"""Size of the pieces that ``read`` gives."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: length in bytes, checksums in lower-case hex."""

    length: int
    sha256: str
    md5: str


class Stat(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a blob without reading it."""

    length: int
    sha256: str
    md5: str
    """Empty when the storage does not know it."""
    content_type: str


class DirectPut(msgspec.Struct, frozen=True, kw_only=True):
    """A request that stores one blob without us: PUT its bytes to ``url`` with these headers."""

    url: str
    headers: dict[str, str]


class Blobs(Protocol):
    """A place for files. Keys are checked by ``keys.check_key``; every method may raise BadKey and
    BlobsUnavailable."""

    async def put(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        content_type: str,
        length: int | None = None,
        sha256: str | None = None,
        limit_bytes: int,
    ) -> Stored:
        """Store a blob; once this returns it survives a power cut.

        The same content under the same key again is fine. Raises Exists for other content, TooLarge above
        ``limit_bytes``, ChecksumMismatch when ``length`` or ``sha256`` is not met; what ``chunks`` raises
        passes through. After any exception or cancellation nothing is stored that was not there before,
        except when cancelled at the very end or when the storage did not answer: then the whole blob may be.
        """
        ...

    async def stat(self, key: str) -> Stat | None:
        """What is known of the blob; None when there is none."""
        ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to, not including, ``end``. The first step raises Missing when there is
        no blob. A blob that is deleted while it is read is still read to its end."""
        ...

    async def delete(self, key: str) -> None:
        """Remove a blob; fine when there is none."""
        ...

    async def delete_prefix(self, prefix: str) -> None:
        """Remove every blob whose key starts with the whole segments of ``prefix``, and ``prefix`` itself."""
        ...

    async def put_url(
        self, key: str, *, length: int, sha256: str, content_type: str, ttl_s: float
    ) -> DirectPut | None:
        """How whoever holds it may store exactly this blob by itself, for at most ``ttl_s``; ``stat`` says
        whether it was. None when the bytes have to come to ``put``."""
        ...

    async def get_url(self, key: str, *, name: str, content_type: str, ttl_s: float) -> str | None:
        """A URL that anybody can read the blob by, for at most ``ttl_s``, whether there is one or not. None
        when it is read only by ``read``."""
        ...

    async def close(self) -> None:
        """Let go of connections. Safe twice."""
        ...
