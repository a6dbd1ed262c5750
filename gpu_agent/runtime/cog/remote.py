"""Files behind URLs, fetched when they are first used. Inputs are local files by the time a model sees them;
these are for models that make such objects themselves.
"""

import http.client
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
TIMEOUT_S = 10.0
"""How long nothing may come from the host of a URL, as in the original."""
SCHEMES = ("http", "https", "data")


def get_filename(url: str) -> str:
    """A safe file name for what a URL names: its last part, or one made of a data URL's type."""
    if url.startswith("data:"):
        kind = url[5:].partition(",")[0].partition(";")[0]
        return "file" + (mimetypes.guess_extension(kind) or "")
    return _safe(urllib.parse.unquote(urllib.parse.urlsplit(url).path))


def _safe(path: str) -> str:
    name = os.path.basename(path).replace("\0", "_")
    if name in ("", ".", ".."):
        return "file"
    stem, suffix = os.path.splitext(name)
    if len(suffix.encode()) >= LONGEST_NAME_BYTES:
        stem, suffix = name, ""
    room = LONGEST_NAME_BYTES - len(suffix.encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + suffix


class URLFile(io.IOBase):
    """An open file whose content comes from a URL, ``http``, ``https`` or ``data``.

    Raises ``ValueError`` for another one, ``OSError`` when it is used and cannot be had. It calls itself what
    ``COG_USER_AGENT`` in the environment says.
    """

    def __init__(self, url: str, filename: Optional[str] = None) -> None:
        scheme = url.partition(":")[0].lower()
        if scheme not in SCHEMES:
            raise ValueError(f"the URL of a URLFile begins with one of {', '.join(SCHEMES)}, not {scheme!r}")
        self.url = url
        self.name = filename or get_filename(url)
        self._response: Any = None

    def _opened(self) -> Any:
        if self._response is None:
            agent = os.environ.get("COG_USER_AGENT")
            request = urllib.request.Request(self.url, headers={"User-Agent": agent} if agent else {})  # noqa: S310
            self._response = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
        return self._response

    def read(self, size: Optional[int] = -1) -> bytes:
        response = self._opened()
        try:
            data: bytes = response.read() if size is None or size < 0 else response.read(size)
        except http.client.HTTPException as error:
            raise OSError(f"{self.name} cannot be fetched: {error!r}") from error
        # A read of some bytes does not tell the end of the file from the end of the connection.
        if size and not data and getattr(response, "length", None):
            raise OSError(f"{self.name} cannot be fetched: the connection ended before the file did")
        return data

    def seekable(self) -> bool:
        return bool(self._opened().seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._opened().seek(offset, whence))

    def tell(self) -> int:
        return int(self._opened().tell())

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
        self.filename = _safe(filename)
        self.fileobj = fileobj

    def with_segments(self, *segments: Any) -> pathlib.PosixPath:
        return Path(*segments)

    def convert(self) -> Path:
        """The local file, fetched now if it was not before. Raises ``OSError`` when it cannot be."""
        if self._local is None:
            folder = tempfile.mkdtemp(prefix="url-")
            local = Path(folder, self.filename)
            try:
                with local.open("wb") as file:
                    shutil.copyfileobj(self.fileobj, file)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._local = local
        return self._local

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the local file, if it was fetched; what comes from a URL can be fetched again."""
        if self._local is not None:
            shutil.rmtree(self._local.parent, ignore_errors=missing_ok)
            self._local = None
            if isinstance(self.fileobj, URLFile):
                self.fileobj = URLFile(self.fileobj.url, self.fileobj.name)

    def __reduce__(self) -> Any:
        if not self.source:
            return Path, (super().__str__(),)
        return _remade, (self.source, self.filename, self.fileobj)

    def __str__(self) -> str:
        return self.source or super().__str__()

    def __fspath__(self) -> str:
        return str(self.convert()) if self.source else super().__str__()


def _remade(source: str, filename: str, fileobj: Any) -> URLPath:
    return URLPath(source=source, filename=filename, fileobj=fileobj)
