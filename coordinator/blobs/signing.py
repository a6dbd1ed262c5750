"""Signed URLs: who holds one may read, or write, one blob until a time. Pure: no clock, no I/O.

The signature covers all that the URL says, and which of the two it is for.
"""

import base64
import hmac
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import urlencode

import msgspec

from coordinator.blobs.base import Part
from coordinator.blobs.errors import BadKey, BadSignature, Expired
from coordinator.blobs.keys import check_key, from_url_path

GET_PATH = "/files/"
PUT_PATH = "/uploads/"
_SECOND = 1_000_000
_WHOLE = ("length", "sha256", "type")
_PART = (*_WHOLE, "part", "upload", "start")


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A right to read one blob, and how to present it."""

    key: str
    name: str
    content_type: str
    expires_at: int


class UploadGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A right to write one blob of exactly this content, or ``part`` of it in the upload of this id."""

    key: str
    length: int
    sha256: str
    content_type: str
    expires_at: int
    part: Part | None = None
    upload: str = ""


class Signer:
    """Makes and checks signed paths with one secret key of 32 bytes or more."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("a signing key has at least 32 bytes")
        self._key = key

    def get_path(self, key: str, *, name: str, content_type: str, expires_at: int) -> str:
        """Path and query that give the blob until ``expires_at`` (microseconds; rounded up to a second)."""
        return self._path("get", GET_PATH, key, {"name": name, "type": content_type}, expires_at)

    def put_path(self, key: str, *, length: int, sha256: str, content_type: str, expires_at: int) -> str:
        """Path and query that take the blob, if it is of this length and SHA-256, until ``expires_at``."""
        claims = {"length": str(length), "sha256": sha256, "type": content_type}
        return self._path("put", PUT_PATH, key, claims, expires_at)

    def part_path(self, key: str, upload: str, part: Part, *, expires_at: int) -> str:
        """Path and query that take one part of a blob, as ``put_path`` a whole one."""
        claims = {"length": str(part.length), "sha256": part.sha256, "type": ""}
        claims |= {"part": str(part.number), "upload": upload, "start": str(part.start)}
        return self._path("put", PUT_PATH, key, claims, expires_at)

    def verify_get(self, key: str, query: Mapping[str, str], now: int) -> Grant:
        """The grant of a GET. ``key`` is the URL's path after ``/files/``, percent-decoded or not.

        Raises BadSignature, or Expired when the signature is good but its time is over.
        """
        key, claims, expires_at = self._verify("get", key, query, ("name", "type"), now)
        return Grant(key=key, name=claims["name"], content_type=claims["type"], expires_at=expires_at)

    def verify_put(self, key: str, query: Mapping[str, str], now: int) -> UploadGrant:
        """The grant of a PUT. ``key`` is the URL's path after ``/uploads/``; raises as ``verify_get``."""
        names = _PART if "part" in query else _WHOLE
        key, claims, expires_at = self._verify("put", key, query, names, now)
        length, sha256, part = int(claims["length"]), claims["sha256"], None
        if "part" in claims:
            number, start = int(claims["part"]), int(claims["start"])
            part = Part(number=number, start=start, length=length, sha256=sha256)
        return UploadGrant(
            key=key,
            length=length,
            sha256=sha256,
            content_type=claims["type"],
            expires_at=expires_at,
            part=part,
            upload=claims.get("upload", ""),
        )

    def mac(self, purpose: str, text: str) -> str:
        """A signature of any text for a purpose of its own; ``has_mac`` checks it."""
        return self._signature(f"mac:{purpose}", text, {})

    def has_mac(self, purpose: str, text: str, mac: str) -> bool:
        """Whether ``mac`` is this signer's for the text and purpose."""
        return hmac.compare_digest(self.mac(purpose, text).encode(), mac.encode("utf-8", "replace"))

    def _path(self, purpose: str, path: str, key: str, claims: dict[str, str], expires_at: int) -> str:
        claims = claims | {"expires": str(-(-expires_at // _SECOND))}
        query = claims | {"signature": self._signature(purpose, check_key(key), claims)}
        return f"{path}{key}?{urlencode(query)}"

    def _verify(
        self, purpose: str, path: str, query: Mapping[str, str], names: tuple[str, ...], now: int
    ) -> tuple[str, dict[str, str], int]:
        try:
            key = from_url_path(path)
            claims = {name: query[name] for name in (*names, "expires")}
            wanted = self._signature(purpose, key, claims)
            given = query["signature"].encode("ascii")
        except (BadKey, KeyError, UnicodeEncodeError):
            _refuse()
        if not hmac.compare_digest(wanted.encode(), given):
            _refuse()
        # Signed by us, so it is a number.
        expires_at = int(claims["expires"]) * _SECOND
        if now >= expires_at:
            raise Expired(expires_at)
        return key, claims, expires_at

    def _signature(self, purpose: str, key: str, claims: dict[str, str]) -> str:
        # A JSON list keeps the fields apart whatever they contain.
        signed = msgspec.json.encode([purpose, key, *(part for claim in claims.items() for part in claim)])
        digest = hmac.digest(self._key, signed, "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _refuse() -> NoReturn:
    raise BadSignature("the link is not signed by this server") from None
