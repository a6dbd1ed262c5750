"""Keeps the values of secrets out of texts and logs."""

from typing import Iterable

from cog.types import Secret

SHORTEST = 4
"""Shorter ones are no secrets, and their masks would make a log unreadable."""
_MASK = Secret.MASK.encode()


class Masker:
    """Masks in whole texts, and in a stream of bytes that may cut a secret anywhere."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first, as one may hold another.
        found = {secret for secret in secrets if len(secret) >= SHORTEST}
        self._texts = sorted(found, key=len, reverse=True)
        self._bytes = [text.encode("utf-8", "replace") for text in self._texts]
        self._held = b""

    def text(self, text: str) -> str:
        for secret in self._texts:
            text = text.replace(secret, Secret.MASK)
        return text

    def feed(self, data: bytes) -> bytes:
        """What may be shown by now: an end that could be the beginning of a secret is held back."""
        data = self._held + data
        for secret in self._bytes:
            data = data.replace(secret, _MASK)
        held = max((_overlap(data, secret) for secret in self._bytes), default=0)
        self._held = data[len(data) - held :]
        return data[: len(data) - held]

    def rest(self) -> bytes:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, b""
        return held


def _overlap(data: bytes, secret: bytes) -> int:
    """How much of the end of ``data`` is a beginning of ``secret``."""
    for length in range(min(len(secret) - 1, len(data)), 0, -1):
        if data.endswith(secret[:length]):
            return length
    return 0
