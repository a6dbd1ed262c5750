"""Checks of where files are kept."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from coordinator.blobs.errors import BlobsUnavailable
from coordinator.blobs.place import FilePlace, S3Place
from edge.commands.doctoring.clocks import judged
from edge.commands.doctoring.data import NONE_HERE, directory
from edge.commands.doctoring.findings import Finding, fail, ok, skip
from edge.commands.doctoring.subject import Subject, get
from edge.storage import storage_place

_CONTENT = b"cogflare doctor was here"
AWS = "https://s3.amazonaws.com"


def probe(subject: Subject) -> Finding:
    """A file is stored, read again and removed."""
    place = storage_place(subject.storage)
    if isinstance(place, FilePlace):
        return _in_folder(place.folder) if place.folder is not None else _in_data(subject)
    try:
        return asyncio.run(_in_bucket(place))
    except BlobsUnavailable as error:
        return fail(str(error), error.hint)
    except ImportError as error:
        return fail(f"a library is not installed: {error.name}", "pip install 'cogflare[server]'")


def clock(subject: Subject) -> Finding:
    """A store refuses what is signed by a clock that is off."""
    place = storage_place(subject.storage)
    if isinstance(place, FilePlace):
        return skip("no --storage s3://...: files are on the server's disk")
    where = place.endpoint or AWS
    try:
        answer = get(where)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return fail(f"{where} does not answer: {error}", "is the store up?")
    return judged(answer.ahead_s, where)


def _in_data(subject: Subject) -> Finding:
    state = directory(subject).state
    if subject.data is None or state == "fail":
        return skip(NONE_HERE)
    return _in_folder(subject.data.blobs)


def _in_folder(folder: Path) -> Finding:
    nearest = folder if folder.is_dir() else folder.parent
    if not nearest.is_dir():
        return fail(f"there is no {nearest}", "make it, or correct --storage")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return fail(
            f"{nearest} cannot be written", "run this as the server's user, or correct the folder's owner"
        )
    path = nearest / f".doctor-{secrets.token_hex(8)}"
    try:
        path.write_bytes(_CONTENT)
        whole = path.read_bytes() == _CONTENT
    finally:
        path.unlink(missing_ok=True)
    if not whole:
        return fail(f"{nearest} gave other bytes than it was given", "check the disk")
    return ok(f"{folder}: a file was stored, read and removed")


async def _in_bucket(place: S3Place) -> Finding:
    from coordinator.blobs.s3 import S3Blobs

    blobs = await S3Blobs.open(place)
    try:
        key = f"doctor/{secrets.token_hex(8)}/probe.txt"
        try:
            await blobs.put(key, _chunks(), content_type="text/plain", length=len(_CONTENT), limit_bytes=1024)
            read = b"".join([chunk async for chunk in blobs.read(key)])
        finally:
            with contextlib.suppress(BlobsUnavailable):
                await blobs.delete(key)
        if read != _CONTENT:
            return fail(
                f"{place} gave other bytes than it was given", "what stands between here and the store?"
            )
        checked = (
            "" if blobs.abilities.enforced else "; it takes bytes of any checksum: the server reads them once"
        )
        return ok(f"{place}: an object was stored, read and removed{checked}")
    finally:
        await blobs.close()


async def _chunks() -> AsyncIterator[bytes]:
    yield _CONTENT
