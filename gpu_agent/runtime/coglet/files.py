"""Output files: each is set aside when it is yielded or returned, and the model may go on with its own."""

import os
from typing import Any, Dict, List, Optional, Tuple

# The suffixes of nearly every output; the standard table, with its files to read, only for the rest.
_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".svg": "image/svg+xml",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".json": "application/json",
    ".txt": "text/plain",
    ".zip": "application/zip",
    ".glb": "model/gltf-binary",
    ".safetensors": "application/octet-stream",
}
_CHUNK_BYTES = 1 << 20


def content_type(name: str) -> str:
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _TYPES or not suffix:
        return _TYPES.get(suffix, "application/octet-stream")
    import mimetypes

    return mimetypes.guess_type(name)[0] or "application/octet-stream"


class Files:
    """The output files of one prediction.

    ``place`` copies to ``folder``; a file that lies in ``own``, the prediction's temporary directory, is
    linked instead once ``last`` says that the model will not touch it any more.
    """

    def __init__(self, folder: str, own: Optional[str]) -> None:
        self._folder = folder
        self._own = own
        self._count = 0
        self._placed: List[Dict[str, str]] = []
        self.last = False

    @staticmethod
    def is_file(value: Any) -> bool:
        return isinstance(value, os.PathLike) or (hasattr(value, "read") and hasattr(value, "seek"))

    def mark(self) -> int:
        return len(self._placed)

    def forget(self, mark: int) -> None:
        """Take back what was placed since ``mark``: it is no part of the output after all."""
        for file in self._placed[mark:]:
            os.unlink(file["path"])
        del self._placed[mark:]

    def take(self) -> List[Dict[str, str]]:
        """The files placed since the last call."""
        taken, self._placed = self._placed, []
        return taken

    def place(self, value: Any, pointer: str) -> None:
        """Set one file aside and note it. Raises ``OSError`` when it is not there or is no file."""
        if isinstance(value, os.PathLike):
            path: Optional[str] = os.path.abspath(os.fsdecode(os.fspath(value)))
            name = os.path.basename(path or "")
        else:
            path, name = _of_stream(value)
        if not self._count:
            os.makedirs(self._folder, exist_ok=True)
        target = os.path.join(self._folder, str(self._count))
        self._count += 1
        if path is None:
            _write_stream(value, target)
        else:
            if os.path.exists(path) and not os.path.isfile(path):
                raise OSError(f"{path} is not a regular file")
            if self._may_link(path):
                os.link(path, target)
            else:
                _copy(path, target)
        name = name.encode("utf-8", "replace").decode("utf-8") or "output"
        self._placed.append(
            {"pointer": pointer, "path": target, "name": name, "content_type": content_type(name)}
        )

    def _may_link(self, path: str) -> bool:
        return (
            self.last
            and self._own is not None
            and path.startswith(self._own + os.sep)
            and not os.path.islink(path)
            and os.path.exists(path)
        )


def _of_stream(stream: Any) -> Tuple[Optional[str], str]:
    name = getattr(stream, "name", None)
    if isinstance(name, str) and os.path.isfile(name):
        if hasattr(stream, "flush") and not getattr(stream, "closed", False):
            stream.flush()
        return os.path.abspath(name), os.path.basename(name)
    return None, os.path.basename(name) if isinstance(name, str) else "output"


def _write_stream(stream: Any, target: str) -> None:
    stream.seek(0)
    with open(target, "wb") as out:
        while True:
            chunk = stream.read(_CHUNK_BYTES)
            if not chunk:
                return
            out.write(chunk.encode("utf-8") if isinstance(chunk, str) else chunk)


def _copy(path: str, target: str) -> None:
    with open(path, "rb") as source, open(target, "xb") as out:
        if hasattr(os, "copy_file_range"):
            try:
                # The kernel copies, or shares the blocks where the file system can.
                while os.copy_file_range(source.fileno(), out.fileno(), 1 << 30):
                    pass
            except OSError:
                source.seek(0)
                out.seek(0)
            else:
                return
        while True:
            chunk = source.read(_CHUNK_BYTES)
            if not chunk:
                return
            out.write(chunk)
