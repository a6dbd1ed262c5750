"""Turns what the libraries raise at start into one clear line and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

from coordinator.store.errors import SchemaTooNew, StoreError
from edge.data_dir import DataDir
from edge.exits import CommandFailed, ExitCode


@contextmanager
def explained(data: DataDir) -> Iterator[None]:
    """Errors of the store and of the file system leave as CommandFailed."""
    with data.usable():
        try:
            yield
        except SchemaTooNew as error:
            raise CommandFailed(str(error), ExitCode.SCHEMA_TOO_NEW, error.hint) from error
        except StoreError as error:
            raise CommandFailed(str(error), ExitCode.STORAGE, error.hint) from error
