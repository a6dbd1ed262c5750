"""Large files that go in parts."""

import hashlib

import pytest

from coordinator.protocol.messages import PartTo, UploadTo
from gpu_agent import disk
from gpu_agent import transfer as module
from gpu_agent.bookmark import Begun, Bookmark
from gpu_agent.tls import client_context
from gpu_agent.transfer import OutputFile, Transfer, UploadDenied, UploadFailed
from tests.support.http_server import Answer, http_server

TLS = client_context()
PART = 100_000
CONTENT = bytes(range(256)) * 1500  # 3.84 parts
PIECES = [CONTENT[at : at + PART] for at in range(0, len(CONTENT), PART)]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.001)


@pytest.fixture
async def file(tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(CONTENT)
    return OutputFile(path, "large.bin", "video/mp4", *await disk.measure(path, PART))


class Desk:
    """Grants as a server does: knows which parts are there, names the missing ones."""

    def __init__(self, server, at_once=16):
        self.server = server
        self.there = set()
        self.at_once = at_once
        self.asked = []
        self.resume = "r1"

    def answer(self, request):
        number = int(request.path.rpartition("=")[2])
        assert request.body == PIECES[number - 1]
        assert request.headers["content-length"] == str(len(request.body))
        self.there.add(number)
        return Answer(201)

    async def grant(self, file, direct, resume):
        self.asked.append((direct, resume))
        missing = [n for n in range(1, len(file.parts) + 1) if n not in self.there]
        if not missing:
            return UploadTo(channel=0, request=1, key="k", url="", stored=True)
        parts = tuple(PartTo(number=n, url=f"/uploads/k?part={n}") for n in missing[: self.at_once])
        return UploadTo(channel=0, request=1, key="k", url="", parts=parts, resume=self.resume)


async def upload(server, file, grant, *, upload_s=5.0, bookmark=None):
    transfer = Transfer(server.url, TLS, input_bytes=10**6, input_s=5, upload_s=upload_s)
    try:
        return await transfer.upload(file, grant, bookmark)
    finally:
        await transfer.close()


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 3 * PART, 3 * PART + 17])
async def test_measuring_in_parts(tmp_path, size):
    path = tmp_path / "f"
    data = CONTENT[:size]
    path.write_bytes(data)
    measured = await disk.measure(path, PART)
    assert measured[:2] == (size, hashlib.sha256(data).hexdigest())
    pieces = [data[at : at + PART] for at in range(0, size, PART)] if size > PART else []
    assert measured.parts == tuple(hashlib.sha256(piece).hexdigest() for piece in pieces)
    assert await disk.measure(path) == (size, hashlib.sha256(data).hexdigest(), 0, ())


async def test_a_very_large_file_has_larger_parts(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(disk, "PARTS", 3)
    measured = await disk.measure(path, 10)
    assert measured.part_bytes == len(CONTENT) // 3
    assert len(measured.parts) == 3


async def test_each_part_by_itself(file):
    async with http_server(lambda request: desk.answer(request)) as server:
        desk = Desk(server)
        stored = await upload(server, file, desk.grant)
        assert (stored.key, stored.length, stored.sha256) == ("k", len(CONTENT), file.sha256)
        assert len(server.requests) == 4
        assert desk.asked == [(True, ""), (True, "r1")]


async def test_only_the_part_that_failed_is_sent_again(file):
    failures = {2: [Answer(503), Answer(cut=True), Answer(403)], 4: [Answer(500)]}

    def answer(request):
        number = int(request.path.rpartition("=")[2])
        return failures[number].pop(0) if failures.get(number) else desk.answer(request)

    async with http_server(answer) as server:
        desk = Desk(server)
        assert (await upload(server, file, desk.grant)).key == "k"
        sent = sorted(request.path.rpartition("=")[2] for request in server.requests)
        assert sent == ["1", "2", "2", "2", "2", "3", "4", "4"]


async def test_a_few_at_a_time(file):
    async with http_server(lambda request: desk.answer(request)) as server:
        desk = Desk(server, at_once=1)
        await upload(server, file, desk.grant)
        assert len(server.requests) == 4
        assert len(desk.asked) == 5


async def test_parts_that_go_on_coming_outlast_the_limit(file):
    """What brings a part begins the time of failures anew."""
    answers = [Answer(503)] * 3

    def answer(request):
        if len(answers) and answers[-1].status == 503:
            answers.pop()
            return Answer(503)
        answers.extend([Answer(503)] * 3)
        return desk.answer(request)

    async with http_server(answer) as server:
        desk = Desk(server, at_once=1)
        assert (await upload(server, file, desk.grant, upload_s=3.0)).key == "k"


async def test_giving_up_parts(file):
    async with http_server(lambda request: Answer(503)) as server:
        with pytest.raises(UploadFailed, match=r"large\.bin.*503"):
            await upload(server, file, Desk(server).grant, upload_s=0.05)


async def test_a_part_that_is_refused_for_good(file):
    async with http_server(lambda request: Answer(422, body=b"not these bytes")) as server:
        with pytest.raises(UploadDenied, match="422: not these bytes"):
            await upload(server, file, Desk(server).grant)


async def test_a_part_that_the_file_does_not_have(file):
    async def grant(file, direct, resume):
        return UploadTo(channel=0, request=1, key="k", url="", parts=(PartTo(number=5, url="/x"),))

    async with http_server(lambda request: Answer(201)) as server:
        with pytest.raises(UploadDenied, match="part 5"):
            await upload(server, file, grant)


async def test_a_store_that_forgets_each_time_is_given_up(file):
    count = 0

    async def grant(file, direct, resume):
        nonlocal count
        count += 1
        parts = (PartTo(number=1, url="/uploads/k?part=1"),)
        return UploadTo(channel=0, request=1, key="k", url="", parts=parts, resume=f"r{count}")

    async with http_server(lambda request: Answer(201)) as server:
        with pytest.raises(UploadFailed, match="not what was sent"):
            await upload(server, file, grant)
    assert count == module.ANEW + 1


async def test_a_server_that_has_no_parts_takes_the_whole(file):
    async def grant(file, direct, resume):
        return UploadTo(channel=0, request=1, key="k", url="/uploads/k?signature=s")

    async with http_server(lambda request: Answer(201)) as server:
        await upload(server, file, grant)
        assert server.requests[0].body == CONTENT


async def test_a_storage_that_is_away_is_asked_again(file):
    away = [UploadTo(channel=0, request=1, key="", url="")] * 2

    async def grant(file, direct, resume):
        return away.pop() if away else await desk.grant(file, direct, resume)

    async with http_server(lambda request: desk.answer(request)) as server:
        desk = Desk(server)
        assert (await upload(server, file, grant)).key == "k"


async def test_another_process_goes_on_by_the_bookmark(file):
    async with http_server(lambda request: desk.answer(request)) as server:
        desk = Desk(server)
        bookmark = Bookmark(file.path)
        assert await bookmark.read() is None
        await upload(server, file, desk.grant, bookmark=bookmark)
        later = Bookmark(file.path)
        assert await later.read() == Begun(resume="r1", part_bytes=PART)
        assert later.resume == "r1"


async def test_a_damaged_bookmark_counts_as_none(tmp_path):
    (tmp_path / "f.upload").write_bytes(b"{")
    assert await Bookmark(tmp_path / "f").read() is None
