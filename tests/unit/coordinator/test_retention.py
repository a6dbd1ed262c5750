"""What has been kept long enough goes when it is due, and nothing else does, whatever is cut off between."""

import hashlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator import keeping
from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.errors import BlobsUnavailable
from coordinator.blobs.keys import output_key, upload_key
from coordinator.prediction import Attempt, Document, Status
from coordinator.protocol.limits import FOREVER_S, ServerLimits
from coordinator.protocol.messages import StoredFile
from coordinator.retention import LEAST_S, SWEEP_S, Retention
from coordinator.store.aliases import Alias
from coordinator.store.database import Store
from coordinator.store.files import FileRow
from tests.support.control_store import open_store
from tests.support.virtual_clock import VirtualClock
from tests.support.waiting import until, until_async

CONTENT = b"picture"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HOUR_US = 3_600_000_000


class Watched(DiskBlobs):
    """Notes when deletions come, and fails while ``broken``."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.broken = False
        self.asked = 0

    async def delete_many(self, keys: Collection[str]) -> None:
        self.asked += bool(keys)
        if self.broken:
            raise BlobsUnavailable("away")
        await super().delete_many(keys)


class Server:
    """A control store, blobs and what sweeps them, in virtual time."""

    def __init__(self, store: Store, blobs: Watched, clock: VirtualClock) -> None:
        self.store, self.blobs, self.clock = store, blobs, clock
        self.limits = ServerLimits(forget_s=500.0, idempotency_s=400.0)
        self.retention = Retention(store, blobs, clock, self.limits)

    async def put(self, key: str) -> str:
        async def content() -> AsyncIterator[bytes]:
            yield CONTENT

        await self.blobs.put(key, content(), content_type="image/png", limit_bytes=100)
        return key

    async def ended(
        self,
        id: str,
        kept_s: float,
        *,
        files: int = 1,
        outcomes: tuple[str, ...] = ("finished",),
        **more: Any,
    ) -> Document:
        """A prediction that ends now, with its files stored."""
        now = self.clock.now()
        keys = [await self.put(output_key(id, "good", n, "a.png")) for n in range(files)]
        stored = [
            StoredFile(key=key, name="a.png", content_type="image/png", length=len(CONTENT), sha256=SHA256)
            for key in keys
        ]
        attempts = tuple(
            Attempt(number=n, agent="a", agent_name="a", incarnation="i", dispatched_at=1, outcome=outcome)
            for n, outcome in enumerate(outcomes, 1)
        )
        document = Document(
            id=id,
            account="acme",
            token="t",
            pool="default",
            model="acme/m",
            created_at=now - 1,
            input=b'{"secret":1}',
            status=Status.SUCCEEDED,
            output=b'"out"',
            logs="log",
            files=tuple(stored),
            attempts=attempts,
            completed_at=now,
            sequence=2,
            retention_s=kept_s,
        )
        times = keeping.times_of_end(document, attempts, now, self.limits.upload_ttl_s)
        document = msgspec.structs.replace(document, **{**times, **more})
        await self.store.index.upsert([document])
        return document

    async def found(self, id: str) -> Document:
        document = await self.store.index.get(id, "acme")
        assert document is not None
        return document

    async def removed(self, id: str) -> None:
        """Until its data is."""

        async def is_removed() -> bool:
            return (await self.found(id)).data_removed

        await until_async(is_removed, f"{id} is removed")

    async def asleep(self) -> None:
        await until(lambda: self.retention._wakes_at is not None, "it sleeps")

    async def there(self, *keys: str) -> list[bool]:
        return [await self.blobs.stat(key) is not None for key in keys]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    store = await open_store(tmp_path / "control.db")
    server = Server(store, Watched(tmp_path / "blobs"), VirtualClock())
    yield server
    await server.retention.stop()
    await store.close()


class TestPredictions:
    async def test_only_those_go_whose_time_is_over(self, server: Server) -> None:
        for id, kept_s in (("old", 10.0), ("young", 20.0), ("forever", FOREVER_S)):
            await server.ended(id, kept_s)
        await server.clock.advance(10.0)
        assert await server.retention.sweep() == 1
        old, young, forever = [await server.found(id) for id in ("old", "young", "forever")]
        assert (old.data_removed, old.input, old.output, old.logs, old.files) == (True, b"{}", None, "", ())
        assert (old.status, old.completed_at, old.expires_at) == (
            Status.SUCCEEDED,
            young.completed_at,
            server.clock.now(),
        )
        assert young.files and forever.files and forever.expires_at is None
        keys = [output_key(id, "good", 0, "a.png") for id in ("old", "young", "forever")]
        assert await server.there(*keys) == [False, True, True]
        assert await server.retention.sweep() == 0

    async def test_more_than_one_batch(self, server: Server) -> None:
        for n in range(230):
            await server.ended(f"p{n}", 1.0, files=0)
        await server.clock.advance(1.0)
        assert await server.retention.sweep() == 230

    async def test_the_row_is_forgotten_with_its_clients_own_id(self, server: Server) -> None:
        await server.ended("p", 10.0, own_id="mine")
        alias = Alias(account="acme", kind="id", name="mine", digest=b"", ids=("p",), created_at=1)
        await server.store.aliases.reserve(alias)
        await server.clock.advance(10.0)
        await server.retention.sweep()
        await server.clock.advance(499.0)
        await server.retention.sweep()
        assert (await server.found("p")).data_removed
        await server.clock.advance(1.0)
        await server.retention.sweep()
        assert await server.store.index.get("p", "acme") is None
        assert await server.store.aliases.get("acme", "id", "mine", 1) is None
        assert await server.store.expiry.next_at() is None

    async def test_a_row_stays_as_long_as_keys_are_remembered(self, server: Server) -> None:
        limits = ServerLimits(forget_s=1.0, idempotency_s=600.0)
        server.retention = Retention(server.store, server.blobs, server.clock, limits)
        await server.ended("p", 10.0)
        for seconds, there in ((10.0, True), (599.0, True), (1.0, False)):
            await server.clock.advance(seconds)
            await server.retention.sweep()
            assert (await server.store.index.get("p", "acme") is not None) == there

    async def test_what_older_releases_wrote_stays(self, server: Server) -> None:
        await server.ended("p", FOREVER_S, retention_s=None, expires_at=None)
        await server.clock.advance(1e8)
        assert await server.retention.sweep() == 0

    async def test_what_is_told_again_after_the_sweep_is_no_news(self, server: Server) -> None:
        document = await server.ended("p", 10.0, input_files={"url": "uploads/f/a"})
        await server.clock.advance(10.0)
        await server.retention.sweep()
        await server.store.index.upsert([document])
        assert (await server.found("p")).data_removed
        assert (await server.store.storage_use.get("acme")).total == 0
        assert await server.store.expiry.next_at() == server.clock.now() + 500_000_000


class TestCutOff:
    async def test_between_the_files_and_the_row_it_is_done_again(self, server: Server) -> None:
        document = await server.ended("p", 10.0)
        await server.clock.advance(10.0)
        await server.blobs.delete(document.files[0].key)
        assert await server.retention.sweep() == 1
        assert (await server.found("p")).data_removed

    async def test_a_storage_that_is_away_is_asked_again(self, server: Server) -> None:
        await server.retention.start()
        await server.ended("p", 10.0)
        server.blobs.broken = True
        await server.clock.advance(10.0)
        await until(lambda: server.blobs.asked == 1, "it is tried")
        assert not (await server.found("p")).data_removed
        server.blobs.broken = False
        await server.asleep()
        await server.clock.advance(SWEEP_S)
        await server.removed("p")

    async def test_who_deletes_it_meanwhile_is_not_undone(self, server: Server) -> None:
        await server.ended("p", FOREVER_S, outcomes=("lost", "finished"))
        await server.clock.advance(7200.0)
        (due,) = await server.store.expiry.due(server.clock.now(), 9)
        assert await server.store.expiry.expire("p", "acme", server.clock.now() - 1) is not None
        await server.retention.remove([due])
        assert (await server.found("p")).expires_at == server.clock.now() - 1
        assert await server.retention.sweep() == 1


class TestStrays:
    """Files of attempts that were given up, which may come after the end."""

    async def test_they_go_once_nothing_can_be_uploaded_any_more(self, server: Server) -> None:
        document = await server.ended("p", FOREVER_S, outcomes=("lost", "finished"))
        stray = await server.put(output_key("p", "lost", 0, "half.png"))
        await server.clock.advance(3599.0)
        await server.retention.sweep()
        assert await server.there(stray) == [True]
        await server.clock.advance(3601.0)
        await server.retention.sweep()
        assert await server.there(stray, document.files[0].key) == [False, True]
        assert (await server.found("p")).files == document.files

    async def test_of_what_is_removed_early_they_are_looked_for_again(self, server: Server) -> None:
        document = await server.ended("p", 10.0, outcomes=("fenced",))
        early = await server.put(output_key("p", "fenced", 0, "a.png"))
        await server.clock.advance(10.0)
        await server.retention.sweep()
        assert await server.there(early, document.files[0].key) == [False, False]
        late = await server.put(output_key("p", "fenced", 1, "b.png"))
        await server.retention.sweep()
        assert await server.there(late) == [True]
        await server.clock.advance(7200.0)
        await server.retention.sweep()
        assert await server.there(late) == [False]

    async def test_one_that_failed_may_have_stored_some(self, server: Server) -> None:
        await server.ended("p", 10.0, files=0, status=Status.FAILED)
        stray = await server.put(output_key("p", "good", 0, "a.png"))
        await server.clock.advance(10.0)
        await server.retention.sweep()
        assert await server.there(stray) == [False]


class TestUploads:
    async def upload(self, server: Server, id: str, kept_s: float | None, *, bound: bool = False) -> FileRow:
        key, now = await server.put(upload_key(id, "a.png")), server.clock.now()
        row = FileRow(
            id=id,
            account="acme",
            key=key,
            name="a.png",
            content_type="image/png",
            size=len(CONTENT),
            sha256=SHA256,
            md5="",
            created_at=now,
            expires_at=None if kept_s is None else now + int(kept_s * 1e6),
            bound=bound,
        )
        await server.store.files.create(row)
        return row

    async def left(self, server: Server, *ids: str) -> set[str]:
        return {id for id in ids if await server.store.files.get(id, "acme")}

    async def test_only_expired_ones_are_deleted_with_their_bytes(self, server: Server) -> None:
        rows = [await self.upload(server, id, kept_s) for id, kept_s in (("a", 1.0), ("b", 9.0), ("c", None))]
        await server.clock.advance(1.0)
        assert await server.retention.sweep() == 1
        assert await self.left(server, "a", "b", "c") == {"b", "c"}
        assert await server.there(*(row.key for row in rows)) == [False, True, True]
        assert (await server.store.storage_use.get("acme")).uploads == 2 * len(CONTENT)

    async def test_one_in_an_input_lives_as_long_as_that_prediction(self, server: Server) -> None:
        row = await self.upload(server, "a", 1.0)
        await server.ended("p", 10.0, input_files={"url": row.key})
        await server.ended("q", 20.0, input_files={"url": row.key, "other": row.key})
        for seconds in (1.0, 9.0):
            await server.clock.advance(seconds)
            await server.retention.sweep()
            assert await server.there(row.key) == [True]
        await server.clock.advance(10.0)
        await server.retention.sweep()
        assert await server.there(row.key) == [False]
        assert await self.left(server, "a") == set()
        assert (await server.store.storage_use.get("acme")).total == 0

    async def test_one_with_time_of_its_own_left_stays(self, server: Server) -> None:
        row = await self.upload(server, "a", 100.0)
        await server.ended("p", 10.0, input_files={"url": row.key})
        await server.clock.advance(10.0)
        await server.retention.sweep()
        assert await self.left(server, "a") == {"a"}

    async def test_one_that_stood_in_an_input_goes_with_it(self, server: Server) -> None:
        row = await self.upload(server, "a", 100.0, bound=True)
        await server.ended("p", 10.0, input_files={"url": row.key})
        await server.clock.advance(10.0)
        await server.retention.sweep()
        assert await self.left(server, "a") == set()
        assert await server.there(row.key) == [False]


class TestWaking:
    async def test_it_wakes_when_something_is_due(self, server: Server) -> None:
        await server.retention.start()
        await server.ended("late", 30.0)
        await server.ended("soon", 10.0)
        await server.asleep()
        await server.clock.advance(9.9)
        assert server.blobs.asked == 0
        await server.clock.advance(0.1)
        await server.removed("soon")
        await server.asleep()
        assert not (await server.found("late")).data_removed
        await server.clock.advance(20.0)
        await server.removed("late")

    async def test_it_does_not_run_for_each_of_many(self, server: Server) -> None:
        await server.retention.start()
        for n in range(20):
            await server.ended(f"p{n}", 10.0 + n * LEAST_S / 40)
        await server.clock.advance(10.0)
        await server.removed("p0")
        await server.asleep()
        await server.clock.advance(LEAST_S)
        await server.removed("p19")
        assert server.blobs.asked == 2

    async def test_stop_is_safe_before_start_and_twice(self, server: Server) -> None:
        await server.retention.stop()
        await server.retention.stop()


async def test_an_output_in_use_stays_until_its_user_has_ended(server: Server) -> None:
    first = await server.ended("p", 10.0)
    key = first.files[0].key
    waiting = msgspec.structs.replace(
        first, id="q", status=Status.STARTING, completed_at=None, expires_at=None, files=(), sequence=1
    )
    waiting = msgspec.structs.replace(waiting, input_files={"url": key})
    await server.store.index.upsert([waiting])
    await server.clock.advance(10.0)
    await server.retention.sweep()
    assert (await server.found("p")).data_removed
    assert await server.there(key) == [True]
    now = server.clock.now()
    await server.store.index.upsert(
        [msgspec.structs.replace(waiting, status=Status.FAILED, completed_at=now, sequence=2)]
    )
    await server.clock.advance(keeping.AGAIN_US / 1e6)
    await server.retention.sweep()
    assert await server.there(key) == [False]
    assert (await server.store.storage_use.get("acme")).total == 0
