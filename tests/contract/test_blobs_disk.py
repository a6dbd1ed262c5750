"""The disk's file storage: the contract of all, and what only a disk can do wrong."""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.errors import BadKey, BlobsUnavailable
from tests.contract.suites.blobs import KEY, LIMIT, BlobsContract, fetch, put, stream
from tests.contract.suites.uploads import UploadsContract


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path / "blobs")


def left(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond this: the nearest thing to a full disk that needs no rights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestDiskBlobs(BlobsContract, UploadsContract):
    async def test_bytes_lie_under_their_key(self, blobs: DiskBlobs, tmp_path: Path) -> None:
        await put(blobs, KEY, b"hello")
        assert (tmp_path / "blobs" / KEY).read_bytes() == b"hello"

    async def test_failures_leave_no_file(self, blobs: DiskBlobs, tmp_path: Path) -> None:
        for sha256 in ("0" * 64, None):
            with pytest.raises(Exception, match=r"instead of the|larger"):
                await blobs.put(
                    KEY,
                    stream(b"x" * 300_000),
                    content_type="a/b",
                    sha256=sha256,
                    limit_bytes=300_000 - (not sha256),
                )
        assert left(tmp_path / "blobs") == [".tmp"]

    async def test_deleting_leaves_no_folder(self, blobs: DiskBlobs, tmp_path: Path) -> None:
        await put(blobs, KEY, b"one")
        await put(blobs, "outputs/p1/secret/1/b.png", b"two")
        await blobs.delete(KEY)
        await blobs.delete_prefix("outputs/p1/secret")
        assert left(tmp_path / "blobs") == [".tmp"]

    async def test_what_an_interrupted_process_left_is_cleared(self, tmp_path: Path) -> None:
        (tmp_path / ".tmp").mkdir()
        (tmp_path / ".tmp" / "half").write_bytes(b"half")
        blobs = DiskBlobs(tmp_path)
        assert left(tmp_path) == [".tmp"]
        await put(blobs, KEY, b"x")

    async def test_a_meta_file_alone_is_no_blob(self, blobs: DiskBlobs, tmp_path: Path) -> None:
        await put(blobs, KEY, b"first")
        (tmp_path / "blobs" / KEY).unlink()
        assert await blobs.stat(KEY) is None
        await put(blobs, KEY, b"second")
        stat = await blobs.stat(KEY)
        assert stat is not None
        assert stat.length == 6

    async def test_a_damaged_meta_file_is_said(self, blobs: DiskBlobs, tmp_path: Path) -> None:
        await put(blobs, KEY, b"first")
        (tmp_path / "blobs" / f"{KEY},meta").write_bytes(b"{")
        with pytest.raises(BlobsUnavailable, match="damaged"):
            await blobs.stat(KEY)

    async def test_keys_below_and_above_others_are_refused(self, blobs: DiskBlobs) -> None:
        await put(blobs, "a/b", b"x")
        with pytest.raises(BadKey):
            await put(blobs, "a/b/c", b"x")
        with pytest.raises(BadKey):
            await put(blobs, "a", b"x")
        assert await blobs.stat("a") is None
        assert await blobs.stat("a/b/c") is None
        assert await fetch(blobs, "a/b") == b"x"

    async def test_a_disk_that_takes_no_more(self, blobs: DiskBlobs, tmp_path: Path) -> None:
        with largest_file(100_000), pytest.raises(BlobsUnavailable) as caught:
            await put(blobs, KEY, b"x" * 400_000)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EFBIG
        assert left(tmp_path / "blobs") == [".tmp"]
        await put(blobs, KEY, b"x" * 400_000)

    async def test_a_reader_may_stop_early(self, blobs: DiskBlobs) -> None:
        await blobs.put(KEY, stream(b"x" * 900_000), content_type="a/b", limit_bytes=LIMIT)
        reader = blobs.read(KEY)
        await anext(reader)
        await reader.aclose()  # type: ignore[attr-defined]

    def test_a_folder_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(BlobsUnavailable) as caught:
            DiskBlobs(tmp_path / "file" / "blobs")
        assert caught.value.hint


async def test_deletions_wait_for_a_backup(blobs: DiskBlobs, tmp_path: Path) -> None:
    await put(blobs, KEY, b"one")
    await put(blobs, "outputs/p1/secret/1/b.png", b"two")
    blobs.postpone_deletions()
    await blobs.delete(KEY)
    for sweep in (blobs.delete_prefix("outputs/p1/secret"), blobs.delete_many(["outputs/p1/secret/1/b.png"])):
        with pytest.raises(BlobsUnavailable, match="backup"):  # it would remember that they are gone
            await sweep
    assert await fetch(blobs, KEY) == b"one"
    assert await fetch(blobs, "outputs/p1/secret/1/b.png") == b"two"
    await blobs.catch_up()
    await blobs.delete_prefix("outputs/p1/secret")
    assert left(tmp_path / "blobs") == [".tmp"]
    await put(blobs, KEY, b"again")
    await blobs.delete(KEY)
    assert await blobs.stat(KEY) is None
