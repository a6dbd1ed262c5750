"""Secrets from the system's generator, fetched in larger pieces: a call of the system for each is what costs.

For one thread. Never used in a process that forks: both would hand out the same.
"""

import os
from binascii import b2a_base64

_PIECE = 4096


class Randomness:
    """Each byte is handed out once."""

    def __init__(self) -> None:
        self._piece = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        """So many random bytes, at most 4096."""
        end = self._at + count
        if end > len(self._piece):
            self._piece, end = os.urandom(_PIECE), count
        taken = self._piece[end - count : end]
        self._at = end
        return taken

    def bits(self, count: int) -> int:
        """A number of so many random bits."""
        octets = (count + 7) // 8
        return int.from_bytes(self.take(octets), "big") >> (octets * 8 - count)

    def token(self) -> str:
        """A secret of 144 bits that may stand in a URL: 24 characters."""
        return b2a_base64(self.take(18), newline=False).translate(_URL_SAFE).decode()


_URL_SAFE = bytes.maketrans(b"+/", b"-_")
