"""What every object storage must do with the outbox of a model's coordinator. An implementation's test module
gives the fixture ``open_models``: it opens the storages of ``MODEL_SCHEMA`` anew on what was left."""

from typing import Any

from coordinator.actor.storage import Batch, Loaded, Storage, Write
from coordinator.outbox_schema import (
    FORGET_LETTER,
    KEEP_LETTER,
    LANE,
    LANES,
    LETTER,
    LETTER_DONE,
    LETTER_DUE,
    LETTER_RENDERED,
    LETTER_TRIED,
    PURGE_LETTERS,
    PURGED_AT_ONCE,
)
from tests.contract.suites.storage import OpenStorages, read, taken


def keep(id: str, host: str = "a.test:443", next_at: int | None = None) -> Write:
    return Write(KEEP_LETTER, (id, host, next_at, b"record", b"snapshot"))


async def written(storage: Storage, loaded: Loaded, *writes: Write) -> None:
    await storage.commit(Batch(list(writes), None), loaded.generation)


async def letter(storage: Storage, id: str) -> list[tuple[Any, ...]]:
    return await read(storage, LETTER, id)


class OutboxContract:
    async def test_a_letter_is_due_when_it_is_said_to_be(self, open_models: OpenStorages) -> None:
        storage, loaded = await taken(await open_models())
        await written(storage, loaded, keep("p"), keep("q", "b.test:80", 7), keep("r", next_at=5))
        assert await read(storage, LANE, "a.test:443", 10) == [("r", 5)]
        await written(storage, loaded, Write(LETTER_DUE, (3, "p")))
        assert await read(storage, LANE, "a.test:443", 10) == [("p", 3), ("r", 5)]
        assert await read(storage, LANE, "a.test:443", 1) == [("p", 3)]
        storage, loaded = await taken(await open_models())
        assert sorted(loaded.rows[LANES]) == [("a.test:443", 3, 2), ("b.test:80", 7, 1)]
        assert await letter(storage, "p") == [(b"record", b"snapshot", None, 3, None)]

    async def test_rendered_tried_and_done(self, open_models: OpenStorages) -> None:
        storage, loaded = await taken(await open_models())
        await written(storage, loaded, keep("p", next_at=5), Write(LETTER_RENDERED, (b"body", "p")))
        assert await letter(storage, "p") == [(b"record", None, b"body", 5, None)]
        await written(storage, loaded, Write(LETTER_TRIED, (b"again", 9, "p")))
        assert await letter(storage, "p") == [(b"again", None, b"body", 9, None)]
        await written(storage, loaded, Write(LETTER_DONE, (b"done", 11, "p")))
        assert await letter(storage, "p") == [(b"done", None, None, None, 11)]
        late = (Write(LETTER_TRIED, (b"late", 12, "p")), Write(LETTER_DUE, (12, "p")))
        await written(storage, loaded, *late)
        assert await letter(storage, "p") == [(b"done", None, None, None, 11)], "what is done stays so"
        storage, loaded = await taken(await open_models())
        assert list(loaded.rows[LANES]) == []

    async def test_it_may_be_kept_anew(self, open_models: OpenStorages) -> None:
        storage, loaded = await taken(await open_models())
        await written(storage, loaded, keep("p", next_at=5), Write(LETTER_DONE, (b"done", 11, "p")))
        await written(storage, loaded, Write(FORGET_LETTER, ("p",)), keep("p", next_at=20))
        assert await letter(storage, "p") == [(b"record", b"snapshot", None, 20, None)]

    async def test_old_ones_go_a_few_at_a_time(self, open_models: OpenStorages) -> None:
        storage, loaded = await taken(await open_models())
        count = PURGED_AT_ONCE + 10
        done = [Write(LETTER_DONE, (b"done", n, f"p{n}")) for n in range(count)]
        await written(storage, loaded, *(keep(f"p{n}") for n in range(count)), keep("open"), *done)
        for left in (10, 1, 1):
            await written(storage, loaded, Write(PURGE_LETTERS, (count - 2,)))
            there = [n for n in range(count) if await letter(storage, f"p{n}")]
            assert len(there) == left
        assert there == [count - 1]
        assert await letter(storage, "open")
