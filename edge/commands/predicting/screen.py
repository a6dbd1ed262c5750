"""What a person sees: logs and a status line on stderr, output on stdout as it comes."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TextIO

from edge.commands.predicting.saving import Saved

TICK_S = 1.0
CLEAR_LINE = "\r\x1b[K"


class Screen:
    """Both streams of the command. A status line is there only when stderr is a terminal."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._lively = self._err.isatty()
        self._shared = self._lively and self._out.isatty()
        """Both are the same terminal: the status line gives way to output."""
        self._status = ""
        self._since = 0.0
        self._drawn = False
        self._log_ended = True
        self._out_ended = True

    def log(self, text: str) -> None:
        """Log text, as it came."""
        if text:
            self._erase()
            self._err.write(text)
            self._log_ended = text.endswith("\n")
            self._draw()
            self._err.flush()

    def say(self, line: str) -> None:
        """A line of our own."""
        self.log(("" if self._log_ended else "\n") + f"cogflare: {line}\n")

    def write(self, text: str) -> None:
        """A part of the output."""
        if text:
            self._erase()
            self._err.flush()
            self._out.write(text)
            self._out.flush()
            self._out_ended = text.endswith("\n")
            self._draw()

    def end_line(self) -> None:
        """End the output's last line, if it has no end."""
        if not self._out_ended:
            self.write("\n")

    @asynccontextmanager
    async def status(self, text: str) -> AsyncIterator[None]:
        """Show what is being done, and for how long, until the block ends."""
        before, self._status, self._since = self._status, text, time.monotonic()
        ticking = asyncio.create_task(self._tick()) if self._lively else None
        try:
            yield
        finally:
            if ticking is not None:
                ticking.cancel()
            self._erase()
            self._err.flush()
            self._status = before

    def change_status(self, text: str) -> None:
        """Another text, in the same block."""
        if text != self._status:
            self._status, self._since = text, time.monotonic()
            self._erase()
            self._draw()

    async def _tick(self) -> None:
        while True:
            self._erase()
            self._draw()
            self._err.flush()
            await asyncio.sleep(TICK_S)

    def _draw(self) -> None:
        if self._lively and self._status and self._log_ended and (self._out_ended or not self._shared):
            self._err.write(f"{self._status}, {time.monotonic() - self._since:.0f} s")
            self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._err.write(CLEAR_LINE)
            self._drawn = False


class Output:
    """The output of one prediction on a screen: items as they come, then the rest."""

    def __init__(self, screen: Screen, document: Mapping[str, Any] | None, *, silent: bool) -> None:
        """``silent`` shows nothing: the whole result is printed at the end, by somebody else."""
        schemas = (document or {}).get("components", {}).get("schemas", {})
        self.rule: Mapping[str, Any] = schemas.get("Output") or {}
        self.streams = self.rule.get("x-cog-array-type") == "iterator"
        self._is_text = self.rule.get("x-cog-array-display") == "concatenate"
        self._screen = screen
        self._silent = silent
        self.shown = 0
        """How many items were shown."""

    def add(self, item: Any) -> None:
        """The next item of a model that yields."""
        self.shown += 1
        if not self._silent:
            self._screen.write(str(item) if self._is_text else _lines(item, indent=None))

    def finish(self, value: Any) -> None:
        """The whole output: what of it was not shown is."""
        if isinstance(value, list) and (self.streams or self.shown):
            for item in value[self.shown :]:
                self.add(item)
        elif value is not None and not self._silent and not self.shown:
            self._screen.write(_lines(value, indent=2))
        if not self._silent:
            self._screen.end_line()

    def restart(self) -> None:
        """What was shown is void: it comes again from its start."""
        self.shown = 0
        if not self._silent:
            self._screen.end_line()


def as_text(value: Any, indent: int | None = 2) -> str:
    """Any JSON, for people and programs."""
    return json.dumps(value, indent=indent, ensure_ascii=False)


def _lines(value: Any, indent: int | None) -> str:
    """Texts and paths as they are, one a line; all else as JSON."""
    if isinstance(value, str):
        return value + "\n"
    if isinstance(value, Sequence) and value and all(isinstance(each, Saved) for each in value):
        return "".join(f"{path}\n" for path in value)
    return as_text(value, indent) + "\n"
