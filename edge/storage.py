"""Opens the storage of files that ``--storage`` names, or says what is wrong with it."""

import asyncio
import logging
import time
from pathlib import Path

from coordinator.blobs.base import Blobs
from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.errors import BlobsUnavailable
from coordinator.blobs.place import BadPlace, FilePlace, Place, S3Place, place_of
from edge.exits import CommandFailed, ExitCode

log = logging.getLogger(__name__)

PATIENCE_S = 20.0
"""How long a store is waited for that does not answer: it may be starting beside us."""
AGAIN_S = 1.0


def storage_place(url: str) -> Place:
    """What ``--storage`` means. Raises CommandFailed."""
    try:
        return place_of(url)
    except BadPlace as error:
        raise CommandFailed(f"--storage: {error}", ExitCode.USAGE) from None


async def open_storage(place: Place, default: Path) -> Blobs:
    """Storage that has been tried; ``close`` it. Raises CommandFailed."""
    try:
        if isinstance(place, FilePlace):
            return DiskBlobs(place.folder or default)
        return await _bucket(place)
    except BlobsUnavailable as error:
        raise CommandFailed(f"--storage: {error}", ExitCode.STORAGE, error.hint) from error


async def _bucket(place: S3Place) -> Blobs:
    try:
        # Only here: the library takes half a second to load and memory to keep.
        from coordinator.blobs.s3 import S3Blobs
        from coordinator.blobs.s3_errors import BucketRefused
    except ImportError as error:
        raise CommandFailed(
            f"--storage s3:// needs a library that is not installed: {error.name}",
            ExitCode.NOT_INSTALLED,
            "pip install 'cogflare[server]'",
        ) from None
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            blobs = await S3Blobs.open(place)
        except BucketRefused:
            raise
        except BlobsUnavailable as error:
            if time.monotonic() > deadline:
                raise
            log.warning("waiting for the storage of files: %s", error)
            await asyncio.sleep(AGAIN_S)
        else:
            break
    if not blobs.abilities.enforced:
        log.warning("%s takes bytes of any checksum: what agents store is read and checked once", place)
    return blobs
