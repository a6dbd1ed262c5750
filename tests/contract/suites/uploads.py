"""What every file storage must do with blobs that come in parts. Test modules give the fixture ``blobs``."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable

import pytest

from coordinator.blobs.base import Blobs, Plan
from coordinator.blobs.errors import BadKey, ChecksumMismatch, Exists, Missing
from tests.contract.suites.blobs import KEY, LIMIT, fetch, put, sha256, stream

PART = 5 * 1024 * 1024
DATA = secrets.token_bytes(2 * PART + 777)


def plan_of(data: bytes, part_bytes: int = PART) -> Plan:
    pieces = [data[at : at + part_bytes] for at in range(0, len(data), part_bytes)] or [b""]
    return Plan(
        length=len(data),
        sha256=sha256(data),
        content_type="video/mp4",
        part_bytes=part_bytes,
        parts=tuple(map(sha256, pieces)),
    )


PLAN = plan_of(DATA)


async def send(
    blobs: Blobs, id: str, number: int, chunks: AsyncIterator[bytes] | None = None, key: str = KEY
) -> None:
    """The part of DATA, or something else in its place."""
    part = PLAN.part(number)
    piece = DATA[part.start : part.start + part.length]
    await blobs.uploads.put(key, id, part, chunks or stream(piece[:1000], piece[1000:]))


async def whole(blobs: Blobs, numbers: Iterable[int] = (3, 1, 2)) -> str:
    id = await blobs.uploads.begin(KEY, PLAN)
    for number in numbers:
        await send(blobs, id, number)
    return id


class UploadsContract:
    async def test_parts_in_any_order_make_a_blob(self, blobs: Blobs) -> None:
        id = await whole(blobs)
        assert await blobs.stat(KEY) is None
        await blobs.uploads.complete(KEY, id, PLAN)
        stat = await blobs.stat(KEY)
        assert stat is not None
        assert (stat.length, stat.sha256, stat.content_type) == (len(DATA), sha256(DATA), "video/mp4")
        assert await fetch(blobs, KEY, PART - 5, PART + 5) == DATA[PART - 5 : PART + 5]
        digest = hashlib.sha256()
        async for piece in blobs.read(KEY):
            digest.update(piece)
        assert digest.hexdigest() == PLAN.sha256

    async def test_several_parts_at_once(self, blobs: Blobs) -> None:
        id = await blobs.uploads.begin(KEY, PLAN)
        await asyncio.gather(*(send(blobs, id, number) for number in (1, 2, 3)))
        await blobs.uploads.complete(KEY, id, PLAN)
        assert await blobs.stat(KEY) is not None
        assert await fetch(blobs, KEY, len(DATA) - 800) == DATA[-800:]

    async def test_what_is_there_is_known(self, blobs: Blobs) -> None:
        id = await blobs.uploads.begin(KEY, PLAN)
        assert await blobs.uploads.present(KEY, id, PLAN) == set()
        await send(blobs, id, 2)
        await send(blobs, id, 2)
        assert await blobs.uploads.present(KEY, id, PLAN) == {2}
        with pytest.raises(Missing):
            await blobs.uploads.complete(KEY, id, PLAN)
        assert await blobs.stat(KEY) is None
        await send(blobs, id, 1)
        await send(blobs, id, 3)
        await blobs.uploads.complete(KEY, id, PLAN)
        assert await blobs.stat(KEY) is not None

    async def test_completing_again_is_fine(self, blobs: Blobs) -> None:
        id = await whole(blobs)
        await asyncio.gather(*(self._completed(blobs, id) for _ in range(3)))
        assert (await blobs.stat(KEY)) is not None
        with pytest.raises(Missing):
            await blobs.uploads.present(KEY, id, PLAN)
        await blobs.uploads.abort(KEY, id)
        assert (await blobs.stat(KEY)) is not None

    async def _completed(self, blobs: Blobs, id: str) -> None:
        try:
            await blobs.uploads.complete(KEY, id, PLAN)
        except Missing:
            assert await blobs.stat(KEY) is not None

    @pytest.mark.parametrize("wrong", [b"x" * 777, b"x" * 776, b"x" * 778])
    async def test_other_bytes_are_no_part(self, blobs: Blobs, wrong: bytes) -> None:
        id = await blobs.uploads.begin(KEY, PLAN)
        with pytest.raises(ChecksumMismatch):
            await send(blobs, id, 3, stream(wrong))
        assert await blobs.uploads.present(KEY, id, PLAN) == set()
        await send(blobs, id, 3)
        assert await blobs.uploads.present(KEY, id, PLAN) == {3}

    async def test_a_part_that_breaks_off_is_none(self, blobs: Blobs) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield DATA[: 2 * 1024 * 1024]
            raise ConnectionResetError("the agent went away")

        id = await blobs.uploads.begin(KEY, PLAN)
        with pytest.raises(Exception, match="went away"):
            await send(blobs, id, 1, broken())
        assert await blobs.uploads.present(KEY, id, PLAN) == set()

    async def test_a_given_up_upload_is_gone(self, blobs: Blobs) -> None:
        id = await whole(blobs)
        await blobs.uploads.abort(KEY, id)
        await blobs.uploads.abort(KEY, id)
        with pytest.raises(Missing):
            await blobs.uploads.present(KEY, id, PLAN)
        with pytest.raises(Missing):
            await send(blobs, id, 1)
        with pytest.raises(Missing):
            await blobs.uploads.complete(KEY, id, PLAN)
        assert await blobs.stat(KEY) is None

    async def test_a_sweep_leaves_what_is_young(self, blobs: Blobs) -> None:
        id = await blobs.uploads.begin(KEY, PLAN)
        await send(blobs, id, 1)
        assert await blobs.clear(3600.0) == 0
        assert await blobs.uploads.present(KEY, id, PLAN) == {1}
        assert await blobs.clear(-3600.0) >= 1
        with pytest.raises(Missing):
            await blobs.uploads.present(KEY, id, PLAN)

    async def test_another_blob_is_never_replaced(self, blobs: Blobs) -> None:
        await put(blobs, KEY, b"first")
        id = await whole(blobs)
        with pytest.raises(Exists):
            await blobs.uploads.complete(KEY, id, PLAN)
            await self._looked_at(blobs)
        assert await fetch(blobs, KEY) == b"first"

    async def _looked_at(self, blobs: Blobs) -> None:
        stat = await blobs.stat(KEY)
        assert stat is not None
        if stat.sha256 != PLAN.sha256:
            raise Exists("the key holds other content")

    async def test_the_same_blob_may_be_there(self, blobs: Blobs) -> None:
        await blobs.put(KEY, stream(DATA), content_type="video/mp4", limit_bytes=2 * LIMIT)
        id = await whole(blobs)
        await blobs.uploads.complete(KEY, id, PLAN)
        assert (await blobs.stat(KEY)) is not None

    @pytest.mark.parametrize("id", ["0" * 32, "none"])
    async def test_made_up_ids(self, blobs: Blobs, id: str) -> None:
        with pytest.raises(Missing):
            await blobs.uploads.present(KEY, id, PLAN)
        with pytest.raises(Missing):
            await send(blobs, id, 1)

    async def test_bad_keys(self, blobs: Blobs) -> None:
        with pytest.raises(BadKey):
            await blobs.uploads.begin("../a", PLAN)
