"""Blobs in a bucket of any store that speaks S3: an object each, with what is known of it as its metadata.

Blobs never change: objects are made only where there is none (``If-None-Match: *``), or, in a store that does
not know that condition, after a look by the one process that writes. A blob of one part is one PUT with its
SHA-256; a larger one is a multipart upload, which is completed once its bytes are the announced ones. Only
where a large one was not announced it lies under ``staging/``, until it is copied to its key.

Whoever stores a blob without us has a signed URL that names the SHA-256, and the store refuses other bytes.
A store that would take them (``Abilities.checksums``) gets them under ``staging/``: ``stat`` reads what lies
there, and copies it to its key when it is right.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from coordinator.blobs.base import READ_BYTES, DirectPut, Stat, Stored
from coordinator.blobs.disposition import disposition, media_type
from coordinator.blobs.errors import BlobsUnavailable, Missing, TooLarge
from coordinator.blobs.parts import Digest, parts_of
from coordinator.blobs.place import S3Place
from coordinator.blobs.s3_bucket import (
    ABSENT,
    ENDED,
    ONE_REQUEST_BYTES,
    TAKEN,
    Bucket,
    head,
    new_client,
    new_session,
    says,
)
from coordinator.blobs.s3_errors import translated
from coordinator.blobs.s3_probe import Abilities, probe
from coordinator.blobs.s3_uploads import S3Uploads

READ_TRIES = 4
"""How often a download that breaks off is gone on with, without a byte more in between."""
DELETIONS = 16
DELETED_AT_ONCE = 1000
"""Most that a store takes in one request."""
_ONE_BY_ONE = {400, 405, 411, 501}
"""Statuses by which a store says that it does not know such a request, or not without a header of its own."""


class S3Blobs:
    """Made by ``open``; ``close`` it at the end."""

    def __init__(self, place: S3Place, client: Any, public: Any, parts: AsyncExitStack) -> None:
        self._place = place
        self._client = client
        self._parts = parts
        self._bucket = Bucket(place, client, public)
        self.uploads = S3Uploads(self._bucket)
        self._deletes_many = True
        """Until the store has refused to."""
        # One at a time for each key, where the store knows no condition or a staged blob is looked at.
        self._busy: dict[str, tuple[asyncio.Lock, int]] = {}

    @classmethod
    async def open(cls, place: S3Place) -> Self:
        """Look at the bucket, and try what it can. Raises BucketRefused for what an operator has to mend, and
        BlobsUnavailable when it does not answer."""
        async with AsyncExitStack() as parts:
            with translated(place):
                session = new_session()
                client = await parts.enter_async_context(new_client(session, place, place.endpoint))
                public = client
                if place.public_endpoint is not None:
                    other = new_client(session, place, place.public_endpoint)
                    public = await parts.enter_async_context(other)
            blobs = cls(place, client, public, parts)
            blobs._bucket.abilities = await probe(client, place)
            blobs._parts = parts.pop_all()
        return blobs

    async def close(self) -> None:
        await self.uploads.close()
        await self._parts.aclose()

    @property
    def abilities(self) -> Abilities:
        return self._bucket.abilities

    # --- writing ------------------------------------------------------------------------------------------

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
        name = self._bucket.name(key)
        if length is not None and length > limit_bytes:
            raise TooLarge(limit_bytes)
        if sha256 is None:
            limit_bytes = min(limit_bytes, ONE_REQUEST_BYTES)
        digest = Digest()
        upload: _Multipart | None = None
        try:
            async for part, last in parts_of(chunks, length=length, limit_bytes=limit_bytes):
                await digest.add(part)
                if last:
                    stored = digest.stored(length, sha256)
                    if upload is None:
                        await self._put_whole(key, name, part, stored, content_type)
                        return stored
                elif upload is None:
                    upload = await self._begin(key, name, sha256, content_type)
                assert upload is not None
                with translated(self._place):
                    await upload.add(part)
            assert upload is not None
            await self._complete(key, name, upload, stored, content_type)
        except BaseException:
            if upload is not None:
                # Shielded, so that a cancelled put leaves no parts behind, for they cost money.
                await asyncio.shield(upload.abort())
            raise
        return stored

    async def _put_whole(self, key: str, name: str, data: bytes, stored: Stored, content_type: str) -> None:
        async with _Turn(self._busy, name, needed=not self._bucket.abilities.conditions):
            if not self._bucket.abilities.conditions and await self._bucket.taken(key, stored.sha256):
                return
            try:
                with translated(self._place):
                    await self._client.put_object(
                        Bucket=self._place.bucket,
                        Key=name,
                        Body=data,
                        **head(key, stored.sha256, stored.md5, content_type),
                        **self._bucket.checksum(stored.sha256),
                        **self._bucket.only_new(),
                    )
            except BlobsUnavailable as error:
                if not says(error, TAKEN) or not await self._bucket.taken(key, stored.sha256):
                    raise

    async def _begin(self, key: str, name: str, sha256: str | None, content_type: str) -> "_Multipart":
        target = name if sha256 is not None else self._bucket.staged(secrets.token_hex(16))
        with translated(self._place):
            begun = await self._client.create_multipart_upload(
                Bucket=self._place.bucket, Key=target, **head(key, sha256 or "", "", content_type)
            )
        return _Multipart(self._client, self._place.bucket, target, begun["UploadId"])

    async def _complete(
        self, key: str, name: str, upload: "_Multipart", stored: Stored, content_type: str
    ) -> None:
        staged = upload.name != name
        async with _Turn(self._busy, name, needed=staged or not self._bucket.abilities.conditions):
            if staged:
                if not await self._bucket.taken(key, stored.sha256):
                    with translated(self._place):
                        await upload.complete({})
                        await self._copy(upload.name, key, stored.sha256, stored.md5, content_type, {})
                await upload.abort()
                await self._bucket.drop(upload.name)
                return
            if not self._bucket.abilities.conditions and await self._bucket.taken(key, stored.sha256):
                await upload.abort()
                return
            try:
                with translated(self._place):
                    await upload.complete(self._bucket.only_new())
            except BlobsUnavailable as error:
                # NoSuchUpload: it was completed, and the answer was lost.
                if not says(error, TAKEN | ENDED) or not await self._bucket.taken(key, stored.sha256):
                    raise
                await upload.abort()

    async def _copy(
        self, source: str, key: str, sha256: str, md5: str, content_type: str, only: dict[str, str]
    ) -> None:
        await self._client.copy_object(
            Bucket=self._place.bucket,
            Key=self._bucket.name(key),
            CopySource={"Bucket": self._place.bucket, "Key": source},
            MetadataDirective="REPLACE",
            **head(key, sha256, md5, content_type),
            **only,
        )

    # --- reading ------------------------------------------------------------------------------------------

    async def stat(self, key: str) -> Stat | None:
        name = self._bucket.name(key)
        known = await self._bucket.stat(name)
        if known is None and not self._bucket.abilities.enforced:
            async with _Turn(self._busy, name, needed=True):
                return await self._bucket.stat(name) or await self._adopted(key)
        return known

    async def _adopted(self, key: str) -> Stat | None:
        """The blob that somebody has put under ``staging/``, once it is seen to be the announced one."""
        staged = self._bucket.staged(key)
        found = await self._bucket.found(staged)
        if found is None:
            return None
        sha256 = found["Metadata"].get("sha256", "")
        digest = Digest()
        async with aclosing(self._pieces(staged, 0, None, found["ETag"])) as pieces:
            async for piece in pieces:
                await digest.add(piece)
        stored = digest.stored(None, None)
        if stored.sha256 == sha256:
            only = {"CopySourceIfMatch": found["ETag"]}
            with translated(self._place):
                await self._copy(staged, key, sha256, stored.md5, found.get("ContentType", ""), only)
        await self._bucket.drop(staged)
        return await self._bucket.stat(self._bucket.name(key))

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        name = self._bucket.name(key)
        if start < 0 or (end is not None and end < start):
            raise ValueError(f"no range: {start} to {end}")
        known = await self._bucket.stat(name) if start == end else None
        if start == end:
            if known is None:
                raise Missing("there is no such file")
            return
        async with aclosing(self._pieces(name, start, end, None)) as pieces:
            async for piece in pieces:
                yield piece

    async def _pieces(
        self, name: str, start: int, end: int | None, etag: str | None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of one object; where a download breaks off it goes on."""
        tries = 0
        while True:
            try:
                async with AsyncExitStack() as parts:
                    with translated(self._place):
                        answer = await self._client.get_object(
                            Bucket=self._place.bucket,
                            Key=name,
                            Range=f"bytes={start}-{'' if end is None else end - 1}",
                            **({} if etag is None else {"IfMatch": etag}),
                        )
                        body = await parts.enter_async_context(answer["Body"])
                    etag = answer["ETag"]
                    left = answer["ContentLength"]
                    while left:
                        with translated(self._place):
                            piece = await body.content.read(min(left, READ_BYTES))
                            if not piece:
                                raise OSError("the store sent less than it said")
                        start += len(piece)
                        left -= len(piece)
                        tries = 0
                        yield piece
                    return
            except BlobsUnavailable as error:
                if says(error, {"InvalidRange", "416"}):
                    return
                if says(error, ABSENT):
                    raise Missing("there is no such file") from None
                tries += 1
                if tries == READ_TRIES or says(error, TAKEN):
                    raise

    # --- removing -----------------------------------------------------------------------------------------

    async def delete(self, key: str) -> None:
        name = self._bucket.name(key)
        with translated(self._place):
            await self._client.delete_object(Bucket=self._place.bucket, Key=name)

    async def delete_many(self, keys: Collection[str]) -> None:
        await self._delete_names([name for key in keys for name in self._places(key)])

    async def delete_prefix(self, prefix: str, keep: Collection[str] = ()) -> None:
        kept = {name for key in keep for name in self._places(key)}
        for name in self._places(prefix):
            await self._delete_names(sorted({name} - kept))
            pages = self._client.get_paginator("list_objects_v2")
            with translated(self._place):
                async for page in pages.paginate(Bucket=self._place.bucket, Prefix=f"{name}/"):
                    found = [each["Key"] for each in page.get("Contents", ())]
                    await self._delete_names([each for each in found if each not in kept])

    def _places(self, key: str) -> tuple[str, ...]:
        """Where the bytes of a key may lie."""
        name = self._bucket.name(key)
        return (name,) if self._bucket.abilities.enforced else (name, self._bucket.staged(key))

    async def _delete_names(self, names: Sequence[str]) -> None:
        for first in range(0, len(names), DELETED_AT_ONCE):
            await self._delete_at_once(names[first : first + DELETED_AT_ONCE])

    async def _delete_at_once(self, names: Sequence[str]) -> None:
        if len(names) > 1 and self._deletes_many:
            wanted = {"Objects": [{"Key": name} for name in names], "Quiet": True}
            try:
                with translated(self._place):
                    answer = await self._client.delete_objects(Bucket=self._place.bucket, Delete=wanted)
            except BlobsUnavailable as error:
                if _status(error) not in _ONE_BY_ONE:
                    raise
                self._deletes_many = False
            else:
                if failed := answer.get("Errors"):
                    said = f"{failed[0].get('Code')}: {failed[0].get('Message')}"
                    raise BlobsUnavailable(f"{self._place}: {said}")
                return
        gate = asyncio.Semaphore(DELETIONS)

        async def drop(name: str) -> None:
            async with gate:
                await self._client.delete_object(Bucket=self._place.bucket, Key=name)

        with translated(self._place):
            await asyncio.gather(*map(drop, names))

    async def clear(self, older_s: float) -> int:
        """Remove what processes that were killed have left: uploads without an end, and what nobody came to
        look at in ``staging/``. Gives how many. Raises BlobsUnavailable."""
        bucket, before, count = self._place.bucket, datetime.now(UTC) - timedelta(seconds=older_s), 0
        with translated(self._place):
            begun = self._client.get_paginator("list_multipart_uploads")
            async for page in begun.paginate(Bucket=bucket, Prefix=self._place.prefix):
                for each in page.get("Uploads", ()):
                    if each["Initiated"] <= before:
                        await _Multipart(self._client, bucket, each["Key"], each["UploadId"]).abort()
                        count += 1
            staged = self._client.get_paginator("list_objects_v2")
            async for page in staged.paginate(Bucket=bucket, Prefix=self._bucket.staged("")):
                for each in page.get("Contents", ()):
                    if each["LastModified"] <= before:
                        await self._client.delete_object(Bucket=bucket, Key=each["Key"])
                        count += 1
        return count

    # --- without us ---------------------------------------------------------------------------------------

    async def put_url(
        self, key: str, *, length: int, sha256: str, content_type: str, ttl_s: float
    ) -> DirectPut | None:
        if length > ONE_REQUEST_BYTES:
            return None
        name = self._bucket.name(key)
        said = head(key, sha256, "", content_type)
        checksum = self._bucket.checksum(sha256)
        headers = {
            "content-type": said["ContentType"],
            "content-disposition": said["ContentDisposition"],
            "x-amz-meta-sha256": sha256,
        }
        if checksum:
            headers["x-amz-checksum-sha256"] = checksum["ChecksumSHA256"]
        url = await self._bucket.signed(
            "put_object",
            ttl_s,
            {"Key": name if checksum else self._bucket.staged(key), "ContentLength": length}
            | said
            | checksum,
        )
        return DirectPut(url=url, headers=headers)

    async def get_url(self, key: str, *, name: str, content_type: str, ttl_s: float) -> str | None:
        kind = media_type(content_type)
        return await self._bucket.signed(
            "get_object",
            ttl_s,
            {
                "Key": self._bucket.name(key),
                "ResponseContentType": kind,
                "ResponseContentDisposition": disposition(name, kind),
            },
        )


