"""The sweep of what has expired, killed at any instant: all of it goes in the end, and nothing else."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from coordinator.blobs.base import Stat
from coordinator.blobs.keys import output_key
from coordinator.ids import Ids
from coordinator.prediction import Attempt, Document, Status
from coordinator.protocol.messages import StoredFile
from coordinator.store.database import Store
from edge.data_dir import DataDir
from tests.support.commands import Command, Server, until

EXPIRED, KEPT, FILES = 500, 5, 2
KILLS = 3
CONTENT = b"a picture"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


async def fill(data: DataDir) -> tuple[list[str], list[str]]:
    """Ended predictions with files on the disk: (those whose time is over, those whose is not)."""
    ids, now = Ids(data.key("prediction ids")), time.time_ns() // 1000
    store = await Store.open(data.database_url)
    number = await store.objects.number("default", "test/painter")
    documents = [
        document(data.blobs, ids.make(number), now, now - 1 if n < EXPIRED else now + 10**12)
        for n in range(EXPIRED + KEPT)
    ]
    await store.index.upsert(documents)
    await store.close()
    names = [each.id for each in documents]
    return names[:EXPIRED], names[EXPIRED:]


def document(blobs: Path, id: str, now: int, expires_at: int) -> Document:
    keys = [output_key(id, "key", n, "a.txt") for n in range(FILES)]
    stat = Stat(length=len(CONTENT), sha256=SHA256, md5="", content_type="text/plain")
    for key in keys:
        path = blobs / key
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT)
        path.with_name(f"{path.name},meta").write_bytes(msgspec.json.encode(stat))
    return Document(
        id=id,
        account="default",
        token="t",
        pool="default",
        model="test/painter",
        created_at=now - 2,
        input=b"{}",
        status=Status.SUCCEEDED,
        output=msgspec.json.encode([f"cogflare://blob/{key}" for key in keys]),
        files=tuple(
            StoredFile(key=key, name="a.txt", content_type="text/plain", length=len(CONTENT), sha256=SHA256)
            for key in keys
        ),
        attempts=(
            Attempt(
                number=1, agent="a", agent_name="a", incarnation="i", dispatched_at=1, outcome="finished"
            ),
        ),
        completed_at=now - 1,
        expires_at=expires_at,
        sequence=2,
    )


def left(data: DataDir) -> int:
    folder = data.blobs / "outputs"
    return len(list(folder.iterdir())) if folder.exists() else 0


def test_kill_9_in_the_middle_of_the_sweep(serve: Callable[..., Server]) -> None:
    server = serve()
    assert server.stop() == 0
    server.close()
    data = DataDir(server.data)
    expired, kept = asyncio.run(fill(data))
    cut_off = 0
    for _ in range(KILLS):
        before = left(data)
        server.command = Command("serve", "--data", str(server.data), "--port", str(server.port))
        until(lambda before=before: left(data) < before or before == KEPT, "the sweep has begun")
        server.command.kill()
        server.command.close()
        cut_off += left(data) > KEPT
    assert cut_off, "the sweep was over before it could be killed"

    server.start()
    until(lambda: left(data) == KEPT, "the sweep goes on")
    calls = server.calls()

    def storage() -> int:
        return int(calls.http.get("/v1/account/storage").json()["outputs_bytes"])

    until(lambda: storage() == KEPT * FILES * len(CONTENT), "what is counted is what is there")
    for id in (expired[0], expired[EXPIRED // 2], expired[-1]):
        assert calls.get(id)["data_removed"] is True
    for id in kept:
        shown = calls.get(id)
        assert shown["data_removed"] is False
        assert [calls.http.get(url).content for url in shown["output"]] == [CONTENT] * FILES
