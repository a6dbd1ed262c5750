"""Names for fetched files: what the sender called them, made safe, with an extension where one is known."""

import mimetypes
import re
from email.message import Message
from urllib.parse import unquote, urlsplit

MAX_BYTES = 200
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")
_ANY = ("application/octet-stream", "binary/octet-stream", "")


def safe_name(name: str) -> str:
    """The name as one path segment of at most 200 bytes that keeps its extension; may be empty."""
    name = _UNSAFE.sub("_", name).strip(" ").lstrip(".")
    if len(name.encode(errors="replace")) <= MAX_BYTES:
        return name.encode(errors="replace").decode()
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension.encode(errors="replace")) > 16:
        stem, dot, extension = name, "", ""
    room = MAX_BYTES - len((dot + extension).encode(errors="replace"))
    return stem.encode(errors="replace")[:room].decode(errors="ignore") + dot + extension


def fetched_name(url: str, disposition: str, content_type: str) -> str:
    """The name of a file that came from ``url`` with these two response headers."""
    name = safe_name(_from_disposition(disposition)) or safe_name(_last_segment(url)) or "file"
    return name if "." in name else name + extension(content_type)


def extension(content_type: str) -> str:
    """``.png`` for ``image/png; …``; empty when the type says nothing."""
    plain = content_type.partition(";")[0].strip().lower()
    return "" if plain in _ANY else mimetypes.guess_extension(plain) or ""


def _last_segment(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2], errors="replace")


def _from_disposition(value: str) -> str:
    if not value:
        return ""
    header = Message()
    header["Content-Disposition"] = value.replace("\r", " ").replace("\n", " ")
    return header.get_filename() or ""
