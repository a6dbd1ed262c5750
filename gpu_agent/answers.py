"""Reading what a model's process has written: never for ever, and not without end.

A model can write into the folder that its process shares with us, and put a pipe, a link or a file of any
size there.
"""

import os
from pathlib import Path

LARGEST_BYTES = 1 << 30
"""Of one file. More is no answer: it would fill the memory of whoever reads it."""


def open_answer(path: str, how: int = os.O_RDONLY) -> int:
    """A descriptor to read from, with ``os.O_RDWR`` also to write to. Raises ``OSError``,
    ``FileNotFoundError`` when it is not there yet.

    A link is not followed, and a pipe does not block.
    """
    return os.open(path, how | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def read_all(descriptor: int) -> bytes:
    """From where the descriptor is to the end that the file has now. Raises ``OSError``, and ``ValueError``
    when that is too much."""
    parts = []
    size, left = 1 << 16, LARGEST_BYTES
    while data := os.read(descriptor, size):
        parts.append(data)
        left -= len(data)
        if left < 0:
            raise ValueError(f"an answer is larger than {LARGEST_BYTES} bytes")
        if len(data) < size:
            break  # of a regular file that is its end, for now
        size = 1 << 20
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_answer(path: Path) -> bytes:
    """The whole of it. Raises as ``open_answer`` and ``read_all`` do."""
    descriptor = open_answer(str(path))
    try:
        return read_all(descriptor)
    finally:
        os.close(descriptor)
