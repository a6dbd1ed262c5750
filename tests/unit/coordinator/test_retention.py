"""Uploaded files go when their time is over, and not before."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from coordinator.actor.clock import SystemClock
from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.keys import upload_key
from coordinator.protocol.limits import ServerLimits
from coordinator.retention import Retention
from coordinator.store.database import Store, migrate
from coordinator.store.files import FileRow


async def _bytes() -> AsyncIterator[bytes]:
    yield b"picture"


async def test_only_expired_files_are_deleted_with_their_bytes(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'control.db'}"
    migrate(url)
    store, blobs, clock = await Store.open(url), DiskBlobs(tmp_path / "blobs"), SystemClock()
    digest = hashlib.sha256(b"picture").hexdigest()
    for id, expires_at in (("old", clock.now() - 1), ("young", clock.now() + 60_000_000), ("kept", None)):
        key = upload_key(id, "a.png")
        await blobs.put(key, _bytes(), content_type="image/png", limit_bytes=100)
        await store.files.create(
            FileRow(
                id=id,
                account="default",
                key=key,
                name="a.png",
                content_type="image/png",
                size=7,
                sha256=digest,
                md5="",
                created_at=1,
                expires_at=expires_at,
            )
        )
    assert await Retention(store, blobs, clock, ServerLimits()).sweep() == 1
    left = {id for id in ("old", "young", "kept") if await store.files.get(id, "default")}
    assert left == {"young", "kept"}
    assert await blobs.stat(upload_key("old", "a.png")) is None
    assert await blobs.stat(upload_key("young", "a.png")) is not None
    await store.close()
