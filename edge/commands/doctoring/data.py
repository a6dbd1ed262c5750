"""Checks of a server's data directory. Nothing is left behind, and nothing is written into a foreign one."""

import os
import shutil
import stat
import statistics
import time
from pathlib import Path

from coordinator.protocol.limits import MIB
from edge.commands.doctoring.findings import Finding, fail, ok, skip, warn
from edge.commands.doctoring.subject import Subject
from edge.data_dir import KEY_BYTES, DataDir
from edge.quantities import about_size

LITTLE_BYTES, LOW_BYTES = 256 * MIB, 2048 * MIB
"""Free space: below the first nothing is safe, below the second it is time to look."""
LITTLE_FILES = 10_000
SLOW_FSYNC_S = 0.02
FSYNCS = 20
_NOT_LOCAL = ("nfs", "cifs", "smb", "9p", "drvfs", "fuse.", "afs", "ceph", "gluster")
"""File systems, or what their names begin with, where locks and shared memory cannot be relied on."""
NONE_HERE = "no data directory here; name one as DIR where the server is"


def directory(subject: Subject) -> Finding:
    """It is there, it is a directory, and it is ours."""
    if subject.folder is None:
        return skip(NONE_HERE)
    if not subject.folder.exists():
        return fail(
            f"there is no {subject.folder}", "start `cogflare serve` with this --data, or name another DIR"
        )
    if not subject.folder.is_dir():
        return fail(f"{subject.folder} is no directory", "name the server's data directory")
    said = subject.folder.stat()
    if said.st_uid != os.geteuid():
        owner = _owner(said.st_uid)
        return fail(
            f"{subject.folder} belongs to {owner}, and this is {_owner(os.geteuid())}",
            f"run this as {owner}, as the server does: sudo -u {owner} cogflare doctor {subject.folder}",
        )
    if not (subject.folder / "control.db").exists():
        if any(subject.folder.iterdir()):
            return fail(f"{subject.folder} holds other things, and no data of a server", "name another DIR")
        return ok(f"{subject.folder}, empty: the first start makes what belongs in it")
    if said.st_mode & 0o077:
        return warn(
            f"{subject.folder} can be read by others (mode {stat.S_IMODE(said.st_mode):o})",
            f"chmod 700 {subject.folder}",
        )
    return ok(str(subject.folder))


def secret(subject: Subject) -> Finding:
    """The key that makes ids and signed URLs good."""
    data = _ours(subject)
    if data is None:
        return skip(NONE_HERE)
    if not data.secret_key.exists():
        if data.database.exists():
            return fail(f"{data.secret_key} is missing", "restore it from the backup of this directory")
        return ok("none yet: the first start makes it")
    if data.secret_key.stat().st_size != KEY_BYTES:
        return fail(f"{data.secret_key} is damaged", "restore it from the backup of this directory")
    if data.secret_key.stat().st_mode & 0o077:
        return fail(f"{data.secret_key} can be read by others", f"chmod 600 {data.secret_key}")
    return ok("there, and only its owner may read it")


def writable(subject: Subject) -> Finding:
    data = _ours(subject)
    if data is None:
        return skip(NONE_HERE)
    data.check_writable()
    return ok("a file was written and removed")


def file_system(subject: Subject) -> Finding:
    """SQLite and the lock want a local one."""
    if subject.folder is None or not subject.folder.exists():
        return skip(NONE_HERE)
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "replace")
    except OSError:
        return skip("this system does not say what it is")
    kind = kind_of(mounts, subject.folder.resolve())
    if kind.startswith(_NOT_LOCAL):
        return fail(
            f"{kind}: locks and memory are not shared reliably there, and SQLite may be damaged",
            "put the data directory on a disk of this machine; files may go to a bucket (--storage s3://…)",
        )
    if kind in ("tmpfs", "ramfs"):
        return fail(f"{kind}: all is lost when this machine restarts", "put the data directory on a disk")
    return ok(kind or "local")


def free_space(subject: Subject) -> Finding:
    if subject.folder is None or not subject.folder.exists():
        return skip(NONE_HERE)
    hint = "make room, or a larger disk; `cogflare serve --retention` says how long results are kept"
    return room(subject.folder, hint)


def room(folder: Path, hint: str) -> Finding:
    """How much may still be written into a folder."""
    free, said = shutil.disk_usage(folder).free, os.statvfs(folder)
    detail = f"{about_size(free)} free"
    if free < LITTLE_BYTES or (said.f_files and said.f_favail < LITTLE_FILES):
        files = f", {said.f_favail} more files" if said.f_files and said.f_favail < LITTLE_FILES else ""
        return fail(detail + files, hint)
    return warn(detail, hint) if free < LOW_BYTES else ok(detail)


def fsync(subject: Subject) -> Finding:
    """How long a commit takes at least: each 201 waits for one."""
    data = _ours(subject)
    if data is None:
        return skip(NONE_HERE)
    times = sorted(_fsyncs(data.path / ".doctor"))
    median = statistics.median(times)
    detail = f"{median * 1000:.1f} ms, {times[-1] * 1000:.1f} ms at worst of {len(times)}"
    if median > SLOW_FSYNC_S:
        return warn(detail, "each created prediction waits for one: an SSD takes below 5 ms")
    return ok(detail)


def one_server(subject: Subject) -> Finding:
    """Nobody else uses it, or the one server that answers."""
    data = _ours(subject)
    if data is None:
        return skip(NONE_HERE)
    if data.restoring.exists():
        return fail("a restore has not come to its end", "run `cogflare restore` on it again")
    if subject.running is not None:
        return ok(f"a server runs, {subject.running['state']}, process {subject.running['process']}")
    if not (data.path / "lock").exists():
        return ok("no server runs, nor has one yet")
    if data.try_hold("doctor"):
        data.release()
        return ok("no server runs")
    holder = data.holder() or "another process"
    return fail(f"in use by {holder}, which does not answer", "see its log; it may be starting or stopping")


def schema(subject: Subject) -> Finding:
    """This version of Cogflare and the data go together."""
    data = _ours(subject)
    if data is None:
        return skip(NONE_HERE)
    if not data.database.exists():
        return ok("no database yet: the first start makes it")
    from coordinator.store.migration import revisions
    from edge.failures import explained

    with explained(data):
        current, newest = revisions(data.database_url)
    if current == newest:
        return ok(f"{current}, as this version has it")
    return warn(
        f"{current or 'none'}, and this version has {newest}",
        "the next start brings it up to date: make a backup before (`cogflare backup`)",
    )


def kind_of(mounts: str, path: Path) -> str:
    """The file system that a path is on, of the text of ``/proc/mounts``."""
    best, kind = "", ""
    for line in mounts.splitlines():
        _, point, what = (*line.split(" "), "", "", "")[:3]
        point = point.replace("\\040", " ")
        if path.is_relative_to(point or "?") and len(point) >= len(best):
            best, kind = point, what
    return kind


def _ours(subject: Subject) -> DataDir | None:
    """The directory, if this process may write there as the server does."""
    return subject.data if directory(subject).state in ("ok", "warn") else None


def _fsyncs(path: Path) -> list[float]:
    took = []
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(FSYNCS):
                file.write(bytes(4096))
                began = time.perf_counter()
                os.fsync(file.fileno())
                took.append(time.perf_counter() - began)
    finally:
        path.unlink(missing_ok=True)
    return took


def _owner(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
