"""``with suppress_output():`` nothing inside is seen, prints of C code and child processes included."""

import contextlib
import os
import sys
from typing import Iterator


@contextlib.contextmanager
def suppress_output() -> Iterator[None]:
    null = os.open(os.devnull, os.O_WRONLY)
    kept = {number: os.dup(number) for number in (1, 2)}
    _flush()
    try:
        for number in kept:
            os.dup2(null, number)
        yield
    finally:
        _flush()
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        os.close(null)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
