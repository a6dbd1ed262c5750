"""A server's data directory: who may use it, and the secrets it keeps.

lock          held (flock) by the one process that uses the directory; says which
secret.key    32 random bytes, 0600: ids and signed URLs are good as long as it stays
control.db    the control store         objects/   the coordinators' storage
blobs/        stored files              control.sock   where the running server takes orders
admin-token   the first token, 0600
restoring     there while a restore is at work: nothing else may use the directory then
"""

import errno
import fcntl
import hmac
import os
import secrets
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge.exits import CommandFailed, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY_BYTES = 32
RESTORE = "restore"
"""The purpose of who may hold a directory that is being restored."""
PROBE_BYTES = 256 * 1024
BRIEF_USE_S = 5.0
"""How long to wait for a command such as ``cogflare token``, which holds the lock for a moment."""
_HINTS = {
    errno.ENOSPC: "the disk is full: make room, nothing is lost",
    errno.EDQUOT: "the disk quota is used up: make room, nothing is lost",
    errno.EROFS: "the disk is read-only: mount it writable, or give another --data",
    errno.EACCES: "give another --data, or start as the user that owns it",
    errno.EPERM: "give another --data, or start as the user that owns it",
    errno.ENOENT: "start `cogflare serve` or `cogflare migrate` with this --data first",
    errno.ENOTDIR: "give another --data",
    errno.EEXIST: "give another --data",
}


class DataDir:
    """The paths of one data directory. ``hold`` it before anything in it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if "?" in str(self.path):
            # It would begin the parameters of the database's URL.
            raise CommandFailed(f"a data directory cannot have a ? in its path: {path}", ExitCode.USAGE)
        self.database = self.path / "control.db"
        self.database_url = f"sqlite+aiosqlite:///{self.database}"
        self.objects = self.path / "objects"
        self.blobs = self.path / "blobs"
        self.control_socket = self.path / "control.sock"
        self.secret_key = self.path / "secret.key"
        self.admin_token = self.path / "admin-token"
        self.restoring = self.path / "restoring"
        self._lock_path = self.path / "lock"
        self._lock: int | None = None

    def create(self) -> None:
        """Make the directory, for its owner only. Raises CommandFailed."""
        with self.usable():
            try:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            except FileNotFoundError as error:  # such as below /proc
                raise OSError(errno.EINVAL, "no folder can be made there") from error

    def hold(self, purpose: str) -> None:
        """Take the directory for this process until ``release``. Raises CommandFailed, also when held."""
        deadline = time.monotonic() + BRIEF_USE_S
        while not self.try_hold(purpose):
            holder = self.holder()
            if holder.endswith(" serve") or time.monotonic() > deadline:
                who = f" by {holder}" if holder else ""
                raise CommandFailed(
                    f"the data directory {self.path} is in use{who}",
                    ExitCode.LOCKED,
                    "stop that one, or give another --data",
                )
            time.sleep(0.02)

    def try_hold(self, purpose: str) -> bool:
        """Take the directory if nobody has it. Raises CommandFailed when it cannot be used at all."""
        with self.usable():
            if not self.path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return False
            self._lock = lock
            if purpose != RESTORE and self.restoring.exists():
                self.release()
                raise CommandFailed(
                    f"a restore into {self.path} has not come to its end",
                    ExitCode.STORAGE,
                    "run `cogflare restore` on it again",
                )
            try:
                text = f"process {os.getpid()}: cogflare {purpose}".encode()
                os.pwrite(lock, text, 0)
                os.ftruncate(lock, len(text))
            except OSError:
                self.release()
                raise
        return True

    def holder(self) -> str:
        """Who holds the directory, as a person would say it; empty when it does not say."""
        try:
            return self._lock_path.read_text("utf-8", "replace").strip()
        except OSError:
            return ""

    def release(self) -> None:
        """Let others have the directory. Safe to repeat."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def check_writable(self) -> None:
        """Tell of a full or read-only disk now, not at the first prediction. Raises CommandFailed."""
        probe = self.path / ".probe"
        with self.usable():
            try:
                with probe.open("wb") as file:
                    file.write(bytes(PROBE_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                probe.unlink(missing_ok=True)

    def key(self, label: str) -> bytes:
        """A 32-byte key for one use, derived from the directory's secret (made on first use)."""
        with self.usable():
            return hmac.digest(self._secret(), b"cogflare " + label.encode(), "sha256")

    def _secret(self) -> bytes:
        path = self.secret_key
        try:
            secret = path.read_bytes()
        except FileNotFoundError:
            if self.database.exists():
                # A new key would make every id and URL that clients hold invalid, in silence.
                raise CommandFailed(
                    f"{path} is missing", ExitCode.STORAGE, "restore it from the backup of this directory"
                ) from None
            secret = secrets.token_bytes(KEY_BYTES)
            write_secret(path, secret)
        if len(secret) != KEY_BYTES:
            raise CommandFailed(
                f"{path} is damaged", ExitCode.STORAGE, "restore it from the backup of this directory"
            )
        return secret

    @contextmanager
    def usable(self) -> "Iterator[None]":
        """Turns an operating system's refusal into one clear line."""
        try:
            yield
        except OSError as error:
            raise CommandFailed(
                f"the data directory {self.path} cannot be used: {error.strerror or error}",
                ExitCode.STORAGE,
                _HINTS.get(error.errno or 0, ""),
            ) from error


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only its owner may read, durably. Raises OSError, FileExistsError included."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
