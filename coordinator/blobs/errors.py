"""Errors of file storage.

BlobsError
├── BlobsUnavailable    the storage cannot be used now (full, read-only, broken): HTTP 503
├── BadKey              not a key that this storage takes
├── Missing             there is no blob under this key
├── Exists              the key is taken by other content: blobs never change
├── ChecksumMismatch    length or SHA-256 is not what was announced; nothing was kept
├── TooLarge            more bytes than allowed; nothing was kept
└── GrantError          a signed URL that gives no access
    ├── BadSignature    made up, changed, or signed with another key
    └── Expired         it was good once
"""

from coordinator.errors import Unavailable


class BlobsError(Exception):
    """Base of this package's errors."""


class BlobsUnavailable(BlobsError, Unavailable):
    """The storage failed; repeat the call once ``hint`` is seen to."""

    def __init__(self, detail: str, hint: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.hint = hint
        self.retry_after_s = retry_after_s


class BadKey(BlobsError, ValueError):
    """The key is empty, too long, or has characters or segments that keys do not have."""


class Missing(BlobsError):
    """There is no blob under this key."""


class Exists(BlobsError):
    """The key holds other content."""


class ChecksumMismatch(BlobsError):
    """The bytes are not the ones announced."""


class TooLarge(BlobsError):
    """The blob has more bytes than ``limit_bytes``."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the file is larger than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class GrantError(BlobsError):
    """Base of what is wrong with a signed URL."""


class BadSignature(GrantError):
    """The signature does not fit the URL."""


class Expired(GrantError):
    """The URL was good until ``expires_at`` (microseconds since the epoch)."""

    def __init__(self, expires_at: int) -> None:
        super().__init__("this link has expired")
        self.expires_at = expires_at
