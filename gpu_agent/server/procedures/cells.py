"""Cells for procedures: a folder of its own for each, and, where we are root, a user of its own.

    WORK/procedures/N/          of the procedure's user, 0700: nobody else of its kind gets in
        source/  home/  tmp/    what was named in the request; HOME; TMPDIR
        runner-…/               what its process shares with us
    WORK/inputs/N/K/            files of a prediction: out of its reach until they are there, then its own
    WORK/runtime/               coglet, which all may read

The users are 9000 to 20000, as in Cog's second generation; none that the machine knows by name or has
processes of, and none that another server here uses. One is used again only when all others have been.
"""

import contextlib
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpu_agent.cell import Cell, User
from gpu_agent.coglet_command import OWN_ENVIRONMENT, RUNTIME

FIRST_UID, LAST_UID = 9000, 20000
GID = 65534
"""nogroup, or nobody."""
SHARED = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108
"""Where every user may leave files."""
END_S = 10.0
PROBE_S = 20.0

_SECRET = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|AUTH|COOKIE|SESSION|DSN|"
    r"(?:^|_)(?:KEY|APIKEY|PAT|PWD)$|(?:API|ACCESS|PRIVATE|SIGNING|ENCRYPTION)_?KEY|DATABASE_URL|CONNECTION_STRING",
    re.IGNORECASE,
)
_PLACES = re.compile(r"XDG_\w+|HOME|USER|LOGNAME|MAIL|OLDPWD|PWD|TMP|TEMP|TMPDIR", re.IGNORECASE)
_WITH_PASSWORD = re.compile(r"\w://[^/\s@]*:[^/\s@]*@")

_END = """
import os, sys
user, group = int(sys.argv[1]), int(sys.argv[2])
os.setgroups([])
os.setresgid(group, group, group)
os.setresuid(user, user, user)
def alive():
    for name in filter(str.isdigit, os.listdir("/proc")):
        if name == str(os.getpid()):
            continue
        try:
            with open(f"/proc/{name}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
            if os.stat(f"/proc/{name}").st_uid == user and state not in "ZX":
                return True
        except OSError:
            pass
    return False
try:
    os.kill(-1, 9)
    while alive():
        os.kill(-1, 9)
except ProcessLookupError:
    pass
"""
"""Ends every process of a user but itself, until there is none: also one that forks without end. Those that
have ended and that nobody has taken note of do not count."""


class NoUser(Exception):
    """Nobody is left whose rights a procedure could have."""


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """What a procedure may see of our environment: not our settings, nothing that looks like a secret, and no
    places of ours."""
    return {
        name: value
        for name, value in environment.items()
        if not (
            name.startswith(OWN_ENVIRONMENT)
            or _SECRET.search(name)
            or _PLACES.fullmatch(name)
            or _WITH_PASSWORD.search(value)
        )
    }


@dataclass(frozen=True, slots=True)
class Lodging:
    """One procedure's cell, and its folder."""

    cell: Cell
    path: Path
    inputs: Path
    """For its predictions' files."""
    claim: socket.socket | None
    """Held while its user is in use."""

    @property
    def source(self) -> Path:
        return self.path / "source"

    def own(self, path: Path) -> None:
        """Make a tree that only we could get at until now the procedure's. Blocks."""
        user = self.cell.user
        if user is None:
            return
        for base, folders, files in os.walk(path, topdown=False):
            for name in (*folders, *files):
                os.chown(Path(base, name), user.uid, user.gid, follow_symlinks=False)
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


class Cells:
    """Makes them below a folder. ``isolated``: each with a user of its own, which takes root."""

    def __init__(self, work_dir: Path, *, isolated: bool, processes: int) -> None:
        """``processes`` is what each may have, if it is isolated. Blocks."""
        self.isolated = isolated
        self._processes = processes
        self._base, self._inputs = work_dir / "procedures", work_dir / "inputs"
        self._runtime = work_dir / "runtime" if isolated else None
        self._made = 0
        self._environment = clean(os.environ)
        # Where a server begins is left to chance, so that two do not get into each other's way.
        self._last_uid = FIRST_UID + secrets.randbelow(LAST_UID - FIRST_UID + 1)
        for folder in (self._base, self._inputs):
            folder.mkdir()
        if self._runtime is not None:
            for folder in (work_dir, self._base, self._inputs):
                folder.chmod(0o711)
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(RUNTIME, self._runtime, ignore=ignored, copy_function=shutil.copyfile)
            for path in (self._runtime, *self._runtime.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)

    def make(self) -> Lodging:
        """A fresh one. Blocks. Raises ``NoUser`` and ``OSError``."""
        user, claim = self._claim() if self.isolated else (None, None)
        self._made += 1
        path, inputs = self._base / str(self._made), self._inputs / str(self._made)
        environment = {
            **self._environment,
            "HOME": str(path / "home"),
            "TMPDIR": str(path / "tmp"),
            "USER": "procedure",
            "LOGNAME": "procedure",
        }
        lodging = Lodging(Cell(user, environment, self._runtime), path, inputs, claim)
        try:
            inputs.mkdir()
            inputs.chmod(0o711)
            for each in (path, path / "source", path / "home", path / "tmp"):
                each.mkdir(mode=0o700)
            lodging.own(path)
        except BaseException:
            self.remove(lodging)
            raise
        return lodging

    def remove(self, lodging: Lodging) -> None:
        """End what still runs of its user, and remove everything of it. Blocks. Safe to call twice."""
        user = lodging.cell.user
        if user is not None:
            end_all(user)
            _remove_left(user)
        for folder in (lodging.path, lodging.inputs):
            shutil.rmtree(folder, ignore_errors=True)
        if lodging.claim is not None:
            lodging.claim.close()

    def _claim(self) -> tuple[User, socket.socket]:
        running = _running()
        for _ in range(LAST_UID - FIRST_UID + 1):
            self._last_uid = FIRST_UID if self._last_uid >= LAST_UID else self._last_uid + 1
            uid = self._last_uid
            if uid in running or _has_name(uid):
                continue
            claim = socket.socket(socket.AF_UNIX)
            try:
                claim.bind(f"\0cogflare-procedure-{uid}")
            except OSError:
                claim.close()
                continue
            return User(uid, GID, self._processes), claim
        raise NoUser(f"all users from {FIRST_UID} to {LAST_UID} are taken")


def end_all(user: User) -> None:
    """End every process of the user. Blocks until there is none, for ``END_S`` at most."""
    command = [sys.executable, "-I", "-S", "-c", _END, str(user.uid), str(user.gid)]
    end_at = time.monotonic() + END_S
    while (left_s := end_at - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=left_s, check=False)
            if done.returncode == 0:  # else one of them was quicker
                return


def cannot_run(python: str, work_dir: Path) -> str:
    """Why a procedure's user could not run coglet in this interpreter; empty when it could. Blocks."""
    script = "import sys; sys.path.insert(0, sys.argv[1]); import coglet"
    command = User(LAST_UID, GID).command([python, "-I", "-B", "-c", script, str(work_dir / "runtime")])
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if not done.returncode else (done.stderr.strip().splitlines() or ["it failed"])[-1]


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _running() -> set[int]:
    """The users that have processes."""
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.add(entry.stat().st_uid)
    return found


def _remove_left(user: User) -> None:
    for folder in SHARED:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_uid == user.uid:
                        _remove(entry)


def _remove(entry: "os.DirEntry[str]") -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        os.unlink(entry.path)  # noqa: PTH108
