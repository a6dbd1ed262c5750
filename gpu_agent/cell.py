"""What a model's process is confined to: a user of its own, an environment of its own, or neither.

A process of another user owns the folder that it shares with us, and may put links there to what only we may
read or write. So whatever we do in that folder we do as that user, for the length of the act.
"""

import contextlib
import ctypes
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from gpu_agent.runner_types import FileOutput

DROP = """
import ctypes, os, resource, sys
user, group, processes = map(int, sys.argv[1:4])
resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
os.umask(0o077)
os.setgroups([])
os.setresgid(group, group, group)
os.setresuid(user, user, user)
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
try:
    os.execvp(sys.argv[4], sys.argv[4:])
except OSError as error:
    sys.exit(f"{sys.argv[4]} cannot be started as user {user}: {error.strerror}")
"""
"""Becomes another user for good, without the groups of ours and without a way to more (PR_SET_NO_NEW_PRIVS),
and then the command. In a process of its own, as a fork of a process with threads must not run Python."""
_ASK = 0xFFFFFFFF
"""No user: setfsuid changes nothing then, and says who it is."""


@dataclass(frozen=True, slots=True)
class User:
    """Whose rights a process has."""

    uid: int
    gid: int
    processes: int = 4096
    """It may have at the same time, threads included."""

    def command(self, command: list[str]) -> list[str]:
        """The same command, run as this user. The caller is root."""
        numbers = map(str, (self.uid, self.gid, self.processes))
        return [sys.executable, "-I", "-S", "-c", DROP, *numbers, *command]

    @contextlib.contextmanager
    def acting(self) -> Iterator[None]:
        """Have this thread's file operations, and nothing else, be this user's. Not across an ``await``, and
        not while a thread is started, which would stay so.

        The caller is root, without other groups. Raises ``OSError`` where the system does not let it.
        """
        libc = _libc()
        gid_before = libc.setfsgid(self.gid)
        uid_before = libc.setfsuid(self.uid)
        try:
            if (libc.setfsuid(_ASK), libc.setfsgid(_ASK)) != (self.uid, self.gid):
                raise OSError(f"files cannot be handled as user {self.uid}: setfsuid is not permitted")
            yield
        finally:
            libc.setfsuid(uid_before)
            libc.setfsgid(gid_before)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None)


_AS_WE_ARE: AbstractContextManager[None] = contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a model's process lives."""

    user: User | None = None
    """Whose rights it has; None for ours."""
    environment: Mapping[str, str] | None = None
    """Its environment; None for what ours leaves to models."""
    runtime: Path | None = None
    """Where it finds coglet; None for where we have it."""

    def acting(self) -> AbstractContextManager[None]:
        """For the length of a block, handle files with the rights that the process has."""
        return _AS_WE_ARE if self.user is None else self.user.acting()

    def command(self, command: list[str]) -> list[str]:
        """The command as it runs in here."""
        return command if self.user is None else self.user.command(command)

    def give(self, descriptor: int) -> None:
        """Let the process open once more what it inherits, as ``/dev/stdout`` does."""
        if self.user is not None:
            os.fchown(descriptor, self.user.uid, self.user.gid)

    @contextlib.contextmanager
    def opened(self, file: FileOutput) -> Iterator[FileOutput]:
        """An output file that is safe to read for the length of a block: whatever it names, it is a file of
        the process's own. Raises ``OSError``."""
        if self.user is None:
            yield file
            return
        with self.acting():
            descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != self.user.uid:
                raise PermissionError(1, "it is not a file of the model's own")
            yield replace(file, path=Path(f"/proc/self/fd/{descriptor}"))
        finally:
            os.close(descriptor)


OPEN = Cell()
"""No confinement: our own user and environment."""
