"""Files as data URLs, or sent to where a prefix says. Outputs need neither: return a ``Path``."""

import base64
import mimetypes
import os
import urllib.request
from typing import Any, Optional

UPLOAD_TIMEOUT_S = 30.0
"""How long nothing may happen on the wire."""


def guess_filename(obj: Any) -> str:
    """The file name of an open file; ``file`` when it has none."""
    name = getattr(obj, "name", None)
    return os.path.basename(name) if isinstance(name, str) and name else "file"


def ensure_trailing_slash(url: str) -> str:
    return url if url.endswith("/") else url + "/"


def upload_file(fh: Any, output_file_prefix: Optional[str] = None) -> str:
    """The URL of an open file: where it was put below the prefix, or a data URL without one.

    A file that can be wound back is sent from its beginning. Raises ``OSError`` when it cannot be sent.
    """
    name = guess_filename(fh)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if fh.seekable():
        fh.seek(0)
    data = fh.read()
    if isinstance(data, str):
        data = data.encode()
    if output_file_prefix is None:
        return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    url = ensure_trailing_slash(output_file_prefix) + name
    request = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Type": kind})  # noqa: S310
    with urllib.request.urlopen(request, timeout=UPLOAD_TIMEOUT_S) as response:  # noqa: S310 - the caller's own choice
        return str(response.headers.get("Location") or response.url).partition("?")[0]
