"""What a bucket can, tried once at the start: whether it is there, takes files, and what it enforces."""

import base64
import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from coordinator.blobs.errors import BlobsUnavailable
from coordinator.blobs.place import S3Place
from coordinator.blobs.s3_errors import BucketRefused, code_of, translated

_DATA = b"cogflare looks what this bucket can"


@dataclass(frozen=True, slots=True)
class Abilities:
    """``checksums``: bytes that are not of a signed SHA-256 are refused; ``parts``: as parts of one, too.
    ``conditions``: so is an object that is there already, when it should be new."""

    checksums: bool
    parts: bool
    conditions: bool

    @property
    def enforced(self) -> bool:
        """What others store needs no look at it."""
        return self.checksums and self.parts


async def probe(client: Any, place: S3Place) -> Abilities:
    """Write, overwrite and delete two small objects. Raises BucketRefused and BlobsUnavailable."""
    with translated(place):
        await _look(client, place)
    name = f"{place.prefix}staging/probe-{secrets.token_hex(8)}"
    try:
        with translated(place):
            await client.put_object(Bucket=place.bucket, Key=name, Body=_DATA)
        return Abilities(
            checksums=await _refuses_other_bytes(client, place, "put_object", Key=name),
            parts=await _refuses_other_parts(client, place, name),
            conditions=await _refuses_what_is_there(client, place, name),
        )
    finally:
        with suppress(BlobsUnavailable), translated(place):
            await client.delete_object(Bucket=place.bucket, Key=name)


async def _look(client: Any, place: S3Place) -> None:
    """A store may make a bucket by itself when something is put into it: ask for it first."""
    try:
        await client.head_bucket(Bucket=place.bucket)
    except ClientError as error:
        if code_of(error) in ("404", "NoSuchBucket"):
            where = place.endpoint or "AWS"
            raise BucketRefused(
                f"there is no bucket {place.bucket} at {where}",
                "create the bucket, or correct its name and endpoint in --storage",
            ) from None
        if code_of(error) != "AccessDenied":  # it may do all that is needed, and not this
            raise


async def _refuses_other_bytes(client: Any, place: S3Place, method: str, **request: Any) -> bool:
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    with translated(place):
        url = await client.generate_presigned_url(
            method,
            Params={
                "Bucket": place.bucket,
                "ContentLength": len(_DATA),
                "ChecksumSHA256": wrong,
                **request,
            },
            ExpiresIn=300,
        )
        try:
            async with httpx.AsyncClient(timeout=20.0) as web:
                answer = await web.put(url, content=_DATA, headers={"x-amz-checksum-sha256": wrong})
        except httpx.HTTPError as error:
            raise OSError(str(error) or type(error).__name__) from error
    return answer.status_code == 400


async def _refuses_other_parts(client: Any, place: S3Place, name: str) -> bool:
    object = {"Bucket": place.bucket, "Key": name}
    try:
        with translated(place):
            begun = await client.create_multipart_upload(**object, ChecksumAlgorithm="SHA256")
    except BucketRefused:
        raise
    except BlobsUnavailable as error:
        if isinstance(error.__cause__, ClientError):  # it does not know that word
            return False
        raise
    try:
        return await _refuses_other_bytes(
            client, place, "upload_part", Key=name, UploadId=begun["UploadId"], PartNumber=1
        )
    finally:
        with suppress(BlobsUnavailable), translated(place):
            await client.abort_multipart_upload(**object, UploadId=begun["UploadId"])


async def _refuses_what_is_there(client: Any, place: S3Place, name: str) -> bool:
    try:
        await client.put_object(Bucket=place.bucket, Key=name, Body=_DATA, IfNoneMatch="*")
    except ClientError as error:
        return code_of(error) in ("PreconditionFailed", "412")
    return False
