"""A bucket's file storage: the contract of all, on a real SeaweedFS, and what only a store over HTTP can do
wrong. The front between us and it breaks requests, and refuses what AWS refuses."""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from coordinator.blobs.base import DirectPut
from coordinator.blobs.errors import BadKey, BlobsUnavailable, ChecksumMismatch, Exists, TooLarge
from coordinator.blobs.parts import PART_BYTES
from coordinator.blobs.place import S3Place
from coordinator.blobs.s3 import S3Blobs
from coordinator.blobs.s3_errors import BucketRefused
from coordinator.blobs.s3_probe import Abilities
from tests.contract.suites.blobs import KEY, BlobsContract, fetch, put, sha256, stream
from tests.contract.suites.uploads import DATA, PLAN, UploadsContract
from tests.contract.suites.uploads import send as send_part
from tests.support.s3_front import S3Front
from tests.support.seaweed import BUCKET, SeaweedFS
from tests.support.waiting import until_async

LARGE = 3 * PART_BYTES + 12345
CHECKSUM, CONDITION = "x-amz-checksum-sha256", "if-none-match"


@pytest.fixture(autouse=True)
def _credentials(seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def place(seaweed: SeaweedFS) -> S3Place:
    return S3Place(BUCKET, f"t{secrets.token_hex(4)}/", seaweed.endpoint)


@pytest.fixture
async def blobs(place: S3Place) -> AsyncIterator[S3Blobs]:
    blobs = await S3Blobs.open(place)
    yield blobs
    await blobs.close()


@pytest.fixture
async def front(seaweed: SeaweedFS) -> AsyncIterator[S3Front]:
    async with S3Front(seaweed.endpoint) as front:
        yield front


@pytest.fixture
async def behind(front: S3Front, place: S3Place) -> AsyncIterator[S3Blobs]:
    """The same storage, through the front."""
    blobs = await S3Blobs.open(S3Place(place.bucket, place.prefix, front.endpoint))
    front.requests.clear()
    yield blobs
    await blobs.close()


@pytest.fixture
async def simple(front: S3Front, place: S3Place) -> AsyncIterator[S3Blobs]:
    """A store that knows neither checksums nor conditions."""
    front.forgets = {CHECKSUM, CONDITION}
    blobs = await S3Blobs.open(S3Place(place.bucket, place.prefix, front.endpoint))
    yield blobs
    await blobs.close()


def large() -> bytes:
    return secrets.token_bytes(LARGE)


async def keys(blobs: S3Blobs) -> list[str]:
    """Every object below the prefix of this test."""
    place: S3Place = blobs._place
    found = await blobs._client.list_objects_v2(Bucket=place.bucket, Prefix=place.prefix)
    return sorted(each["Key"].removeprefix(place.prefix) for each in found.get("Contents", ()))


async def uploads(blobs: S3Blobs) -> list[Any]:
    place: S3Place = blobs._place
    found = await blobs._client.list_multipart_uploads(Bucket=place.bucket, Prefix=place.prefix)
    return list(found.get("Uploads", ()))


async def direct(blobs: S3Blobs, data: bytes, key: str = KEY, ttl_s: float = 60.0) -> DirectPut:
    given = await blobs.put_url(
        key, length=len(data), sha256=sha256(data), content_type="image/png", ttl_s=ttl_s
    )
    assert given is not None
    return given


async def send(to: DirectPut, data: bytes, **more: str) -> httpx.Response:
    async with httpx.AsyncClient() as web:
        return await web.put(to.url, content=data, headers=to.headers | more)


class TestS3Blobs(BlobsContract, UploadsContract):
    def test_what_this_store_can(self, blobs: S3Blobs) -> None:
        assert blobs.abilities == Abilities(checksums=True, parts=True, conditions=True)


class TestASimplerStore(BlobsContract, UploadsContract):
    """One that takes any bytes and overwrites what is there keeps the contract, too."""

    @pytest.fixture
    def blobs(self, simple: S3Blobs) -> S3Blobs:
        assert simple.abilities == Abilities(checksums=False, parts=False, conditions=False)
        return simple


@pytest.mark.parametrize("announced", [True, False])
async def test_a_large_blob_is_a_multipart_upload(behind: S3Blobs, front: S3Front, announced: bool) -> None:
    data = large()
    stored = await behind.put(
        KEY,
        stream(*(data[at : at + 900_000] for at in range(0, LARGE, 900_000))),
        content_type="video/mp4",
        sha256=sha256(data) if announced else None,
        limit_bytes=LARGE,
    )
    assert stored.sha256 == sha256(data)
    assert stored.md5 == hashlib.md5(data).hexdigest()
    assert front.count("PUT", "partNumber=") == 4
    stat = await behind.stat(KEY)
    assert stat is not None
    assert (stat.length, stat.sha256, stat.content_type) == (LARGE, sha256(data), "video/mp4")
    assert await fetch(behind, KEY) == data
    assert await keys(behind) == [KEY]
    assert await uploads(behind) == []


async def test_of_a_large_blob_that_is_wrong_nothing_stays(blobs: S3Blobs) -> None:
    with pytest.raises(ChecksumMismatch):
        await blobs.put(KEY, stream(large()), content_type="a/b", sha256=sha256(b"other"), limit_bytes=LARGE)
    assert await keys(blobs) == []
    assert await uploads(blobs) == []


@pytest.mark.parametrize("announced", [True, False])
async def test_a_large_upload_that_is_cut_off_leaves_no_parts(blobs: S3Blobs, announced: bool) -> None:
    data, waiting = large(), asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield data
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(
        blobs.put(
            KEY,
            stuck(),
            content_type="a/b",
            sha256=sha256(data) if announced else None,
            limit_bytes=LARGE,
        )
    )
    await asyncio.wait_for(waiting.wait(), 30)
    assert len(await uploads(blobs)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await uploads(blobs) == []
    assert await keys(blobs) == []


async def test_what_a_killed_process_has_left_is_cleared(blobs: S3Blobs, place: S3Place) -> None:
    await put(blobs, KEY, b"hello")
    for name in ("outputs/x", "staging/y"):
        name = place.prefix + name
        begun = await blobs._client.create_multipart_upload(Bucket=place.bucket, Key=name)
        await blobs._client.upload_part(
            Bucket=place.bucket, Key=name, UploadId=begun["UploadId"], PartNumber=1, Body=b"x"
        )
    await blobs._client.put_object(Bucket=place.bucket, Key=f"{place.prefix}staging/z", Body=b"x")
    assert await blobs.clear(3600) == 0
    assert await blobs.clear(-5) == 3
    assert await uploads(blobs) == []
    assert await keys(blobs) == [KEY]


async def test_a_large_blob_again_and_another_one(blobs: S3Blobs) -> None:
    first, other = large(), large()
    for data in (first, first):
        await blobs.put(KEY, stream(data), content_type="a/b", sha256=sha256(data), limit_bytes=LARGE)
    with pytest.raises(Exists):
        await blobs.put(KEY, stream(other), content_type="a/b", sha256=sha256(other), limit_bytes=LARGE)
    assert await uploads(blobs) == []
    stat = await blobs.stat(KEY)
    assert stat is not None
    assert stat.sha256 == sha256(first)


async def test_errors_of_the_store_are_tried_again(behind: S3Blobs, front: S3Front) -> None:
    front.fail = [500, 503]
    await put(behind, KEY, b"hello")
    front.fail = [500]
    assert await fetch(behind, KEY) == b"hello"


async def test_a_store_that_fails_on_is_said(behind: S3Blobs, front: S3Front) -> None:
    front.fail = [500] * 4
    with pytest.raises(BlobsUnavailable, match="InternalError"):
        await put(behind, KEY, b"hello")
    assert front.fail == []
    assert await behind.stat(KEY) is None
    await put(behind, KEY, b"hello")


async def test_a_slow_store_is_waited_for(behind: S3Blobs, front: S3Front) -> None:
    front.delay_s = 0.2
    await put(behind, KEY, b"hello")
    assert await fetch(behind, KEY) == b"hello"


async def test_a_download_that_breaks_off_goes_on(behind: S3Blobs, front: S3Front) -> None:
    data = large()
    await behind.put(KEY, stream(data), content_type="a/b", limit_bytes=LARGE)
    front.requests.clear()
    front.cut_after_bytes = 3_000_000
    assert await fetch(behind, KEY, 5) == data[5:]
    assert front.count("GET") == 2


async def test_a_thousand_are_deleted_by_one_request(behind: S3Blobs, front: S3Front) -> None:
    keys = [f"outputs/p{n}/a/0/x" for n in range(1001)]
    for key in keys[:3]:
        await put(behind, key, b"x")
    front.requests.clear()
    await behind.delete_many(keys)
    assert [method for method, path in front.requests if "delete" in path] == ["POST"]
    assert len(front.requests) == 2
    assert [await behind.stat(key) for key in keys[:3]] == [None] * 3


async def test_a_store_that_knows_no_such_request_deletes_one_by_one(behind: S3Blobs, front: S3Front) -> None:
    for key in ("a/1", "a/2", "a/3"):
        await put(behind, key, b"x")
    front.fail = [501]
    await behind.delete_many(["a/1", "a/2"])
    front.requests.clear()
    await behind.delete_prefix("a")
    assert front.count("POST") == 0
    assert [await behind.stat(key) for key in ("a/1", "a/2", "a/3")] == [None] * 3


async def test_what_is_staged_below_a_prefix_goes_with_it(simple: S3Blobs) -> None:
    grant = await simple.put_url(KEY, length=1, sha256=sha256(b"x"), content_type="a/b", ttl_s=60)
    assert grant is not None
    async with httpx.AsyncClient() as http:
        assert (await http.put(grant.url, content=b"x", headers=grant.headers)).status_code == 200
    await simple.delete_prefix(KEY.rpartition("/")[0])
    assert await simple.stat(KEY) is None


async def test_a_store_that_is_away_is_said() -> None:
    with pytest.raises(BlobsUnavailable, match="cannot be reached"):
        await S3Blobs.open(S3Place(BUCKET, "", "http://127.0.0.1:9"))


async def test_a_bucket_that_is_missing_is_said(seaweed: SeaweedFS) -> None:
    with pytest.raises(BucketRefused, match="there is no bucket nothing-here") as caught:
        await S3Blobs.open(S3Place("nothing-here", "", seaweed.endpoint))
    assert "create the bucket" in caught.value.hint


@pytest.mark.parametrize(
    ("variable", "hint"),
    [("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"), ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY")],
)
async def test_a_wrong_key_is_said(
    place: S3Place, monkeypatch: pytest.MonkeyPatch, variable: str, hint: str
) -> None:
    monkeypatch.setenv(variable, "wrong")
    with pytest.raises(BucketRefused) as caught:
        await S3Blobs.open(place)
    assert hint in caught.value.hint


async def test_no_key_is_said(place: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BucketRefused, match="no credentials") as caught:
        await S3Blobs.open(place)
    assert "AWS_PROFILE" in caught.value.hint


async def test_a_prefix_that_leaves_no_room_for_a_key(place: S3Place, blobs: S3Blobs) -> None:
    key = "/".join(["k" * 240] * 4 + ["k" * 55])
    with pytest.raises(BadKey):
        await put(blobs, key, b"x")


class TestWithoutUs:
    """Signed URLs of the bucket itself."""

    async def test_exactly_the_announced_bytes_are_taken(self, behind: S3Blobs) -> None:
        to = await direct(behind, b"hello")
        assert (await send(to, b"other")).status_code == 400
        assert await behind.stat(KEY) is None
        assert (await send(to, b"hello!")).status_code == 403
        assert (await send(to, b"hello")).status_code == 200
        assert (await send(to, b"hello")).status_code == 200  # its answer may have been lost
        stat = await behind.stat(KEY)
        assert stat is not None
        assert (stat.length, stat.sha256, stat.content_type) == (5, sha256(b"hello"), "image/png")
        assert await fetch(behind, KEY) == b"hello"

    async def test_a_url_is_good_for_its_key_and_for_a_time(self, behind: S3Blobs) -> None:
        to = await direct(behind, b"hello")
        elsewhere = DirectPut(url=to.url.replace("picture.png", "other.png"), headers=to.headers)
        assert (await send(elsewhere, b"hello")).status_code == 403
        other = to.headers | {CHECKSUM: base64.b64encode(hashlib.sha256(b"other").digest()).decode()}
        assert (await send(DirectPut(url=to.url, headers=other), b"other")).status_code == 403
        assert "X-Amz-Expires=60" in to.url
        assert await keys(behind) == []

    async def test_an_upload_that_breaks_off_is_no_blob(self, blobs: S3Blobs) -> None:
        data = large()
        to = await direct(blobs, data)

        async def half() -> AsyncIterator[bytes]:
            yield data[: LARGE // 2]
            raise ConnectionResetError("the agent was killed")

        with pytest.raises(ConnectionResetError):
            async with httpx.AsyncClient() as web:
                headers = to.headers | {"content-length": str(LARGE)}
                await web.put(to.url, content=half(), headers=headers)
        assert await blobs.stat(KEY) is None
        assert (await send(to, data)).status_code == 200
        stat = await blobs.stat(KEY)
        assert stat is not None
        assert stat.sha256 == sha256(data)

    async def test_a_token_beside_the_signature_is_refused_as_at_aws(self, behind: S3Blobs) -> None:
        to = await direct(behind, b"hello")
        assert (await send(to, b"hello", Authorization="Bearer x")).status_code == 400

    async def test_a_reader_gets_name_and_type(self, behind: S3Blobs) -> None:
        await put(behind, KEY, b"0123456789", content_type="image/png")
        url = await behind.get_url(KEY, name="Bild ü.png", content_type="image/png", ttl_s=60)
        assert url is not None
        async with httpx.AsyncClient() as web:
            whole = await web.get(url)
            part = await web.get(url, headers={"Range": "bytes=2-4"})
        assert (whole.status_code, whole.content) == (200, b"0123456789")
        assert whole.headers["content-type"] == "image/png"
        assert "filename*=UTF-8''Bild%20%C3%BC.png" in whole.headers["content-disposition"]
        assert (part.status_code, part.content) == (206, b"234")

    async def test_what_is_too_large_for_one_request_comes_to_us(self, blobs: S3Blobs) -> None:
        length = 5 * 1024**3 + 1
        assert await blobs.put_url(KEY, length=length, sha256="0" * 64, content_type="a/b", ttl_s=60) is None

    async def test_a_store_that_checks_nothing_is_checked(self, simple: S3Blobs) -> None:
        to = await direct(simple, b"hello")
        assert (await send(to, b"other")).status_code == 200
        assert await simple.stat(KEY) is None
        assert await keys(simple) == []
        assert (await send(to, b"hello")).status_code == 200
        stats = await asyncio.gather(simple.stat(KEY), simple.stat(KEY))
        assert {stat.sha256 for stat in stats if stat is not None} == {sha256(b"hello")}
        assert await keys(simple) == [KEY]
        assert await fetch(simple, KEY) == b"hello"

    async def test_in_such_a_store_a_blob_stays_what_it_is(self, simple: S3Blobs) -> None:
        to = await direct(simple, b"hello")
        await send(to, b"hello")
        assert await simple.stat(KEY) is not None
        await send(to, b"other")  # the URL is good for a while, and lies beside the blob
        assert await fetch(simple, KEY) == b"hello"
        with pytest.raises(Exists):
            await put(simple, KEY, b"third")


class TestPartsWithoutUs:
    """Signed URLs of the bucket for parts of a blob."""

    async def place(self, blobs: S3Blobs, id: str, number: int, ttl_s: float = 60.0) -> DirectPut:
        given = await blobs.uploads.put_url(KEY, id, PLAN.part(number), ttl_s)
        assert given is not None
        return given

    def piece(self, number: int) -> bytes:
        part = PLAN.part(number)
        return DATA[part.start : part.start + part.length]

    async def put_all(self, blobs: S3Blobs) -> str:
        id = await blobs.uploads.begin(KEY, PLAN)
        for number in (2, 3, 1):
            to = await self.place(blobs, id, number)
            assert (await send(to, self.piece(number))).status_code == 200
        return id

    async def test_parts_past_us_make_a_blob(self, blobs: S3Blobs) -> None:
        id = await self.put_all(blobs)
        assert await blobs.uploads.present(KEY, id, PLAN) == {1, 2, 3}
        await blobs.uploads.complete(KEY, id, PLAN)
        stat = await blobs.stat(KEY)
        assert stat is not None
        assert (stat.length, stat.sha256, stat.content_type) == (len(DATA), PLAN.sha256, "video/mp4")
        assert await fetch(blobs, KEY) == DATA
        assert await uploads(blobs) == []

    async def test_the_store_keeps_the_checksum_of_all_parts(self, blobs: S3Blobs, place: S3Place) -> None:
        await blobs.uploads.complete(KEY, await self.put_all(blobs), PLAN)
        found = await blobs._client.head_object(
            Bucket=place.bucket, Key=place.prefix + KEY, ChecksumMode="ENABLED"
        )
        digest = hashlib.sha256(b"".join(bytes.fromhex(each) for each in PLAN.parts)).digest()
        assert found["ChecksumSHA256"] == f"{base64.b64encode(digest).decode()}-3"

    async def test_exactly_the_announced_part_is_taken(self, behind: S3Blobs) -> None:
        id = await behind.uploads.begin(KEY, PLAN)
        to = await self.place(behind, id, 3)
        assert (await send(to, b"x" * 777)).status_code == 400
        assert (await send(to, b"x" * 778)).status_code == 403
        elsewhere = DirectPut(url=to.url.replace("partNumber=3", "partNumber=2"), headers=to.headers)
        assert (await send(elsewhere, self.piece(3))).status_code == 403
        assert (await send(to, self.piece(3), Authorization="Bearer x")).status_code == 400
        assert await behind.uploads.present(KEY, id, PLAN) == set()
        assert (await send(to, self.piece(3))).status_code == 200
        assert (await send(to, self.piece(3))).status_code == 200  # its answer may have been lost
        assert await behind.uploads.present(KEY, id, PLAN) == {3}

    async def test_a_url_ends_and_another_one_goes_on(self, blobs: S3Blobs) -> None:
        id = await blobs.uploads.begin(KEY, PLAN)
        old = await self.place(blobs, id, 3, ttl_s=1.0)

        async def refused() -> bool:
            return (await send(old, self.piece(3))).status_code == 403

        await until_async(refused, "the URL has ended", 10)
        assert (await send(await self.place(blobs, id, 3), self.piece(3))).status_code == 200

    async def test_a_part_that_breaks_off_is_none(self, blobs: S3Blobs) -> None:
        id = await blobs.uploads.begin(KEY, PLAN)
        to = await self.place(blobs, id, 1)

        async def half() -> AsyncIterator[bytes]:
            yield self.piece(1)[: PLAN.part_bytes // 2]
            raise ConnectionResetError("the agent was killed")

        with pytest.raises(ConnectionResetError):
            async with httpx.AsyncClient() as web:
                headers = to.headers | {"content-length": str(PLAN.part_bytes)}
                await web.put(to.url, content=half(), headers=headers)
        assert await blobs.uploads.present(KEY, id, PLAN) == set()
        assert (await send(to, self.piece(1))).status_code == 200

    async def test_errors_of_the_store_are_tried_again(self, behind: S3Blobs, front: S3Front) -> None:
        front.fail = [500]
        id = await behind.uploads.begin(KEY, PLAN)
        for number in (1, 2, 3):
            await send_part(behind, id, number)
        front.fail = [503, 500]
        assert await behind.uploads.present(KEY, id, PLAN) == {1, 2, 3}
        front.fail = [500]
        await behind.uploads.complete(KEY, id, PLAN)
        assert await fetch(behind, KEY) == DATA

    async def test_a_store_that_fails_on_is_said(self, behind: S3Blobs, front: S3Front) -> None:
        id = await behind.uploads.begin(KEY, PLAN)
        front.fail = [500]
        with pytest.raises(BlobsUnavailable, match="500"):
            await send_part(behind, id, 3)  # the bytes come once: it is the agent who sends them again
        front.fail = [500] * 4
        with pytest.raises(BlobsUnavailable):
            await behind.uploads.present(KEY, id, PLAN)
        await send_part(behind, id, 3)
        assert await behind.uploads.present(KEY, id, PLAN) == {3}

    async def test_a_completion_whose_answer_is_lost(self, behind: S3Blobs, front: S3Front) -> None:
        id = await self.put_all(behind)
        front.cut_after_bytes = 10
        front.cut_what = "POST"
        await behind.uploads.complete(KEY, id, PLAN)
        assert front.cut_after_bytes is None
        stat = await behind.stat(KEY)
        assert stat is not None
        assert stat.sha256 == PLAN.sha256
        assert await uploads(behind) == []

    async def test_a_slow_store_is_waited_for(self, behind: S3Blobs, front: S3Front) -> None:
        front.delay_s = 0.1
        id = await self.put_all(behind)
        await behind.uploads.complete(KEY, id, PLAN)
        assert await behind.stat(KEY) is not None

    async def test_a_store_that_checks_nothing_is_read_once(self, simple: S3Blobs) -> None:
        id = await simple.uploads.begin(KEY, PLAN)
        for number in (1, 2, 3):
            wrong = b"x" * 777 if number == 3 else self.piece(number)
            assert (await send(await self.place(simple, id, number), wrong)).status_code == 200
        await simple.uploads.complete(KEY, id, PLAN)
        assert await simple.stat(KEY) is None
        assert await keys(simple) == []
        await simple.uploads.complete(KEY, await self.put_all(simple), PLAN)
        stats = await asyncio.gather(simple.stat(KEY), simple.stat(KEY))
        assert {stat.sha256 for stat in stats if stat is not None} == {PLAN.sha256}
        assert await keys(simple) == [KEY]

    async def test_what_no_store_copies_at_once_does_not_go_in_parts_there(
        self, simple: S3Blobs, blobs: S3Blobs
    ) -> None:
        plan = msgspec.structs.replace(PLAN, length=5 * 1024**3 + 1)
        with pytest.raises(TooLarge):
            await simple.uploads.begin(KEY, plan)
        await blobs.uploads.abort(KEY, await blobs.uploads.begin(KEY, plan))
