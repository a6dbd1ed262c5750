"""Blobs that come to a bucket in parts: each is a multipart upload of the store's, and its id is the store's.

Where the store holds parts to a signed SHA-256, the upload is of the blob's own key. Elsewhere it is of a
name below ``staging/``, and what it becomes is read once before it is the blob.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from coordinator.blobs.base import DirectPut, Part, Plan
from coordinator.blobs.errors import BlobsUnavailable, ChecksumMismatch, Missing, TooLarge
from coordinator.blobs.s3_bucket import ENDED, ONE_REQUEST_BYTES, TAKEN, Bucket, digest_of, head, says
from coordinator.blobs.s3_errors import translated
from coordinator.protocol.limits import PARTS

PART_S = httpx.Timeout(60.0, connect=10.0, read=120.0, pool=None)
OURS_S = 3600.0
"""How long our own URL for a part is good that comes through us."""


class S3Uploads:
    """Those of one bucket. ``close`` it at the end."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._web: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._web is not None:
            await self._web.aclose()

    async def begin(self, key: str, plan: Plan) -> str:
        if not self._bucket.abilities.parts and plan.length > ONE_REQUEST_BYTES:
            raise TooLarge(ONE_REQUEST_BYTES)
        algorithm = {"ChecksumAlgorithm": "SHA256"} if self._bucket.abilities.parts else {}
        with translated(self._bucket.place):
            begun = await self._bucket.client.create_multipart_upload(
                **self._object(key), **head(key, plan.sha256, "", plan.content_type), **algorithm
            )
        return str(begun["UploadId"])

    async def present(self, key: str, id: str, plan: Plan) -> set[int]:
        parts = await self._listed(key, id)
        return {number for number, part in parts.items() if _whole(plan, number, part["Size"])}

    async def _listed(self, key: str, id: str) -> dict[int, dict[str, Any]]:
        try:
            with translated(self._bucket.place):
                answer = await self._bucket.client.list_parts(
                    **self._object(key), UploadId=id, MaxParts=PARTS
                )
        except BlobsUnavailable as error:
            if says(error, ENDED):
                raise Missing("the upload has ended") from None
            raise
        return {each["PartNumber"]: each for each in answer.get("Parts", ())}

    async def put_url(self, key: str, id: str, part: Part, ttl_s: float) -> DirectPut | None:
        return await self._part_url(key, id, part, ttl_s, inside=False)

    async def _part_url(self, key: str, id: str, part: Part, ttl_s: float, *, inside: bool) -> DirectPut:
        digest = digest_of(part.sha256) if self._bucket.abilities.parts else {}
        said = {"UploadId": id, "PartNumber": part.number, "ContentLength": part.length}
        url = await self._bucket.signed(
            "upload_part",
            ttl_s,
            {"Key": self._target(key)} | said | digest,
            inside=inside,
        )
        headers = {"x-amz-checksum-sha256": digest["ChecksumSHA256"]} if digest else {}
        return DirectPut(url=url, headers=headers)

    async def put(self, key: str, id: str, part: Part, chunks: AsyncIterator[bytes]) -> None:
        to = await self._part_url(key, id, part, OURS_S, inside=True)
        if self._web is None:
            self._web = httpx.AsyncClient(timeout=PART_S, limits=httpx.Limits(max_connections=None))
        headers = to.headers | {"Content-Length": str(part.length)}
        checked = _checked(chunks, part)
        with translated(self._bucket.place):
            try:
                answer = await self._web.put(to.url, content=checked, headers=headers)
            except httpx.HTTPError as error:
                raise OSError(str(error) or type(error).__name__) from error
        if answer.status_code == 404:
            raise Missing("the upload has ended")
        if answer.status_code == 400:
            raise ChecksumMismatch(f"the store answered {answer.text[:200]}")
        if not answer.is_success:
            raise BlobsUnavailable(f"{self._bucket.place} answered {answer.status_code} for a part")

    async def complete(self, key: str, id: str, plan: Plan) -> None:
        try:
            listed = await self._listed(key, id)
        except Missing:
            if await self._is_there(key, plan):
                return
            raise
        parts = []
        for number, sha256 in enumerate(plan.parts, 1):
            part = listed.get(number)
            if part is None or not _whole(plan, number, part["Size"]):
                raise Missing("a part is missing")
            digest = digest_of(sha256) if self._bucket.abilities.parts else {}
            parts.append({"PartNumber": number, "ETag": part["ETag"], **digest})
        staged = not self._bucket.abilities.parts
        if not staged and not self._bucket.abilities.conditions and await self._is_there(key, plan):
            await self.abort(key, id)
            return
        only = {} if staged else self._bucket.only_new()
        try:
            with translated(self._bucket.place):
                await self._bucket.client.complete_multipart_upload(
                    **self._object(key), UploadId=id, MultipartUpload={"Parts": parts}, **only
                )
        except BlobsUnavailable as error:
            if not says(error, TAKEN | ENDED) or not await self._is_there(key, plan):
                raise
            await self.abort(key, id)

    async def _is_there(self, key: str, plan: Plan) -> bool:
        """Whether it was completed before. Raises Exists when something else was put there."""
        if await self._bucket.taken(key, plan.sha256):
            return True
        return not self._bucket.abilities.parts and await self._bucket.found(self._target(key)) is not None

    async def abort(self, key: str, id: str) -> None:
        try:
            with translated(self._bucket.place):
                await self._bucket.client.abort_multipart_upload(**self._object(key), UploadId=id)
        except BlobsUnavailable as error:
            if not says(error, ENDED):
                raise

    def _object(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket.place.bucket, "Key": self._target(key)}

    def _target(self, key: str) -> str:
        name = self._bucket.name(key)
        return name if self._bucket.abilities.parts else self._bucket.staged(key)


def _whole(plan: Plan, number: int, length: int) -> bool:
    return 1 <= number <= len(plan.parts) and length == plan.part(number).length


async def _checked(chunks: AsyncIterator[bytes], part: Part) -> AsyncIterator[bytes]:
    """The bytes, if they are the announced ones; the last ones are held back until that is known."""
    digest, left, held = hashlib.sha256(), part.length, b""
    async for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise ChecksumMismatch("more bytes than the part has")
        digest.update(chunk)
        if held:
            yield held
        held = chunk
    if left:
        raise ChecksumMismatch(f"the part lacks {left} bytes")
    if digest.hexdigest() != part.sha256:
        raise ChecksumMismatch(f"SHA-256 is {digest.hexdigest()}, not {part.sha256}")
    if held:
        yield held
