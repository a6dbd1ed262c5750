"""How the ``cogflare`` command ends when it cannot do what it was asked: one line, and a code for scripts."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of ``cogflare``; docs/reference/cli.md says what to do about each."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    LOCKED = 3
    ADDRESS = 4
    STORAGE = 5
    SCHEMA_TOO_NEW = 6
    TLS = 7
    NOT_INSTALLED = 8
    UNSUPPORTED = 9
    NOT_FOUND = 10


MEANINGS = {
    ExitCode.DONE: "done; a server that was asked to stop has left everything in order",
    ExitCode.FAILED: "something else went wrong; the line on stderr says what",
    ExitCode.USAGE: "an option, variable or argument cannot be used",
    ExitCode.LOCKED: "another process has the data directory",
    ExitCode.ADDRESS: "the address cannot be listened on: the port is in use, or not allowed",
    ExitCode.STORAGE: "the data directory, --storage or a backup cannot be used: full, read-only, damaged",
    ExitCode.SCHEMA_TOO_NEW: "the data was written by a newer Cogflare: use that one, or newer",
    ExitCode.TLS: "the TLS certificate or key cannot be used",
    ExitCode.NOT_INSTALLED: "a library that this command needs is not installed",
    ExitCode.UNSUPPORTED: "this command does not run on this system",
    ExitCode.NOT_FOUND: "what was named is not there, or several have that name; or no server runs",
}


class CommandFailed(Exception):
    """Ends a command with one clear line, an optional hint, and an exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint

    def line(self) -> str:
        """What a person reads on stderr."""
        return f"{self.message} ({self.hint})" if self.hint else self.message
