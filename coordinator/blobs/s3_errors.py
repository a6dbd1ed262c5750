"""What a bucket's refusals mean, in words for who runs the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from coordinator.blobs.errors import BlobsUnavailable
from coordinator.blobs.place import S3Place

SKEW_S = 300.0
"""A store believes a clock that is this far off at least."""

_HINTS = {
    "NoSuchBucket": "create the bucket, or correct its name and endpoint in --storage",
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID (or the profile) is not a key of this store",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not belong to the key, or a proxy changes requests",
    "AccessDenied": "the key needs s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket, "
    "s3:ListMultipartUploadParts, s3:ListBucketMultipartUploads and s3:AbortMultipartUpload here",
    "RequestTimeTooSkewed": "set this machine's clock",
    "ExpiredToken": "the credentials have ended: fetch new ones",
    "InvalidToken": "AWS_SESSION_TOKEN does not belong to the key",
    "AuthorizationHeaderMalformed": "name the bucket's region: --storage 's3://…?region=…'",
    "PermanentRedirect": "name the bucket's region: --storage 's3://…?region=…'",
    "IllegalLocationConstraintException": "name the bucket's region: --storage 's3://…?region=…'",
    "SlowDown": "the store asks for fewer requests",
    "QuotaExceeded": "make room in the bucket, or raise its quota",
}
DEFINITE = frozenset(_HINTS) - {"SlowDown", "QuotaExceeded"}
"""Refusals that waiting does not cure."""
_BY_STATUS = {"403": "AccessDenied", "301": "PermanentRedirect"}
"""What the answer to a HEAD means: it has no body that says it."""


class BucketRefused(BlobsUnavailable):
    """Nothing works until an operator has changed something."""


def code_of(error: ClientError) -> str:
    """The store's code for what is wrong; of a HEAD without a body the HTTP status, where that says it."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return _BY_STATUS.get(code, code)


@contextmanager
def translated(place: S3Place) -> Iterator[None]:
    """Errors of the client library and of the network leave as BlobsUnavailable."""
    try:
        yield
    except ClientError as error:
        raise refusal(place, error) from error
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise BucketRefused(
            f"there are no credentials for {place}: {error}",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        ) from error
    except EndpointConnectionError as error:
        raise BlobsUnavailable(f"{place} cannot be reached: {error}", "is the store up?") from error
    except (BotoCoreError, aiohttp.ClientError, TimeoutError, OSError) as error:
        raise BlobsUnavailable(f"{place}: {str(error) or type(error).__name__}") from error


def refusal(place: S3Place, error: ClientError) -> BlobsUnavailable:
    """What the store has said, as our own error."""
    code = code_of(error)
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    off_s = clock_off_s(headers.get("date", ""), datetime.now(UTC))
    if code in DEFINITE and abs(off_s) > SKEW_S:
        how = "ahead" if off_s > 0 else "behind"
        text = (
            f"{place} was refused ({code}): this machine's clock is {abs(off_s):.0f} s {how} of the store's"
        )
        return BucketRefused(text, _HINTS["RequestTimeTooSkewed"])
    said = error.response.get("Error", {}).get("Message") or code
    text = f"{place}: {code}: {said}" if said != code else f"{place}: {code}"
    kind = BucketRefused if code in DEFINITE else BlobsUnavailable
    return kind(text, _HINTS.get(code, ""))


def clock_off_s(date: str, now: datetime) -> float:
    """How far ahead of an answer's ``Date`` this machine's clock is; 0 when it has none."""
    try:
        return (now - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):
        return 0.0
