"""Prediction ids: 26 characters that say which coordinator owns them and prove that we made them.

130 bits in Crockford's base 32 (Replicate's ids look the same, replicate-api.md 1.6): 28 bits object number,
82 random bits, 20 bits of a keyed hash over both. A made-up id is turned away without touching any storage.
"""

import hmac
from collections.abc import Callable

from coordinator.randomness import Randomness

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
NUMBER_BITS, RANDOM_BITS, MAC_BITS = 28, 82, 20
MAX_NUMBER = (1 << NUMBER_BITS) - 1
_VALUES = {char: value for value, char in enumerate(ALPHABET)}
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]
"""Two characters for each value of 10 bits."""
_SHIFTS = tuple(range(LENGTH * 5 - 10, -1, -10))


class Ids:
    """Makes and reads prediction ids with one secret key."""

    def __init__(self, key: bytes, random_bits: Callable[[int], int] | None = None) -> None:
        self._key = key
        self._keyed = hmac.new(key, digestmod="sha256")
        self._random_bits = random_bits or Randomness().bits

    def make(self, number: int) -> str:
        """A new id that routes to object ``number``."""
        return self._id(number, self._random_bits(RANDOM_BITS))

    def belonging_to(self, cause: str, number: int) -> str:
        """The one id that object ``number`` has for what this causes: the same each time, and like any other
        one to whoever does not know the key."""
        digest = hmac.digest(self._key, b"cause:" + cause.encode(), "sha256")
        return self._id(number, int.from_bytes(digest, "big") >> (len(digest) * 8 - RANDOM_BITS))

    def number(self, prediction: str) -> int | None:
        """The object that owns this id, or None when the id is not one of ours."""
        value = _decode(prediction)
        if value is None:
            return None
        body = value >> MAC_BITS
        if value & ((1 << MAC_BITS) - 1) != self._mac(body):
            return None
        return body >> RANDOM_BITS

    def _id(self, number: int, random_bits: int) -> str:
        if not 0 <= number <= MAX_NUMBER:
            raise ValueError(f"object number {number} is not within 0..{MAX_NUMBER}")
        body = number << RANDOM_BITS | random_bits
        return _encode(body << MAC_BITS | self._mac(body))

    def _mac(self, body: int) -> int:
        mac = self._keyed.copy()  # what depends on the key alone is done
        mac.update(body.to_bytes(16, "big"))
        return int.from_bytes(mac.digest()[:4], "big") >> (32 - MAC_BITS)


def _encode(value: int) -> str:
    return "".join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])


def _decode(text: str) -> int | None:
    if len(text) != LENGTH:
        return None
    value = 0
    for char in text:
        digit = _VALUES.get(char)
        if digit is None:
            return None
        value = value << 5 | digit
    return value
