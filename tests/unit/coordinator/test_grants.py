"""Where agents may put large files, part by part, in virtual time and on a real disk."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.errors import BlobsUnavailable, Expired
from coordinator.blobs.keys import output_prefix
from coordinator.blobs.signing import PUT_PATH, Signer, UploadGrant
from coordinator.grants import AT_ONCE, Grants
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import LEAST_PART_BYTES, PARTS, ServerLimits
from tests.support.virtual_clock import VirtualClock, breathe

PART = LEAST_PART_BYTES
ZEROS = hashlib.sha256(bytes(PART)).hexdigest()
SIZE = 20 * PART
WHOLE = hashlib.sha256(bytes(SIZE)).hexdigest()
LIMITS = ServerLimits()


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path / "blobs")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


SIGNER = Signer(b"s" * 32)


@pytest.fixture
async def grants(blobs: DiskBlobs, clock: VirtualClock) -> AsyncIterator[Grants]:
    grants = Grants(blobs, SIGNER, clock, LIMITS)
    yield grants
    await grants.stop()


def question(resume: str = "", request: int = 1, **fields: Any) -> wire.Upload:
    """A file of zeros: each of its parts is like the others."""
    given: dict[str, Any] = {"length": SIZE, "part_bytes": PART, "parts": (ZEROS,) * 20}
    given |= {"content_type": "video/mp4", "sha256": WHOLE}
    return wire.Upload(
        channel=3,
        request=request,
        prediction="p",
        attempt=1,
        secret="s",
        name="a.bin",
        resume=resume,
        **(given | fields),
    )


async def ask(grants: Grants, upload: wire.Upload, attempt_key: str = "k") -> wire.UploadTo:
    answer = await grants.answer(upload, attempt_key)
    assert isinstance(answer, wire.UploadTo)
    return answer


def grant_of(url: str, now: int = 0) -> UploadGrant:
    parts = urlsplit(url)
    return SIGNER.verify_put(parts.path.removeprefix(PUT_PATH), dict(parse_qsl(parts.query, True)), now)


async def send(blobs: DiskBlobs, answer: wire.UploadTo, *numbers: int) -> None:
    """What an agent and the edge do with the answer, for these parts or all."""
    for part in answer.parts:
        if numbers and part.number not in numbers:
            continue
        grant = grant_of(part.url)

        async def zeros() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield bytes(PART // 5)

        assert grant.part is not None
        await blobs.uploads.put(grant.key, grant.upload, grant.part, zeros())


async def test_missing_parts_are_named_until_it_is_stored(grants: Grants, blobs: DiskBlobs) -> None:
    first = await ask(grants, question())
    assert [part.number for part in first.parts] == list(range(1, AT_ONCE + 1))
    await send(blobs, first, 1, 2, 5)
    second = await ask(grants, question(first.resume, 2))
    assert (second.key, second.resume) == (first.key, first.resume)
    assert [part.number for part in second.parts] == [3, 4, *range(6, 20)]
    await send(blobs, second)
    third = await ask(grants, question(first.resume, 3))
    assert [part.number for part in third.parts] == [20]
    await send(blobs, third)
    done = await ask(grants, question(first.resume, 4))
    assert (done.stored, done.key, done.parts) == (True, first.key, ())
    stat = await blobs.stat(done.key)
    assert stat is not None
    assert (stat.length, stat.content_type) == (SIZE, "video/mp4")
    again = await ask(grants, question(first.resume, 5))
    assert (again.stored, again.key) == (True, first.key)


async def test_another_process_goes_on(grants: Grants, blobs: DiskBlobs, clock: VirtualClock) -> None:
    first = await ask(grants, question())
    await send(blobs, first, 7)
    after = Grants(blobs, SIGNER, clock, LIMITS)
    second = await ask(after, question(first.resume))
    assert 7 not in [part.number for part in second.parts]
    assert second.key == first.key


async def test_urls_end_and_new_ones_are_given(grants: Grants, clock: VirtualClock) -> None:
    first = await ask(grants, question())
    later = clock.now() + int(LIMITS.upload_ttl_s * 1e6) + 1_000_000
    with pytest.raises(Expired):
        grant_of(first.parts[0].url, later)
    await clock.advance(LIMITS.upload_ttl_s)
    second = await ask(grants, question(first.resume))
    assert grant_of(second.parts[0].url, later).upload == grant_of(first.parts[0].url).upload


@pytest.mark.parametrize(
    "other",
    [
        {"length": SIZE - 1},
        {"sha256": "a" * 64},
        {"parts": ("b" * 64, *(ZEROS,) * 19)},
        {"content_type": "text/plain"},
    ],
)
async def test_what_was_begun_is_for_one_content(
    grants: Grants, blobs: DiskBlobs, other: dict[str, Any]
) -> None:
    first = await ask(grants, question())
    await send(blobs, first, 1)
    second = await ask(grants, question(first.resume, 2, **other))
    assert second.resume != first.resume
    assert second.key != first.key
    assert second.parts[0].number == 1


@pytest.mark.parametrize("made_up", ["x", "x y z", "{mac} outputs/p/k/1/a.bin 00", "{mac} {key} 00"])
async def test_made_up_words_begin_anew(grants: Grants, made_up: str) -> None:
    first = await ask(grants, question())
    mac, key, _ = first.resume.split(" ")
    second = await ask(grants, question(made_up.format(mac=mac, key=key), 2))
    assert second.key != first.key


async def test_another_attempt_has_no_part_in_it(grants: Grants) -> None:
    first = await ask(grants, question())
    assert first.key.startswith(output_prefix("p", "k"))
    second = await ask(grants, question(first.resume), attempt_key="other")
    assert second.key.startswith(output_prefix("p", "other"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"part_bytes": PART - 1}, f"{PART} bytes or more"),
        ({"parts": (ZEROS,) * (PARTS + 1)}, f"{PARTS} parts at most"),
        ({"parts": (ZEROS,) * 19}, "19 parts"),
        ({"parts": (*(ZEROS,) * 19, "none")}, "SHA-256"),
        ({"length": LIMITS.output_file_bytes + 1}, "output_file_bytes"),
    ],
)
async def test_parts_that_cannot_be_are_refused(grants: Grants, wrong: dict[str, Any], said: str) -> None:
    answer = await grants.answer(question(**wrong), "k")
    assert isinstance(answer, wire.UploadRefused)
    assert said in answer.detail


async def test_an_end_gives_up_what_is_on_its_way(grants: Grants, blobs: DiskBlobs, tmp_path: Path) -> None:
    first = await ask(grants, question())
    await send(blobs, first, 1)
    await ask(grants, msgspec.structs.replace(question(), prediction="other"))
    grants.ended("p")
    grants.ended("p")
    folder = tmp_path / "blobs" / ".uploads"
    while len(list(folder.iterdir())) > 1:
        await breathe()
    anew = await ask(grants, question(first.resume, 2))
    assert anew.key != first.key


async def test_a_storage_that_is_away_means_later(
    grants: Grants, blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await ask(grants, question())

    async def away(*_: object) -> set[int]:
        raise BlobsUnavailable("storage is away")

    monkeypatch.setattr(blobs.uploads, "present", away)
    answer = await ask(grants, question(first.resume))
    assert (answer.url, answer.parts, answer.stored) == ("", (), False)
