"""One bucket as the rest of this package uses it: names in it, signed URLs, and what a request must say."""

import base64
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import aioboto3  # type: ignore[import-untyped]
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from botocore.loaders import create_loader  # type: ignore[import-untyped]

from coordinator.blobs.base import Stat
from coordinator.blobs.disposition import disposition, media_type
from coordinator.blobs.errors import BadKey, BlobsUnavailable, Exists
from coordinator.blobs.keys import MAX_KEY_BYTES, check_key
from coordinator.blobs.place import S3Place
from coordinator.blobs.s3_errors import code_of, translated
from coordinator.blobs.s3_probe import Abilities

STAGING = "staging/"
"""What is below it in the bucket may be deleted after a day."""
CONNECTIONS = 64
ONE_REQUEST_BYTES = 5 * 1024**3
"""Most that a store takes in one PUT or copies at once."""
TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
ABSENT = {"NoSuchKey", "NotFound", "404"}
ENDED = {"NoSuchUpload"}
_DESCRIPTIONS = create_loader()
"""What botocore knows of the service, read once in a process: that costs ten times as much as a client."""


class Bucket:
    """``client`` is ours, ``public`` signs what agents and clients get."""

    def __init__(self, place: S3Place, client: Any, public: Any) -> None:
        self.place = place
        self.client = client
        self.abilities = Abilities(checksums=False, parts=False, conditions=False)
        self._public = public

    def name(self, key: str) -> str:
        """Of the object that is the blob. Raises BadKey."""
        name = self.place.prefix + check_key(key)
        if len(name) > MAX_KEY_BYTES:
            raise BadKey("the key is too long for this prefix")
        return name

    def staged(self, key: str) -> str:
        """Where it lies until it was looked at."""
        return f"{self.place.prefix}{STAGING}{key}"

    async def found(self, name: str) -> dict[str, Any] | None:
        """An object's head; None when there is none."""
        try:
            with translated(self.place):
                found: dict[str, Any] = await self.client.head_object(Bucket=self.place.bucket, Key=name)
                return found
        except BlobsUnavailable as error:
            if says(error, ABSENT):
                return None
            raise

    async def stat(self, name: str) -> Stat | None:
        """What an object says of itself; None when it is not there, or not put there by us."""
        found = await self.found(name)
        if found is None or not found["Metadata"].get("sha256"):
            return None
        metadata = found["Metadata"]
        return Stat(
            length=found["ContentLength"],
            sha256=metadata["sha256"],
            md5=metadata.get("md5", ""),
            content_type=found.get("ContentType", ""),
        )

    async def taken(self, key: str, sha256: str) -> bool:
        """Whether the same blob is there already. Raises Exists when it is another one."""
        known = await self.stat(self.name(key))
        if known is not None and known.sha256 != sha256:
            raise Exists("the key holds other content")
        return known is not None

    async def drop(self, name: str) -> None:
        """Delete an object if that can be done now: what stays is below staging/."""
        with suppress(BlobsUnavailable), translated(self.place):
            await self.client.delete_object(Bucket=self.place.bucket, Key=name)

    async def signed(
        self, method: str, ttl_s: float, request: dict[str, Any], *, inside: bool = False
    ) -> str:
        """A URL for others, or for ourselves (``inside``)."""
        with translated(self.place):
            url: str = await (self.client if inside else self._public).generate_presigned_url(
                method,
                Params={"Bucket": self.place.bucket} | request,
                ExpiresIn=max(1, min(int(ttl_s), 604_800)),  # the longest that a signature lasts
            )
        return url

    def checksum(self, sha256: str) -> dict[str, str]:
        """What makes the store refuse other bytes, where it does."""
        return digest_of(sha256) if self.abilities.checksums else {}

    def only_new(self) -> dict[str, str]:
        return {"IfNoneMatch": "*"} if self.abilities.conditions else {}


def digest_of(sha256: str) -> dict[str, str]:
    return {"ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode()}


def new_session() -> Any:
    """Finds credentials in the usual places."""
    session = get_session()
    session.register_component("data_loader", _DESCRIPTIONS)
    return aioboto3.Session(botocore_session=session)


def new_client(session: Any, place: S3Place, endpoint: str | None) -> Any:
    style = place.style or ("path" if place.endpoint else "virtual")
    region = place.region or session.region_name
    if region is None:
        region = "auto" if ".r2.cloudflarestorage.com" in (place.endpoint or "") else "us-east-1"
    return session.client(
        "s3",
        region_name=region,
        endpoint_url=endpoint,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": style},
            max_pool_connections=CONNECTIONS,
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 4},
            # Else a checksum of AWS's own goes along that other stores do not know.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def head(key: str, sha256: str, md5: str, content_type: str) -> dict[str, Any]:
    """What an object says of itself: also to who reads it without us."""
    kind = media_type(content_type)
    known = {"sha256": sha256, "md5": md5}
    return {
        "ContentType": kind,
        "ContentDisposition": disposition(unquote(key.rpartition("/")[2]), kind),
        "Metadata": {name: value for name, value in known.items() if value},
    }


def says(error: BlobsUnavailable, codes: set[str]) -> bool:
    """Whether the store has answered with one of these codes."""
    cause = error.__cause__
    return isinstance(cause, ClientError) and code_of(cause) in codes
