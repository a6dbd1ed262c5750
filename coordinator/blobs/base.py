"""Stored files, as a seam. Blobs are immutable and streamed: none is ever held in memory whole."""

import re
from collections.abc import AsyncIterator, Collection
from typing import Protocol

import msgspec

READ_BYTES = 256 * 1024
"""Size of the pieces that ``read`` gives."""
LEFT_OVER_S = 86_400.0
"""An upload that has not ended by then never will: URLs for it are good for less."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


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


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a blob: its number, from 1, where in the blob it begins, and what it is."""

    number: int
    start: int
    length: int
    sha256: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A blob that is to come in parts. Who announces it has read ``sha256`` and ``parts`` in one pass, so who
    holds each part to its own SHA-256, at its place, holds the whole to that of the whole."""

    length: int
    sha256: str
    content_type: str
    part_bytes: int
    """Of every part but the last, which has the rest."""
    parts: tuple[str, ...]
    """SHA-256 of each."""

    def part(self, number: int) -> Part:
        """Part ``number``, from 1."""
        start = (number - 1) * self.part_bytes
        length = min(self.part_bytes, self.length - start)
        return Part(number=number, start=start, length=length, sha256=self.parts[number - 1])

    def fault(self, least_bytes: int, most_parts: int) -> str | None:
        """What is wrong with it; None when it can be carried out."""
        if self.part_bytes < least_bytes:
            return f"a part has {least_bytes} bytes or more"
        if len(self.parts) > most_parts:
            return f"a file goes in {most_parts} parts at most"
        if len(self.parts) != max(1, -(-self.length // self.part_bytes)):
            return f"{len(self.parts)} parts of {self.part_bytes} bytes are not {self.length}"
        if not all(_SHA256.fullmatch(each) for each in (self.sha256, *self.parts)):
            return "a SHA-256 is 64 lower-case hexadecimal digits"
        return None


class Uploads(Protocol):
    """Blobs on their way in, part by part, in any order and at once. An upload has an ``id``, belongs to one
    key and one plan, and outlives this process. Every method may raise BadKey and BlobsUnavailable."""

    async def begin(self, key: str, plan: Plan) -> str:
        """The id of a new upload. Raises TooLarge for what cannot go in parts here."""
        ...

    async def present(self, key: str, id: str, plan: Plan) -> set[int]:
        """The parts that are there, whole. Raises Missing when the upload has ended, either way."""
        ...

    async def put_url(self, key: str, id: str, part: Part, ttl_s: float) -> DirectPut | None:
        """How whoever holds it may store exactly this part by itself. None when it has to come to ``put``."""
        ...

    async def put(self, key: str, id: str, part: Part, chunks: AsyncIterator[bytes]) -> None:
        """Store a part; once this returns it survives a power cut. The same again is fine. Raises Missing,
        ChecksumMismatch; what ``chunks`` raises passes through."""
        ...

    async def complete(self, key: str, id: str, plan: Plan) -> None:
        """Make the blob of its parts; ``stat`` then says whether it is the announced one. Raises Missing when
        a part or the upload is, and Exists. Safe to repeat."""
        ...

    async def abort(self, key: str, id: str) -> None:
        """Give it up; fine when there is none. A blob that it has become stays."""
        ...


class Blobs(Protocol):
    """A place for files. Keys are checked by ``keys.check_key``; every method may raise BadKey and
    BlobsUnavailable."""

    @property
    def uploads(self) -> Uploads:
        """For large ones."""
        ...

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

    async def delete_many(self, keys: Collection[str]) -> None:
        """Remove blobs, now: raises BlobsUnavailable while they have to stay for a backup. After whatever it
        raises it may be called again."""
        ...

    async def delete_prefix(self, prefix: str, keep: Collection[str] = ()) -> None:
        """Remove every blob whose key starts with the whole segments of ``prefix``, and ``prefix`` itself,
        but those to ``keep``; now, as ``delete_many``."""
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

    async def clear(self, older_s: float) -> int:
        """Remove what nobody will go on with: uploads that began so long ago, and what killed processes have
        left. Gives how many."""
        ...

    async def close(self) -> None:
        """Let go of connections. Safe twice."""
        ...
