"""Keeps the secrets of an input out of the log of its prediction."""

from collections.abc import Iterable

MASK = b"**********"
SHORTEST = 4
"""Shorter ones are no secrets, and their masks would make a log unreadable."""


class Masker:
    """Masks in a stream of bytes, which may be cut anywhere. Without secrets it does nothing."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {secret.encode(errors="replace") for secret in secrets if len(secret) >= SHORTEST}
        # The longest first, as one may hold another.
        self._secrets = sorted(found, key=len, reverse=True)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What may be shown by now: an end that could be the beginning of a secret is held back."""
        if not self._secrets:
            return data
        data = self._held + data
        for secret in self._secrets:
            data = data.replace(secret, MASK)
        cut = len(data) - max(_overlap(data, secret) for secret in self._secrets)
        self._held = data[cut:]
        return data[:cut]

    def rest(self) -> bytes:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, b""
        return held


def _overlap(data: bytes, secret: bytes) -> int:
    """How much of the end of ``data`` is a beginning of ``secret``."""
    longest = min(len(secret) - 1, len(data))
    return next((length for length in range(longest, 0, -1) if data.endswith(secret[:length])), 0)
