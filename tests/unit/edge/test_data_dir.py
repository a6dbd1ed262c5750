"""The data directory: who holds it, what it keeps secret, and what is said when it cannot be used."""

import errno
import stat
from pathlib import Path

import pytest

from edge.data_dir import DataDir, write_secret
from edge.exits import CommandFailed, ExitCode


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def made(path: Path) -> DataDir:
    data = DataDir(path)
    data.create()
    return data


def test_a_new_directory_is_its_owners_alone(tmp_path: Path) -> None:
    data = made(tmp_path / "a" / "b")
    assert mode(data.path) == 0o700
    data.hold("serve")
    data.key("x")
    assert mode(data.path / "lock") == 0o600
    assert mode(data.path / "secret.key") == 0o600


def test_one_holder_at_a_time_and_the_other_is_told_who(tmp_path: Path) -> None:
    first, second = made(tmp_path), DataDir(tmp_path)
    first.hold("serve")
    with pytest.raises(CommandFailed, match=r"is in use by process \d+: cogflare serve") as raised:
        second.hold("serve")
    assert raised.value.code == ExitCode.LOCKED
    first.release()
    first.release()
    second.hold("migrate")
    assert second.holder().endswith("cogflare migrate")


def test_keys_differ_by_label_and_stay(tmp_path: Path) -> None:
    data = made(tmp_path)
    assert len(data.key("a")) == 32
    assert data.key("a") == DataDir(tmp_path).key("a") != data.key("b")


def test_a_lost_or_damaged_secret_is_told_and_not_replaced(tmp_path: Path) -> None:
    data = made(tmp_path)
    data.key("a")
    data.database.touch()
    secret = tmp_path / "secret.key"
    secret.write_bytes(b"short")
    with pytest.raises(CommandFailed, match="is damaged"):
        data.key("a")
    secret.unlink()
    with pytest.raises(CommandFailed, match="is missing"):
        data.key("a")
    assert not secret.exists()


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "another --data")],
)
def test_what_the_system_refuses_is_one_line_with_a_hint(tmp_path: Path, number: int, hint: str) -> None:
    with pytest.raises(CommandFailed) as raised, DataDir(tmp_path).usable():
        raise OSError(number, "no")
    assert raised.value.code == ExitCode.STORAGE
    assert hint in raised.value.line()


def test_a_full_disk_is_noticed_when_the_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("/dev/full")
    with pytest.raises(CommandFailed, match="No space left on device"):
        DataDir(tmp_path).hold("serve")


def test_paths_that_are_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandFailed, match="cannot be used"):
        DataDir(tmp_path / "file").create()
    with pytest.raises(CommandFailed, match="Not a directory"):
        DataDir(tmp_path / "none").hold("serve")
    with pytest.raises(CommandFailed, match=r"cannot have a \?"):
        DataDir(tmp_path / "what?")


def test_a_secret_is_written_once_and_whole(tmp_path: Path) -> None:
    write_secret(tmp_path / "s", b"x")
    assert mode(tmp_path / "s") == 0o600
    with pytest.raises(FileExistsError):
        write_secret(tmp_path / "s", b"y")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert (tmp_path / "s").read_bytes() == b"x"
