"""The sweep of uploads that never ended, on a real disk."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.blobs.base import LEFT_OVER_S
from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.errors import BlobsUnavailable
from coordinator.leftovers import Leftovers
from tests.contract.suites.uploads import KEY, PLAN
from tests.support.waiting import until


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path)


@pytest.fixture
async def leftovers(blobs: DiskBlobs) -> AsyncIterator[Leftovers]:
    leftovers = Leftovers(blobs, every_s=0.01)
    yield leftovers
    await leftovers.stop()
    await leftovers.stop()


def made_old(root: Path, id: str) -> Path:
    folder = root / ".uploads" / id
    before = folder.stat().st_mtime - LEFT_OVER_S - 60
    os.utime(folder, (before, before))
    return folder


async def test_what_is_old_goes_and_what_is_young_stays(
    blobs: DiskBlobs, leftovers: Leftovers, tmp_path: Path
) -> None:
    old = made_old(tmp_path, await blobs.uploads.begin(KEY, PLAN))
    young = await blobs.uploads.begin(KEY, PLAN)
    await leftovers.start()
    await until(lambda: not old.exists(), "the old one is gone")
    assert (tmp_path / ".uploads" / young).exists()


async def test_a_storage_that_is_away_is_swept_later(
    blobs: DiskBlobs, leftovers: Leftovers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = made_old(tmp_path, await blobs.uploads.begin(KEY, PLAN))
    clear, failures = blobs.clear, [BlobsUnavailable("away"), RuntimeError("a mistake")]

    async def failing(older_s: float) -> int:
        if failures:
            raise failures.pop(0)
        return await clear(older_s)

    monkeypatch.setattr(blobs, "clear", failing)
    await leftovers.start()
    await until(lambda: not old.exists(), "it is gone after all")
