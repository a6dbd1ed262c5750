"""Output files in the person's directory, under their own names, never over something that is there."""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edge.exits import CommandFailed, ExitCode
from gpu_agent.filenames import safe_name


class Saved(str):
    """Where an output file is now; stands in an output where the model had the file."""


class OutputFolder:
    """The directory for output files. It is made when the first one comes."""

    def __init__(self, path: Path) -> None:
        """Raises CommandFailed when there is something else of that name."""
        if path.exists() and not path.is_dir():
            raise CommandFailed(f"--output {path} is not a directory", ExitCode.USAGE)
        self._path = path
        self.saved: list[Saved] = []

    def copy(self, source: Path, name: str) -> Saved:
        """Save a file of this disk. Blocks. Raises CommandFailed."""
        with source.open("rb") as content, self.writing(name) as file:
            shutil.copyfileobj(content, file, 1 << 20)
        return self.saved[-1]

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A new file under the first free name, which is the last one ``saved`` afterwards.

        What is half written when this does not end well is removed. Raises CommandFailed.
        """
        try:
            path = self._new(name)
            try:
                with path.open("wb") as file:
                    yield file
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        except OSError as error:
            place = error.filename or self._path
            raise CommandFailed(f"{place}: an output file cannot be written: {error.strerror}") from None
        self.saved.append(Saved(path))

    def _new(self, name: str) -> Path:
        self._path.mkdir(parents=True, exist_ok=True)
        wanted = self._path / (safe_name(name) or "output")
        for number in itertools.count():
            path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}") if number else wanted
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                continue
            return path
        raise AssertionError("numbers do not end")
