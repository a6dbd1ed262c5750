"""What every file storage must do. An implementation's test module gives the fixture ``blobs``."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from coordinator.blobs.base import READ_BYTES, Blobs, Stat, Stored
from coordinator.blobs.errors import BadKey, ChecksumMismatch, Exists, Missing, TooLarge

LIMIT = 10 * 1024 * 1024
KEY = "outputs/p1/secret/0/picture.png"


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def put(blobs: Blobs, key: str, data: bytes, content_type: str = "image/png") -> Stored:
    return await blobs.put(key, stream(data), content_type=content_type, limit_bytes=LIMIT)


async def fetch(blobs: Blobs, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(key, start, end)])


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class BlobsContract:
    async def test_what_was_put_is_read(self, blobs: Blobs) -> None:
        stored = await blobs.put(
            KEY,
            stream(b"he", b"", b"llo"),
            content_type="image/png",
            length=5,
            sha256=sha256(b"hello"),
            limit_bytes=5,
        )
        md5 = hashlib.md5(b"hello").hexdigest()
        assert stored == Stored(length=5, sha256=sha256(b"hello"), md5=md5)
        assert await fetch(blobs, KEY) == b"hello"
        assert await blobs.stat(KEY) == Stat(
            length=5, sha256=sha256(b"hello"), md5=md5, content_type="image/png"
        )

    async def test_an_empty_blob_is_a_blob(self, blobs: Blobs) -> None:
        stored = await blobs.put(KEY, stream(), content_type="text/plain", length=0, limit_bytes=LIMIT)
        assert stored.length == 0
        assert await fetch(blobs, KEY) == b""
        assert await blobs.stat(KEY) is not None

    async def test_large_blobs_come_in_pieces(self, blobs: Blobs) -> None:
        data = b"".join(i.to_bytes(4, "big") for i in range(READ_BYTES * 5 // 8))
        chunks = [data[at : at + 60_001] for at in range(0, len(data), 60_001)]
        stored = await blobs.put(KEY, stream(*chunks), content_type="video/mp4", limit_bytes=LIMIT)
        assert stored.sha256 == sha256(data)
        pieces = [piece async for piece in blobs.read(KEY)]
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= READ_BYTES
        assert (
            await fetch(blobs, KEY, READ_BYTES - 1, READ_BYTES * 2 + 1)
            == data[READ_BYTES - 1 : READ_BYTES * 2 + 1]
        )

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (0, 4, b"0123"),
            (4, 6, b"45"),
            (7, None, b"789"),
            (7, 99, b"789"),
            (3, 3, b""),
            (10, None, b""),
            (50, 60, b""),
        ],
    )
    async def test_a_range_is_read(self, blobs: Blobs, start: int, end: int | None, expected: bytes) -> None:
        await put(blobs, KEY, b"0123456789")
        assert await fetch(blobs, KEY, start, end) == expected

    async def test_nothing_there(self, blobs: Blobs) -> None:
        assert await blobs.stat(KEY) is None
        with pytest.raises(Missing):
            await fetch(blobs, KEY)
        await blobs.delete(KEY)
        await blobs.delete_prefix("outputs/p1")

    async def test_the_same_content_again_is_fine(self, blobs: Blobs) -> None:
        first = await put(blobs, KEY, b"same")
        assert await put(blobs, KEY, b"same", content_type="text/plain") == first
        stat = await blobs.stat(KEY)
        assert stat is not None
        assert stat.content_type == "image/png"

    async def test_other_content_is_refused(self, blobs: Blobs) -> None:
        await put(blobs, KEY, b"first")
        with pytest.raises(Exists):
            await put(blobs, KEY, b"second")
        assert await fetch(blobs, KEY) == b"first"

    async def test_of_many_at_once_one_wins(self, blobs: Blobs) -> None:
        contents = [f"{i % 3}".encode() for i in range(12)]
        done = await asyncio.gather(
            *(put(blobs, KEY, content) for content in contents), return_exceptions=True
        )
        winner = await fetch(blobs, KEY)
        stat = await blobs.stat(KEY)
        assert stat is not None
        assert stat.sha256 == sha256(winner)
        for content, outcome in zip(contents, done, strict=True):
            assert isinstance(outcome, Stored if content == winner else Exists)

    @pytest.mark.parametrize(
        ("announced", "error"),
        [
            ({"length": 4}, ChecksumMismatch),
            ({"length": 6}, ChecksumMismatch),
            ({"sha256": sha256(b"other")}, ChecksumMismatch),
            ({"limit_bytes": 4}, TooLarge),
            ({"length": 5, "limit_bytes": 4}, TooLarge),
        ],
    )
    async def test_what_was_not_announced_is_not_kept(
        self, blobs: Blobs, announced: dict[str, object], error: type[Exception]
    ) -> None:
        options = {"content_type": "image/png", "limit_bytes": LIMIT} | announced
        with pytest.raises(error):
            await blobs.put(KEY, stream(b"hello"), **options)  # type: ignore[arg-type]
        assert await blobs.stat(KEY) is None
        await put(blobs, KEY, b"the right one")

    async def test_an_upload_that_breaks_off_leaves_nothing(self, blobs: Blobs) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"x" * 400_000
            raise ConnectionResetError("client went away")

        with pytest.raises(ConnectionResetError):
            await blobs.put(KEY, broken(), content_type="image/png", limit_bytes=LIMIT)
        assert await blobs.stat(KEY) is None

    async def test_a_cancelled_upload_leaves_nothing(self, blobs: Blobs) -> None:
        waiting = asyncio.Event()

        async def stuck() -> AsyncIterator[bytes]:
            yield b"x" * 400_000
            waiting.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(blobs.put(KEY, stuck(), content_type="image/png", limit_bytes=LIMIT))
        await asyncio.wait_for(waiting.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await blobs.stat(KEY) is None

    async def test_a_cancelled_upload_is_whole_or_nothing(self, blobs: Blobs) -> None:
        data = b"y" * 600_000
        for turns in range(0, 40, 3):
            key = f"uploads/{turns}/f"
            task = asyncio.create_task(put(blobs, key, data))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await put(blobs, key, data)).sha256 == sha256(data)
            assert await fetch(blobs, key) == data

    async def test_a_deleted_blob_is_gone_and_its_key_free(self, blobs: Blobs) -> None:
        await put(blobs, KEY, b"one")
        await blobs.delete(KEY)
        assert await blobs.stat(KEY) is None
        await put(blobs, KEY, b"two")
        assert await fetch(blobs, KEY) == b"two"

    async def test_a_reader_outlives_the_blob(self, blobs: Blobs) -> None:
        await put(blobs, KEY, b"z" * (READ_BYTES + 1))
        reader = blobs.read(KEY)
        first = await anext(reader)
        await blobs.delete(KEY)
        assert len(first) + sum([len(piece) async for piece in reader]) == READ_BYTES + 1

    async def test_a_prefix_is_whole_segments(self, blobs: Blobs) -> None:
        for key in ("outputs/p1/a/0/x", "outputs/p1/b/1/x", "outputs/p10/a/0/x", "uploads/p1/x"):
            await put(blobs, key, b"x")
        await blobs.delete_prefix("outputs/p1")
        assert await blobs.stat("outputs/p1/a/0/x") is None
        assert await blobs.stat("outputs/p1/b/1/x") is None
        assert await blobs.stat("outputs/p10/a/0/x") is not None
        assert await blobs.stat("uploads/p1/x") is not None
        await blobs.delete_prefix("uploads/p1/x")
        assert await blobs.stat("uploads/p1/x") is None

    async def test_some_of_a_prefix_are_kept(self, blobs: Blobs) -> None:
        keys = [f"outputs/p1/{attempt}/{n}/x" for attempt in "ab" for n in range(3)]
        for key in keys:
            await put(blobs, key, b"x")
        await blobs.delete_prefix("outputs/p1", keep=keys[2:4])
        assert [key for key in keys if await blobs.stat(key)] == keys[2:4]
        await blobs.delete_prefix("outputs/p1", keep=["outputs/p2/a/0/x"])
        assert [key for key in keys if await blobs.stat(key)] == []

    async def test_many_are_deleted_whether_they_are_there_or_not(self, blobs: Blobs) -> None:
        keys = [f"outputs/p{n}/a/0/%C3%BC~.x" for n in range(5)]
        for key in keys[:4]:
            await put(blobs, key, b"x")
        await blobs.delete_many(keys[1:])
        await blobs.delete_many(keys[1:])
        await blobs.delete_many([])
        assert [key for key in keys if await blobs.stat(key)] == keys[:1]

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "/",
            "a//b",
            "/a",
            "a/",
            "../a",
            "a/../b",
            "a/./b",
            ".tmp/x",
            "a b",
            "ü",
            "a\n",
            "a\x00b",
            "a,meta",
            "x" * 241,
            "a/" * 600 + "a",
        ],
    )
    async def test_bad_keys_are_refused(self, blobs: Blobs, key: str) -> None:
        with pytest.raises(BadKey):
            await put(blobs, key, b"x")
        with pytest.raises(BadKey):
            await blobs.stat(key)
        with pytest.raises(BadKey):
            await fetch(blobs, key)
        with pytest.raises(BadKey):
            await blobs.delete(key)
        with pytest.raises(BadKey):
            await blobs.delete_many([key])
        with pytest.raises(BadKey):
            await blobs.delete_prefix(key)

    async def test_the_longest_segments_are_taken(self, blobs: Blobs) -> None:
        key = f"{'k' * 240}/{'%C3%BC' * 40}"
        await put(blobs, key, b"x")
        assert await fetch(blobs, key) == b"x"
