"""What every control store must do with indexed predictions and files. The fixture ``store`` is the
implementation's."""

import asyncio
from typing import Any

import msgspec
import pytest

from coordinator.prediction import Document, Status
from coordinator.protocol.messages import StoredFile
from coordinator.store.database import Store
from coordinator.store.errors import Invalid, NameTaken
from coordinator.store.files import FileRow


def document(id: str = "p1", *, account: str = "acme", created_at: int = 1, sequence: int = 1) -> Document:
    return Document(
        id=id,
        account=account,
        token="tok_1",
        pool="default",
        model="acme/hello",
        created_at=created_at,
        input=b'{"text":"\xc3\xbc"}',
        sequence=sequence,
    )


def ended(before: Document) -> Document:
    return msgspec.structs.replace(
        before,
        status=Status.SUCCEEDED,
        output=b'"cogflare://blob/k"',
        files=(StoredFile(key="k", name="n", content_type="a/b", length=1, sha256="0" * 64),),
        metrics=b'{"predict_time": 0.25}',
        logs="done\n",
        completed_at=9,
        sequence=before.sequence + 1,
    )


class IndexContract:
    async def test_documents_come_back_as_they_were(self, store: Store) -> None:
        first, second = document("p1"), ended(document("p2"))
        await store.index.upsert([first, second])
        assert await store.index.get("p1", "acme") == first
        got = await store.index.get("p2", "acme")
        assert got is not None
        assert (got.status, got.output, got.files, got.logs) == (
            second.status,
            second.output,
            second.files,
            second.logs,
        )
        assert msgspec.json.encode(got) == msgspec.json.encode(second)
        assert await store.index.get("p3", "acme") is None
        await store.index.upsert([])

    async def test_a_foreign_prediction_is_not_there(self, store: Store) -> None:
        await store.index.upsert([document("p1", account="acme")])
        assert await store.index.get("p1", "other") is None
        assert await store.index.list("other", limit=10) == []

    async def test_the_higher_sequence_stays(self, store: Store) -> None:
        start = document("p1")
        end = ended(start)
        await store.index.upsert([end])
        await store.index.upsert([start])
        assert (got := await store.index.get("p1", "acme")) is not None
        assert got.status is Status.SUCCEEDED
        await store.index.upsert([document("p2"), ended(document("p2")), document("p2")])
        assert (got := await store.index.get("p2", "acme")) is not None
        assert got.sequence == 2
        await store.index.upsert([end])

    async def test_a_batch_is_stored_whole_or_not(self, store: Store) -> None:
        broken = msgspec.structs.replace(document("p2"), created_at=1 << 63)
        with pytest.raises(Exception, match=r"int|range"):
            await store.index.upsert([document("p1"), broken])
        assert await store.index.get("p1", "acme") is None
        await store.index.upsert([document("p1")])

    async def test_pages_walk_the_whole_list(self, store: Store) -> None:
        # Three at each moment, so that pages end between equal times.
        rows = [document(f"p{i:02}", created_at=i // 3) for i in range(20)]
        await store.index.upsert(rows)
        await store.index.upsert([document("q", account="other", created_at=3)])
        expected = sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)
        seen: list[Document] = []
        before: tuple[int, str] | None = None
        while page := await store.index.list("acme", before=before, limit=4):
            assert len(page) <= 4
            seen += page
            before = page[-1].created_at, page[-1].id
        assert seen == expected

    async def test_bounds_of_time(self, store: Store) -> None:
        await store.index.upsert([document(f"p{i}", created_at=i) for i in range(6)])
        page = await store.index.list("acme", created_after=2, created_before=5, limit=10)
        assert [row.created_at for row in page] == [4, 3, 2]
        page = await store.index.list("acme", before=(4, "p4"), created_after=2, limit=10)
        assert [row.created_at for row in page] == [3, 2]

    async def test_lists_of_predictions_and_of_trainings_do_not_mix(self, store: Store) -> None:
        made = [document(f"p{i}", created_at=i) for i in range(6)]
        made[1::2] = [msgspec.structs.replace(one, destination="acme/mine") for one in made[1::2]]
        await store.index.upsert([*made, msgspec.structs.replace(ended(made[3]), sequence=5)])
        for trainings, wanted in ((False, ["p4", "p2", "p0"]), (True, ["p5", "p3", "p1"])):
            listed = await store.index.list("acme", trainings=trainings, limit=10)
            assert [one.id for one in listed] == wanted
        (training,) = await store.index.list("acme", trainings=True, status=Status.SUCCEEDED, limit=10)
        assert (training.id, training.destination, training.queue) == ("p3", "acme/mine", "acme/hello@train")
        assert await store.index.list("bob", trainings=True, limit=10) == []
        for account, model, made in (
            ("acme", "acme/mine", ["p3"]),
            ("bob", "acme/mine", []),
            ("acme", "x/y", []),
        ):
            found = await store.index.made_for(account, model, limit=10)
            assert [one.id for one in found] == made
        assert await store.index.made_for("acme", "acme/mine", before=(3, "p3"), limit=10) == []

    async def test_lists_are_limited_by_status_and_model(self, store: Store) -> None:
        replace = msgspec.structs.replace
        made = [document(f"p{i}", created_at=i) for i in range(6)]
        made[1] = replace(made[1], status=Status.PROCESSING)
        made[2] = replace(made[2], model="acme/other")
        made[3] = replace(ended(made[3]), status=Status.FAILED)
        made[4] = ended(made[4])
        await store.index.upsert([*made, replace(ended(document("q", account="bob")), status=Status.FAILED)])

        async def listed(**limits: Any) -> list[str]:
            return [row.id for row in await store.index.list("acme", limit=10, **limits)]

        assert await listed(status=Status.FAILED) == ["p3"]
        assert await listed(status=Status.SUCCEEDED) == ["p4"]
        assert await listed(status=Status.CANCELED) == []
        unended = ["p5", "p2", "p1", "p0"]
        assert await listed(status=Status.STARTING) == await listed(status=Status.PROCESSING) == unended
        assert await listed(model="acme/other") == ["p2"]
        assert await listed(status=Status.STARTING, model="acme/hello", created_after=1) == ["p5", "p1"]

    async def test_writers_at_once_lose_nothing(self, store: Store) -> None:
        batches = [[document(f"p{b}-{i}", created_at=i) for i in range(10)] for b in range(10)]
        await asyncio.gather(*(store.index.upsert(batch) for batch in batches))
        assert len(await store.index.list("acme", limit=1000)) == 100

    async def test_a_cancelled_writer_blocks_nobody(self, store: Store) -> None:
        for turns in range(0, 60, 4):
            rows = [document(f"p{turns}-{i}", created_at=turns) for i in range(5)]
            task = asyncio.create_task(store.index.upsert(rows))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            there = await store.index.list("acme", created_after=turns, limit=10)
            assert len(there) in (0, 5)
            await asyncio.wait_for(store.index.upsert(rows), 10)
            assert len(await store.index.list("acme", created_after=turns, limit=10)) == 5


def file(
    id: str = "f1", *, account: str = "acme", created_at: int = 1, expires_at: int | None = None
) -> FileRow:
    return FileRow(
        id=id,
        account=account,
        key=f"uploads/{id}/x.txt",
        name="x y.txt",
        content_type="text/plain",
        size=3,
        sha256="0" * 64,
        md5="1" * 32,
        metadata={"a": [1, "ü"]},
        created_at=created_at,
        expires_at=expires_at,
    )


class FilesContract:
    async def test_a_file_is_found_by_its_account(self, store: Store) -> None:
        await store.files.create(file())
        assert await store.files.get("f1", "acme") == file()
        assert await store.files.get("f1", "other") is None
        assert await store.files.get("f2", "acme") is None
        with pytest.raises(NameTaken):
            await store.files.create(file())

    async def test_text_that_is_none_is_refused(self, store: Store) -> None:
        with pytest.raises(Invalid):
            await store.files.create(msgspec.structs.replace(file(), name="\udc80"))
        with pytest.raises(Invalid):
            await store.files.create(msgspec.structs.replace(file(), metadata={"\udc80": 1}))

    async def test_lists_come_in_pages(self, store: Store) -> None:
        for i in range(5):
            await store.files.create(file(f"f{i}", created_at=i // 2))
        await store.files.create(file("g", account="other"))
        first = await store.files.list("acme", limit=3)
        assert [row.id for row in first] == ["f4", "f3", "f2"]
        rest = await store.files.list("acme", before=(first[-1].created_at, first[-1].id), limit=3)
        assert [row.id for row in rest] == ["f1", "f0"]

    async def test_a_deleted_file_is_gone(self, store: Store) -> None:
        await store.files.create(file())
        assert await store.files.delete("f1", "other") is None
        assert await store.files.delete("f1", "acme") == file()
        assert await store.files.delete("f1", "acme") is None
        assert await store.files.get("f1", "acme") is None

    async def test_expired_files_are_listed(self, store: Store) -> None:
        for id, expires_at in (("f1", 30), ("f2", 10), ("f3", None), ("f4", 20)):
            await store.files.create(file(id, expires_at=expires_at))
        assert [row.id for row in await store.files.expired(20, limit=10)] == ["f2", "f4"]
        assert [row.id for row in await store.files.expired(99, limit=2)] == ["f2", "f4"]
        assert await store.files.get("f2", "acme") is not None
