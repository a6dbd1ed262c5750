"""Makes a procedure's source of an archive, or of a folder: run as a program, in a process of its own.

    python -I -S unpack.py DEST UID GID MAX_BYTES MAX_FILES [FOLDER]        an archive is on stdin

It becomes the user UID before it reads anything (-1: stays who it is), so that what a hostile archive may do
is what the procedure itself may do, and it bounds its own memory. Exit code 1 with a line on stderr: the
source is refused. Nothing but the standard library, as another user may not be able to read what is ours.
"""

# Everything at once: as another user there may be nothing left to import.
import bz2  # noqa: F401
import ctypes
import encodings.cp437  # noqa: F401
import gzip  # noqa: F401
import lzma
import os
import resource
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

MEMORY_BYTES = 1 << 30
"""Of this process: what an archive's own lists may take."""
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
LONGEST_LINK = 4096
CHUNK_BYTES = 1 << 18


class Refused(Exception):
    """The source is not one; the text says why."""


class Room:
    """What there may still be of files and of bytes."""

    def __init__(self, most_bytes: int, most_files: int) -> None:
        self._most_bytes, self._most_files = most_bytes, most_files
        self._bytes = self._files = 0

    def another(self) -> None:
        self._files += 1
        if self._files > self._most_files:
            raise Refused(f"it has more than {self._most_files} files (--source-files)")

    def more(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._most_bytes:
            raise Refused(f"unpacked it is larger than {self._most_bytes} bytes (--unpacked-bytes)")


class Tree:
    """The folder that is filled. Links come last, so that nothing is ever written through one."""

    def __init__(self, base: Path, room: Room) -> None:
        self._base = base.resolve()
        self._room = room
        self._links: list[tuple[str, str]] = []

    def folder(self, name: str) -> None:
        self._room.another()
        self._path(name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def file(self, name: str, content: IO[bytes], executable: bool) -> None:
        path = self._fresh(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(path, flags, 0o700 if executable else 0o600), "wb") as out:
            while data := content.read(CHUNK_BYTES):
                self._room.more(len(data))
                out.write(data)

    def hard_link(self, name: str, target: str) -> None:
        source = self._path(target)
        if not source.is_file():
            raise Refused(f"{name!r} is a link to {target!r}, which is not there")
        if source != self._path(name):
            self._fresh(name).hardlink_to(source)

    def _fresh(self, name: str) -> Path:
        """Where a file is to be made. Of two of one name the second counts, as for tar."""
        self._room.another()
        path = self._path(name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def link(self, name: str, target: str) -> None:
        self._room.another()
        self._path(name)
        if not 0 < len(target) <= LONGEST_LINK or "\0" in target:
            raise Refused(f"{name!r} is a link to nowhere")
        self._links.append((name, target))

    def finish(self) -> None:
        """Make the links, and see that none leads out, by whatever ways."""
        for name, target in self._links:
            path = self._path(name)
            if path.parent.resolve() != path.parent:
                raise Refused(f"{name!r} lies behind a link")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.symlink_to(target)
        for name, target in self._links:
            if not _end_of(self._path(name)).is_relative_to(self._base):
                raise Refused(f"{name!r} is a link that leads out of the archive, to {target!r}")

    def _path(self, name: str) -> Path:
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise Refused(f"{name!r} leads out of the archive")
        return self._base / name


def _end_of(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError):
        raise Refused(f"{link.name!r} is a link to itself") from None


def unpack(archive: BinaryIO, tree: Tree) -> None:
    """Raises ``Refused``."""
    head = archive.read(4)
    archive.seek(0)
    try:
        (_unzip if head in ZIP else _untar)(archive, tree)
        tree.finish()
    except MemoryError:
        raise Refused("its lists of files need too much memory") from None
    except (NotADirectoryError, IsADirectoryError, FileExistsError):
        raise Refused("it has a file and a folder of one name") from None
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise Refused(f"it is damaged, or no .tar.gz, .tgz or .zip: {reason}") from None
    except (NotImplementedError, RuntimeError) as error:  # of zipfile: a method, a password
        raise Refused(f"it cannot be unpacked: {error}") from None


def _untar(archive: BinaryIO, tree: Tree) -> None:
    with tarfile.open(fileobj=archive, mode="r:*") as tar:
        for member in tar:
            if member.isdir():
                tree.folder(member.name)
            elif member.isreg():
                content = tar.extractfile(member)
                assert content is not None
                tree.file(member.name, content, bool(member.mode & 0o100))
            elif member.issym():
                tree.link(member.name, member.linkname)
            elif member.islnk():
                tree.hard_link(member.name, member.linkname)
            else:
                raise Refused(f"{member.name!r} is neither a file nor a folder nor a link")


def _unzip(archive: BinaryIO, tree: Tree) -> None:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            mode = member.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if member.is_dir():
                tree.folder(member.filename)
            elif kind == stat.S_IFLNK:
                with packed.open(member) as content:
                    tree.link(member.filename, content.read(LONGEST_LINK + 1).decode())
            elif kind in (0, stat.S_IFREG):
                with packed.open(member) as content:
                    tree.file(member.filename, content, bool(mode & 0o100))
            else:
                raise Refused(f"{member.filename!r} is neither a file nor a folder nor a link")


def copy(folder: Path, base: Path, room: Room) -> None:
    """The folder as it is, but for links that lead out: they name what they lead to. Raises ``Refused``."""
    real = folder.resolve()
    try:
        if not folder.is_dir():
            raise Refused(f"there is no folder {folder}")
        for path in _entries(folder):
            room.another()
            target = base / path.relative_to(folder)
            if path.is_symlink():
                end = _end_of(path)
                target.symlink_to(path.readlink() if end.is_relative_to(real) else end)
            elif path.is_dir():
                target.mkdir(0o700)
            elif path.is_file():
                room.more(path.stat().st_size)
                shutil.copyfile(path, target)
                target.chmod(0o700 if os.access(path, os.X_OK) else 0o600)
            else:
                raise Refused(f"{path} is neither a file nor a folder nor a link")
    except PermissionError as error:
        who = f"user {os.geteuid()}, as whom the procedure runs, may not read {error.filename}"
        raise Refused(f"{who}: chmod -R a+rX {folder}") from None


def _entries(folder: Path) -> Iterator[Path]:
    """Folders before what is in them."""
    for path in folder.iterdir():
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _entries(path)


def become(uid: int, gid: int) -> None:
    """Another user, for good."""
    if uid < 0:
        return
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS


def main(arguments: list[str]) -> int:
    base, uid, gid, most_bytes, most_files, *folder = arguments
    become(int(uid), int(gid))
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    room = Room(int(most_bytes), int(most_files))
    try:
        if not folder:
            with os.fdopen(0, "rb") as archive:
                unpack(archive, Tree(Path(base), room))
        else:
            copy(Path(folder[0]), Path(base), room)
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.filename or base}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
