"""The folder of a backup: whole or not there, whatever ends its writing; and what is said when it is not."""

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.actor.copying import Between
from coordinator.backup import copies
from coordinator.backup.errors import BackupDamaged, BackupFailed, BackupStopped, BackupTooNew, NotABackup
from coordinator.backup.manifest import Manifest, read_manifest
from coordinator.backup.pace import Pace
from coordinator.backup.reading import restore, verify
from coordinator.backup.writing import Source, back_up
from coordinator.blobs.base import Stat
from coordinator.store.database import migrate
from tests.support.control_store import url_of

RATE = 1 << 40


def quiet(step: str, done: int, total: int) -> None:
    pass


class Data:
    """A data directory of which the tests make backups: three objects, some files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "objects").mkdir(parents=True)
        migrate(url_of(path / "control.db"))
        (path / "secret.key").write_bytes(b"k" * 32)
        with closing(sqlite3.connect(path / "control.db")) as db:
            for number in (1, 2, 3):
                row = (number, f"a/m{number}")
                db.execute(
                    "INSERT INTO objects (number, pool, model, active) VALUES (?, 'default', ?, 0)", row
                )
            db.commit()
        for number in (1, 2):  # the third has never come to life
            with closing(sqlite3.connect(self.object(number))) as db:
                db.execute("CREATE TABLE notes (text)")
                db.executemany("INSERT INTO notes VALUES (?)", [(f"{number} {n}",) for n in range(100)])
                db.commit()
        for name in ("a", "b"):
            self.blob(f"outputs/{name}/key/0/{name}.txt", name.encode() * 1000)

    def object(self, number: int) -> Path:
        return self.path / "objects" / f"{number:09d}.sqlite3"

    def blob(self, key: str, content: bytes) -> None:
        path = self.path / "blobs" / key
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        sums = {"sha256": sha256(content).hexdigest(), "md5": md5(content).hexdigest()}
        stat = Stat(length=len(content), content_type="text/plain", **sums)
        path.with_name(path.name + ",meta").write_bytes(msgspec.json.encode(stat))

    def copy_object(self, number: int, target: Path, between: Between) -> bool:
        if not self.object(number).exists():
            return False
        copies.copy(self.object(number), target, between)
        return True

    def back_up(self, target: Path, pace: Pace | None = None, **options: Any) -> Manifest:
        source = Source(
            control=self.path / "control.db",
            objects=self.path / "objects",
            blobs=self.path / "blobs",
            secrets=(self.path / "secret.key", self.path / "admin-token"),
            copy_object=self.copy_object,
            copied=lambda number: None,
        )
        given: dict[str, Any] = {"hold_s": 60, "software": "1", "report": quiet} | options
        return back_up(source, target, pace or Pace(RATE), **given)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path / "data")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def checked(target: Path) -> list[str]:
    return verify(target, Pace(RATE), quiet)[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_restored_is_what_was_there(data: Data, target: Path, tmp_path: Path) -> None:
    manifest = data.back_up(target)
    assert (manifest.objects, manifest.blobs, manifest.blob_bytes) == (2, 2, 2000)
    assert checked(target) == []
    into = tmp_path / "restored"
    into.mkdir()
    restore(target, into, Pace(RATE), quiet)
    same = {name: content for name, content in contents(data.path).items() if name != "control.db"}
    assert {name: content for name, content in contents(into).items() if name != "control.db"} == same
    for path in (into / "secret.key", into / "control.db", *(into / "objects").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o600


class Interrupted(BaseException):
    pass


class Ending(Pace):
    """Ends the backup at one of its steps."""

    def __init__(self, step: int) -> None:
        super().__init__(RATE)
        self.left = step

    def spend(self, count: int) -> None:
        if not self.left:
            raise Interrupted
        self.left -= 1


def test_an_end_at_any_step_leaves_the_backup_before_whole(data: Data, target: Path, tmp_path: Path) -> None:
    """As ``kill -9`` does, but for what is tidied up."""
    first = data.back_up(target)
    data.blob("outputs/c/key/0/c.txt", b"c" * 1000)
    for step in range(1000):
        try:
            data.back_up(target, Ending(step))
        except Interrupted:
            assert read_manifest(target) == first
            assert checked(target) == []
        else:
            break
    assert step > 10
    assert read_manifest(target).blobs == 3
    assert checked(target) == []


def test_what_a_killed_process_left_is_in_nobodys_way(data: Data, target: Path) -> None:
    first = data.back_up(target)
    (target / "state-dead" / "objects").mkdir(parents=True)
    (target / ".manifest-state-dead").write_text("{")
    draft = target / "blobs" / "outputs" / "a" / "key" / "0" / ".draft"
    draft.write_bytes(b"half")
    assert checked(target) == []
    second = data.back_up(target)
    assert sorted(path.name for path in target.iterdir()) == ["blobs", "lock", "manifest.json", second.state]
    assert first.state != second.state
    assert not draft.exists()


def test_files_that_it_has_are_not_copied_again(data: Data, target: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(copies.Linker, "link", lambda *_: False)  # as on another file system
    data.back_up(target)
    path = target / "blobs" / "outputs/a/key/0/a.txt"
    before = path.stat()
    assert before.st_nlink == 1
    data.back_up(target)
    assert path.stat() == before
    assert checked(target) == []


def test_a_file_that_is_copied_is_checked(data: Data, target: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(copies.Linker, "link", lambda *_: False)
    (data.path / "blobs" / "outputs/a/key/0/a.txt").write_bytes(b"z" * 1000)
    with pytest.raises(BackupDamaged, match="SHA-256"):
        data.back_up(target)


@pytest.mark.parametrize("name", ["control.db", "objects/000000001.sqlite3", "secret.key", "blobs.jsonl"])
@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_a_damaged_file_is_found_and_not_restored(
    data: Data, target: Path, tmp_path: Path, name: str, harm: str
) -> None:
    path = target / data.back_up(target).state / name
    if harm == "changed":
        content = path.read_bytes()
        path.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    else:
        path.unlink()
    assert [line for line in checked(target) if name in line]
    into = tmp_path / "restored"
    into.mkdir()
    with pytest.raises(BackupFailed):
        restore(target, into, Pace(RATE), quiet)


def test_a_damaged_database_is_found_when_it_was_so_before(data: Data, target: Path) -> None:
    path = data.object(1)
    content = bytearray(path.read_bytes())
    content[4096:4196] = bytes(100)
    path.write_bytes(content)
    data.back_up(target)
    assert [line for line in checked(target) if "objects/000000001.sqlite3" in line]


def test_a_damaged_or_missing_blob_is_found(data: Data, target: Path, tmp_path: Path) -> None:
    data.back_up(target)
    (target / "blobs" / "outputs/a/key/0/a.txt").unlink()
    (target / "blobs" / "outputs/a/key/0/a.txt").write_bytes(b"z" * 1000)
    (target / "blobs" / "outputs/b/key/0/b.txt,meta").unlink()
    assert sorted(checked(target)) == [
        "the file outputs/a/key/0/a.txt is not what was written",
        "the file outputs/b/key/0/b.txt is missing",
    ]


def test_a_folder_without_a_manifest_is_no_backup(data: Data, target: Path, tmp_path: Path) -> None:
    with pytest.raises(NotABackup, match=r"manifest\.json"):
        checked(tmp_path / "nothing")
    data.back_up(target)
    (target / "manifest.json").unlink()
    with pytest.raises(NotABackup):
        checked(target)


def test_a_newer_ones_backup_is_refused(data: Data, target: Path) -> None:
    data.back_up(target)
    (target / "manifest.json").write_text('{"format": 2, "of": "another day"}')
    with pytest.raises(BackupTooNew, match="format 2"):
        checked(target)
    with pytest.raises(BackupTooNew):
        data.back_up(target)


def test_other_folders_are_left_alone(data: Data, target: Path, tmp_path: Path) -> None:
    before = contents(data.path)
    with pytest.raises(BackupFailed, match="holds something else: "):
        data.back_up(data.path)
    assert contents(data.path) == before
    other = Data(tmp_path / "other")
    first = data.back_up(target)
    with pytest.raises(BackupFailed, match="of another server"):
        other.back_up(target)
    assert read_manifest(target) == first
    assert checked(target) == []


def test_one_at_a_time(data: Data, target: Path) -> None:
    def again(step: str, done: int, total: int) -> None:
        with pytest.raises(BackupFailed, match="in use by another backup"):
            data.back_up(target)

    data.back_up(target, report=again)
    assert checked(target) == []


def test_what_takes_too_long_is_given_up(data: Data, target: Path) -> None:
    with pytest.raises(BackupFailed, match="longer than 0 s") as raised:
        data.back_up(target, hold_s=0)
    assert "--hold-s" in raised.value.hint
    assert [path.name for path in target.iterdir()] == ["lock"]


def test_a_stop_ends_it_and_tidies_up(data: Data, target: Path) -> None:
    pace = Pace(RATE)
    pace.stop()
    with pytest.raises(BackupStopped):
        data.back_up(target, pace)
    assert [path.name for path in target.iterdir()] == ["lock"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    folder = tmp_path / "small"
    folder.mkdir()

    def mount(size_bytes: int) -> Path:
        options = ["-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
        if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
            pytest.skip("mounting a small disk needs root")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_too_small_a_disk_is_told_at_once(data: Data, small_disk: Callable[[int], Path]) -> None:
    target = small_disk(4 << 20) / "backup"
    with pytest.raises(BackupFailed, match=r"MiB left, the databases alone need") as raised:
        data.back_up(target)
    assert "another disk" in raised.value.hint


def test_a_disk_that_fills_up_in_the_middle(
    data: Data, small_disk: Callable[[int], Path], monkeypatch: Any
) -> None:
    monkeypatch.setattr("coordinator.backup.writing.SPARE_BYTES", 0)
    target = small_disk(4 << 20) / "backup"
    first = data.back_up(target)
    data.blob("uploads/big/big.bin", bytes(8 << 20))
    with pytest.raises(BackupFailed, match="No space left") as raised:
        data.back_up(target)
    assert "make room" in raised.value.hint
    assert read_manifest(target) == first
    assert checked(target) == []
    assert [path.name for path in target.iterdir() if path.name.startswith("state-")] == [first.state]
