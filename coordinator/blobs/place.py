"""Where files are kept, as one URL says it: ``file:///folder`` or ``s3://bucket/prefix?endpoint=…``. Pure."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from coordinator.blobs.keys import is_key

Style = Literal["path", "virtual"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_OPTIONS = ("endpoint", "public-endpoint", "region", "style")
MAX_PREFIX = 200
"""Characters: an object's name has 1024 bytes in any store, and our keys come after the prefix."""


class BadPlace(ValueError):
    """The URL cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A folder of this machine; None is the one in the data directory."""

    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket, or what is below ``prefix`` in it. What is None is as the environment of AWS says."""

    bucket: str
    prefix: str = ""
    """Ends with a slash unless it is empty."""
    endpoint: str | None = None
    """URL of the store; AWS when None."""
    public_endpoint: str | None = None
    """The same store as agents and clients reach it, where that is another URL."""
    region: str | None = None
    style: Style | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


Place = FilePlace | S3Place


def place_of(url: str) -> Place:
    """What a storage URL means; an empty one is the default. Raises BadPlace."""
    if not url:
        return FilePlace()
    if not url.isprintable():
        raise BadPlace("there is a control character in it")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BadPlace(str(error)) from None
    if parts.scheme == "file":
        return _folder(url)
    if parts.scheme == "s3":
        if "@" in parts.netloc:
            raise BadPlace(
                "no key belongs in it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            )
        return _bucket(parts.netloc, parts.path, parts.query, parts.fragment)
    raise BadPlace("it begins with neither file:// nor s3://")


def _folder(url: str) -> FilePlace:
    path = unquote(url.removeprefix("file://"))
    if not path.startswith("/"):
        raise BadPlace("file:// is followed by an absolute path, as in file:///srv/files")
    return FilePlace(Path(path))


def _bucket(bucket: str, path: str, query: str, fragment: str) -> S3Place:
    if " " in f"{path}{query}":
        raise BadPlace("there is a space in it")
    if fragment:
        raise BadPlace("there is a # in it")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise BadPlace(
            f"{bucket!r} is no name of a bucket: 3 to 63 lower-case letters, digits, dots, hyphens"
        )
    prefix = path.strip("/")
    if prefix and (not is_key(prefix) or len(prefix) > MAX_PREFIX):
        raise BadPlace(
            f"{prefix!r} is no prefix: up to {MAX_PREFIX} letters, digits and . _ ~ - between single slashes"
        )
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name in given:
        if name not in _OPTIONS:
            near = difflib.get_close_matches(name, _OPTIONS, n=1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(_OPTIONS)}"
            raise BadPlace(f"{name!r} is not an option of s3:// ({meant})")
    endpoint = _endpoint(given, "endpoint")
    region = given.get("region")
    if region is not None and not _REGION.fullmatch(region):
        raise BadPlace(f"{region!r} is no name of a region")
    return S3Place(
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=endpoint,
        public_endpoint=_endpoint(given, "public-endpoint"),
        region=region,
        style=_style(given.get("style")),
    )


def _style(text: str | None) -> Style | None:
    if text is None:
        return None
    if text == "path":
        return "path"
    if text == "virtual":
        return "virtual"
    raise BadPlace(f"style is path or virtual, not {text!r}")


def _endpoint(given: dict[str, str], name: str) -> str | None:
    url = given.get(name)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        good = False
    if not good or parts.query or parts.username is not None or parts.path.strip("/"):
        raise BadPlace(f"{name} is a URL such as https://s3.example.org:8333, not {url!r}")
    return url.rstrip("/")
