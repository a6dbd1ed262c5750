"""Absolute URLs on the public base: what clients follow must have the scheme and host that they see."""

from collections.abc import Callable
from urllib.parse import quote, urlencode

from coordinator.blobs.signing import Signer
from coordinator.protocol.messages import StoredFile

_STEPS_PER_TTL = 24


class Links:
    """Makes the URLs of one server. ``public_url`` has no trailing slash; ``now`` gives microseconds."""

    def __init__(
        self, public_url: str, signer: Signer, file_url_ttl_s: float, now: Callable[[], int]
    ) -> None:
        self.base = public_url.rstrip("/")
        self._signer = signer
        self._ttl_us = int(file_url_ttl_s * 1_000_000)
        self._now = now

    def to(self, path: str) -> str:
        return self.base + path

    def prediction(self, id: str) -> str:
        return f"{self.base}/v1/predictions/{id}"

    def model(self, name: str) -> str:
        return f"{self.base}/v1/models/{name}"

    def uploaded(self, file: str) -> str:
        return f"{self.base}/v1/files/{quote(file, safe='')}"

    def download(self, file: str, account: str) -> str:
        """A URL under which anybody can read an uploaded file's bytes, while it is kept."""
        expiry = str(self._expires_at() // 1_000_000)
        query = urlencode(
            {"owner": account, "expiry": expiry, "signature": self.download_signature(account, file, expiry)}
        )
        return f"{self.uploaded(file)}/download?{query}"

    def download_signature(self, owner: str, file: str, expiry: str) -> str:
        """What signs a download: Replicate's text, under our key."""
        return self._signer.mac("download", f"{owner} {file} {expiry}")

    def training(self, id: str) -> str:
        return f"{self.base}/v1/trainings/{id}"

    def stored(self, file: StoredFile, until: int | None = None) -> str:
        """A URL under which anybody can read the file for at least ``file_url_ttl_s``, or until then.

        It is the same for a while, so that a client that asks twice may compare and cache.
        """
        return self.signed(file.key, file.name, file.content_type, until)

    def signed(self, key: str, name: str, content_type: str, until: int | None = None) -> str:
        expires_at = self._expires_at() if until is None else until
        path = self._signer.get_path(key, name=name, content_type=content_type, expires_at=expires_at)
        return self.base + path

    def _expires_at(self) -> int:
        step_us = max(1, self._ttl_us // _STEPS_PER_TTL)
        return (self._now() // step_us + 1) * step_us + self._ttl_us
