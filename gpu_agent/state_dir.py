"""The agent's directory: one process holds it, and it gives the agent its identity.

agent-id    who this agent is to servers, made at the first start
lock        held while a process runs
spool/      results not yet acknowledged, by server (spool.py)
work/       scratch of this process, emptied at start
"""

import contextlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from gpu_agent.settings import SettingsError

MOST_AGENTS = 64
"""How many default directories (``agent``, ``agent-2``, …) are tried for a free one."""


@dataclass(frozen=True, slots=True)
class StateDir:
    """A directory that this process holds until ``release``."""

    path: Path
    agent: str
    lock: int

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def work(self) -> Path:
        return self.path / "work"

    def release(self) -> None:
        """Let another process have it. Safe to call twice."""
        shutil.rmtree(self.work, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self.lock)


def open_state_dir(chosen: Path | None, home: Path | None = None) -> StateDir:
    """Hold ``chosen``, or the first free default directory. Raises ``SettingsError`` in one line."""
    if chosen is not None:
        held = _hold(chosen)
        if held is None:
            raise SettingsError(f"--state {chosen}: another agent is using this directory")
        return held
    base = os.environ.get("XDG_STATE_HOME") or (home or Path.home()) / ".local" / "state"
    for number in range(1, MOST_AGENTS + 1):
        name = "agent" if number == 1 else f"agent-{number}"
        held = _hold(Path(base) / "cogflare" / name)
        if held is not None:
            return held
    raise SettingsError(f"{MOST_AGENTS} agents run here already; give this one its own --state DIR")


def _hold(path: Path) -> StateDir | None:
    """The directory, or None when another process holds it."""
    import fcntl

    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"cannot use {path} for the agent's state: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    try:
        shutil.rmtree(path / "work", ignore_errors=True)
        (path / "work").mkdir(mode=0o700, exist_ok=True)
        (path / "spool").mkdir(mode=0o700, exist_ok=True)
        return StateDir(path.resolve(), _identity(path / "agent-id"), lock)
    except OSError as error:
        os.close(lock)
        raise SettingsError(f"cannot use {path} for the agent's state: {error.strerror}") from None


def _identity(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        known = path.read_text().strip()
        if known:
            return known
    made = "agt_" + secrets.token_hex(12)
    path.write_text(made + "\n")
    return made