class _Multipart:
    """One multipart upload. Parts follow one another."""

    def __init__(self, client: Any, bucket: str, name: str, id: str) -> None:
        self.name = name
        self._client = client
        self._upload = {"Bucket": bucket, "Key": name, "UploadId": id}
        self._parts: list[dict[str, Any]] = []
        self._ended = False

    async def add(self, part: bytes) -> None:
        number = len(self._parts) + 1
        answer = await self._client.upload_part(**self._upload, PartNumber=number, Body=part)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    async def complete(self, only: dict[str, str]) -> None:
        await self._client.complete_multipart_upload(
            **self._upload, MultipartUpload={"Parts": self._parts}, **only
        )
        self._ended = True

    async def abort(self) -> None:
        """Drop the parts. What cannot be dropped now is the bucket's own rule to clear."""
        if self._ended:
            return
        self._ended = True
        with suppress(Exception):
            await self._client.abort_multipart_upload(**self._upload)


class _Turn:
    """Whoever needs it waits for the others of this name."""

    def __init__(self, busy: dict[str, tuple[asyncio.Lock, int]], name: str, *, needed: bool) -> None:
        self._busy = busy
        self._name = name
        self._needed = needed

    async def __aenter__(self) -> None:
        if not self._needed:
            return
        lock, users = self._busy.get(self._name, (asyncio.Lock(), 0))
        self._busy[self._name] = (lock, users + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._left(lock)
            raise

    async def __aexit__(self, *_: object) -> None:
        if self._needed:
            lock, _users = self._busy[self._name]
            lock.release()
            self._left(lock)

    def _left(self, lock: asyncio.Lock) -> None:
        users = self._busy[self._name][1] - 1
        if users:
            self._busy[self._name] = (lock, users)
        else:
            del self._busy[self._name]


def _status(error: BlobsUnavailable) -> int:
    """The HTTP status of the store's refusal; 0 when it did not come to that."""
    cause = error.__cause__
    return cause.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(cause, ClientError) else 0
