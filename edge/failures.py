"""Turns what the libraries raise at start into one clear line and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

from coordinator.backup.errors import BackupFailed, BackupTooNew
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


@contextmanager
def backup_explained() -> Iterator[None]:
    """Errors of backups leave as CommandFailed."""
    try:
        yield
    except BackupTooNew as error:
        raise CommandFailed(error.message, ExitCode.SCHEMA_TOO_NEW, error.hint) from error
    except BackupFailed as error:
        raise CommandFailed(error.message, ExitCode.STORAGE, error.hint) from error
