"""A terminal that shows the newest picture until its person has seen enough."""

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from edge.commands.watching.frame import frame
from edge.exits import CommandFailed

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""To the other screen, without a cursor, and back to what was there before."""
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
LEAVING = frozenset(b"qQ\x03\x04")


def watch(first: dict[str, Any], take: Callable[[], dict[str, Any]], every_s: float) -> None:
    """Show pictures until q, Ctrl-C or SIGTERM. When none can be had the last one stays, with the reason."""
    picture, trouble = first, ""
    with _another_screen(), _signals():
        while True:
            _draw(frame(picture, shutil.get_terminal_size().columns, time.time()), trouble)
            if _left(every_s):
                return
            try:
                picture, trouble = take(), ""
            except CommandFailed as failure:
                trouble = failure.line()


def composed(lines: Sequence[str], rows: int, columns: int, last: str) -> str:
    """One write that puts the lines over the ones before: nothing is cleared first, so nothing flickers."""
    room = max(1, rows - 1)
    if len(lines) > room:
        lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines: cogflare status --once"]
    body = "".join(f"{line[:columns]}{END_OF_LINE}\r\n" for line in lines)
    return f"{HOME}{body}{last[:columns]}{END_OF_SCREEN}"


def _draw(lines: Sequence[str], trouble: str) -> None:
    size = shutil.get_terminal_size()
    last = f"! {trouble}" if trouble else f"{time.strftime('%H:%M:%S')}  q leaves"
    sys.stdout.write(composed(lines, size.lines, size.columns, last))
    sys.stdout.flush()


def _left(within_s: float) -> bool:
    """Whether the person leaves within this time."""
    until = time.monotonic() + within_s
    while (rest := until - time.monotonic()) > 0:
        ready, _, _ = select.select([sys.stdin], [], [], rest)
        if ready:
            try:
                typed = os.read(sys.stdin.fileno(), 64)
            except OSError:  # the terminal is gone
                return True
            if not typed or set(typed) & LEAVING:
                return True
    return False


@contextlib.contextmanager
def _another_screen() -> Iterator[None]:
    before = termios.tcgetattr(sys.stdin)
    sys.stdout.write(ENTER)
    try:
        tty.setcbreak(sys.stdin)
        yield
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        sys.stdout.write(LEAVE)
        sys.stdout.flush()


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM puts the terminal back, too."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
