"""Files behind URLs, fetched when they are first used. Inputs are local files by the time a model sees them;
these are for models that make such objects themselves.
"""

import io
import mimetypes
import os
import pathlib
import shutil
import sys
import tempfile
import urllib.parse
import urllib.request
from typing import Any, Dict, Iterator, Optional

from cog.types import Path

LONGEST_NAME_BYTES = 200


def get_filename(url: str) -> str:
    """A safe file name for what a URL names: its last part, or one made of a data URL's type."""
    if url.startswith("data:"):
        kind = url[5:].partition(",")[0].partition(";")[0]
        return "file" + (mimetypes.guess_extension(kind) or "")
    name = os.path.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
    name = name.replace("\0", "_").replace("/", "_") or "file"
    stem, suffix = os.path.splitext(name)
    room = LONGEST_NAME_BYTES - len(suffix.encode())
    return stem.encode()[: max(room, 1)].decode("utf-8", "ignore") + suffix


class URLFile(io.IOBase):
    """An open file whose content comes from a URL. Raises ``OSError`` when it is used and cannot be had."""

    def __init__(self, url: str, filename: Optional[str] = None) -> None:
        self.url = url
        self.name = filename or get_filename(url)
        self._response: Any = None

    def _opened(self) -> Any:
        if self._response is None:
            self._response = urllib.request.urlopen(self.url)  # noqa: S310 - the model's own choice
        return self._response

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._opened().read() if size < 0 else self._opened().read(size)
        return data

    def readable(self) -> bool:
        return True

    def readline(self, size: "Optional[int]" = -1) -> bytes:
        line: bytes = self._opened().readline(-1 if size is None else size)
        return line

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._opened())

    def close(self) -> None:
        if getattr(self, "_response", None) is not None:
            self._response.close()
        super().close()

    def __getattr__(self, name: str) -> Any:
        # Only what is not here: headers, status and the like.
        if name.startswith("_") or name in ("url", "name"):
            raise AttributeError(name)
        return getattr(self._opened(), name)

    def __getstate__(self) -> Dict[str, Any]:
        return {"url": self.url, "name": self.name}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__init__(state["url"], state["name"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"<URLFile {self.name!r}>"


class URLPath(Path):
    """A path whose file comes from a URL. ``str`` is the URL; opening it, or ``convert()``, fetches it.

    Paths that are made of it, such as its parent, are ordinary ones.
    """

    source = ""
    _local: Optional[Path] = None

    def __new__(cls, *, source: str, filename: str, fileobj: Any) -> "URLPath":
        return super().__new__(cls, filename)

    def __init__(self, *, source: str, filename: str, fileobj: Any) -> None:
        if sys.version_info >= (3, 12):
            super().__init__(filename)
        self.source = source
        self.filename = filename
        self.fileobj = fileobj

    def with_segments(self, *segments: Any) -> pathlib.PosixPath:
        return Path(*segments)

    def convert(self) -> Path:
        """The local file, fetched now if it was not before."""
        if self._local is None:
            local = Path(tempfile.mkdtemp(prefix="url-")) / self.filename
            with local.open("wb") as file:
                shutil.copyfileobj(self.fileobj, file)
            self._local = Path(local)
        return self._local

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the local file, if it was fetched."""
        if self._local is not None:
            shutil.rmtree(self._local.parent, ignore_errors=missing_ok)
            self._local = None

    def __str__(self) -> str:
        return self.source or super().__str__()

    def __fspath__(self) -> str:
        return str(self.convert()) if self.source else super().__str__()
