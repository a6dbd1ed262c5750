"""Keys of blobs: ``segment/segment/…``, safe as paths on any disk, in any object storage and in a URL.

The last segment is the file's name as its owner gave it, percent-encoded. A name never holds a literal ``%``,
so decoding a key and encoding it again gives the same key: ``from_url_path`` takes either form.
"""

import re
import secrets
import unicodedata
from urllib.parse import quote, unquote

from coordinator.blobs.errors import BadKey

MAX_SEGMENT_BYTES = 240
"""A file name has 255 bytes on common file systems; the rest is for the storage's own suffixes."""
MAX_KEY_BYTES = 1024
MAX_EXTENSION_BYTES = 40
NAMELESS = "file"

_SEGMENT = re.compile(r"[A-Za-z0-9._~%-]+")
_UNSAFE = re.compile(r"[%\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def output_key(prediction: str, attempt_key: str, index: int, name: str) -> str:
    """Where output file number ``index`` of an attempt lies. ``attempt_key`` makes it unguessable."""
    return check_key(f"{output_prefix(prediction, attempt_key)}{index}/{safe_name(name)}")


def prediction_prefix(prediction: str) -> str:
    """What the keys of all output files of a prediction begin with, before a slash."""
    return check_key(f"outputs/{prediction}")


def output_prefix(prediction: str, attempt_key: str) -> str:
    """What the keys of all of an attempt's output files begin with."""
    return f"outputs/{prediction}/{attempt_key}/"


def upload_key(file_id: str, name: str) -> str:
    """Where a file that a client uploaded lies."""
    return check_key(f"uploads/{file_id}/{safe_name(name)}")


def long_input_key() -> str:
    """Where an input lies that is too long for a row; unguessable."""
    return f"inputs/{secrets.token_hex(16)}/input.json"


def check_key(key: str) -> str:
    """The key itself, or BadKey when it could mean anything but one file below a storage's root."""
    if len(key) > MAX_KEY_BYTES:
        raise BadKey("the key is too long")
    for segment in key.split("/"):
        if not _SEGMENT.fullmatch(segment) or segment.startswith(".") or len(segment) > MAX_SEGMENT_BYTES:
            raise BadKey(
                "the key has a segment that is empty, too long, or of characters that keys do not have"
            )
    return key


def is_key(text: str) -> bool:
    """Whether ``check_key`` takes it."""
    try:
        check_key(text)
    except BadKey:
        return False
    return True


def safe_name(name: str) -> str:
    """A key's last segment from any file name: its last path component, percent-encoded, at most
    ``MAX_SEGMENT_BYTES`` long with its extension kept; never empty and never hidden."""
    name = re.split(r"[/\\]", name)[-1]
    name = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).strip().lstrip(".")
    stem, dot, extension = name.rpartition(".")
    tail = quote(dot + extension, safe="")
    if not stem or len(tail) > MAX_EXTENSION_BYTES:
        stem, tail = name, ""
    return _shorten(stem or NAMELESS, MAX_SEGMENT_BYTES - len(tail)) + tail


def from_url_path(path: str) -> str:
    """The key that a URL's path means, percent-decoded by the HTTP server or not. Raises BadKey."""
    try:
        return check_key("/".join(quote(unquote(segment), safe="") for segment in path.split("/")))
    except UnicodeEncodeError:
        raise BadKey("the path is not Unicode text") from None


def _shorten(text: str, limit_bytes: int) -> str:
    """Percent-encode, leaving out what comes after ``limit_bytes``, never a part of a character."""
    encoded = ""
    for char in text:
        piece = quote(char, safe="")
        if len(encoded) + len(piece) > limit_bytes:
            break
        encoded += piece
    return encoded
