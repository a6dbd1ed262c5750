"""Where prints go. By file descriptor for one prediction at a time, so that C code and child processes are in
it; by context for several on one event loop.
"""

import contextvars
import io
import os
import sys
from typing import Any, Callable, Optional


class Capture:
    """Points descriptors 1 and 2 at a prediction's log and back at home, where they pointed at the start."""

    def __init__(self) -> None:
        _write_whole()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self._home = (os.dup(1), os.dup(2))
        self._flush_c: Optional[Callable[[], None]] = None
        self._modules = 0

    @property
    def home(self) -> int:
        """The descriptor that stderr was at the start."""
        return self._home[1]

    def begin(self, descriptor: int) -> None:
        """Send output to this descriptor, which is closed here."""
        self.flush()
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)

    def end(self) -> None:
        """Flush what the prediction left in buffers, Python's and C's, and go home."""
        self.flush()
        os.dup2(self._home[0], 1)
        os.dup2(self._home[1], 2)

    def flush(self) -> None:
        """Pass on what lies in buffers, so that what is logged next comes after it."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass  # replaced or closed by the model: nothing of ours to flush
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            if self._flush_c is None and _has_foreign_code():
                self._flush_c = _c_flusher()
        if self._flush_c is not None:
            self._flush_c()


class _Whole(io.FileIO):
    """Unbuffered, and goes on after a signal that came in the middle of a long write."""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view):
            more = super().write(view[written:])
            if more is None:
                break  # the model has made it non-blocking: what becomes of the rest is the model's affair
            written += more
        return written


def _write_whole() -> None:
    """With PYTHONUNBUFFERED the text streams write straight to the descriptor, once, and forget what it did
    not take. A pipe takes less than it is given when SIGIO comes: that part of the log would be lost."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        raw = getattr(stream, "buffer", None)
        if isinstance(raw, io.FileIO):
            unbuffered = _Whole(raw.fileno(), "wb", closefd=False)
            unbuffered.name = stream.name
            whole = io.TextIOWrapper(unbuffered, write_through=True)
            whole.mode = stream.mode  # type: ignore[misc]
            setattr(sys, name, whole)
            setattr(sys, f"__{name}__", whole)


def _has_foreign_code() -> bool:
    """Whether anything is loaded that could print through C's stdio: only then is ctypes worth its import."""
    if "ctypes" in sys.modules:
        return True
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith((".so", ".dylib")) and "lib-dynload" not in file:
            return True
    return False


def _c_flusher() -> Optional[Callable[[], None]]:
    import ctypes

    library = ctypes.CDLL(None)
    streams = []
    for names in (("stdout", "__stdoutp"), ("stderr", "__stderrp")):
        for name in names:
            try:
                streams.append(ctypes.c_void_p.in_dll(library, name))
                break
            except ValueError:
                pass

    def flush() -> None:
        for stream in streams:
            library.fflush(stream)

    return flush if streams else None


Sink = Callable[[bytes], None]
SINK: "contextvars.ContextVar[Optional[Sink]]" = contextvars.ContextVar("coglet_log", default=None)
"""Where the prediction of this context logs."""


class Router(io.TextIOBase):
    """Stands in for ``sys.stdout`` or ``sys.stderr``: a write goes to the prediction whose context writes."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self._original = original

    encoding = "utf-8"
    errors = "backslashreplace"

    @property
    def buffer(self) -> Any:
        return self._original.buffer

    def fileno(self) -> int:
        return int(self._original.fileno())

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self._original.flush()

    def write(self, text: str) -> int:
        sink = SINK.get()
        if sink is None:
            return int(self._original.write(text))
        sink(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        # ``reconfigure``, ``line_buffering``, ``mode`` and whatever else the standard streams have.
        if name == "_original":
            raise AttributeError(name)
        return getattr(self._original, name)


def route_by_context() -> None:
    sys.stdout = Router(sys.stdout)
    sys.stderr = Router(sys.stderr)
