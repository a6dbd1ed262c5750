"""Files to and from our own server."""

import hashlib

import pytest

from coordinator.protocol.messages import UploadTo
from gpu_agent import transfer as module
from gpu_agent.fetch import FetchFailed
from gpu_agent.tls import client_context
from gpu_agent.transfer import OutputFile, Transfer, UploadDenied, UploadFailed
from tests.support.http_server import Answer, http_server

TLS = client_context()
CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(CONTENT)
    return OutputFile(path, "picture.png", "image/png", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.001)


def granting(*, url="/uploads/k?signature=s", headers=None):
    asked = []

    async def grant(file, direct, resume):
        asked.append(file)
        return UploadTo(channel=0, request=len(asked), key=f"k{len(asked)}", url=url, headers=headers or {})

    return grant, asked


async def upload(server, file, grant, *, upload_s=5.0):
    transfer = Transfer(server.url, TLS, input_bytes=10**6, input_s=5, upload_s=upload_s)
    try:
        return await transfer.upload(file, grant)
    finally:
        await transfer.close()


async def test_the_whole_file_with_its_length(file):
    async with http_server(lambda request: Answer(201)) as server:
        grant, _ = granting(headers={"X-Cogflare-SHA256": file.sha256, "content-type": "image/x-special"})
        stored = await upload(server, file, grant)
        (request,) = server.requests
        assert (request.method, request.path) == ("PUT", "/uploads/k?signature=s")
        assert request.body == CONTENT
        assert request.headers["content-length"] == str(len(CONTENT))
        assert request.headers["content-type"] == "image/x-special"
        assert request.headers["x-cogflare-sha256"] == file.sha256
        assert "authorization" not in request.headers
        assert "transfer-encoding" not in request.headers
        assert (stored.key, stored.name, stored.length, stored.sha256) == (
            "k1",
            "picture.png",
            len(CONTENT),
            file.sha256,
        )


async def test_an_absolute_url_is_used_as_it_is(file):
    async with http_server(lambda request: Answer()) as ours, http_server(lambda request: Answer()) as bucket:
        await upload(ours, file, granting(url=f"{bucket.url}/b/k?X-Amz=1")[0])
        assert ours.requests == []
        assert bucket.requests[0].path == "/b/k?X-Amz=1"


async def test_a_store_that_cannot_be_reached_is_gone_around(file):
    async with http_server(lambda request: Answer(201)) as ours, http_server(lambda r: Answer(400)) as bucket:
        asked = []

        async def grant(file, direct, resume):
            asked.append(direct)
            url = f"{bucket.url}/b/k" if direct else "/uploads/k?signature=s"
            return UploadTo(channel=0, request=len(asked), key=f"k{len(asked)}", url=url)

        assert (await upload(ours, file, grant)).key == "k2"
        assert asked == [True, False]
        assert bucket.requests[0].body == ours.requests[0].body == CONTENT


async def test_a_store_that_does_not_answer_is_left_alone_for_a_while(file):
    async with (
        http_server(lambda request: Answer(201)) as ours,
        http_server(lambda r: Answer(cut=True)) as bucket,
    ):
        asked = []

        async def grant(file, direct, resume):
            asked.append(direct)
            url = f"{bucket.url}/b/k" if direct else "/uploads/k?signature=s"
            return UploadTo(channel=0, request=len(asked), key=f"k{len(asked)}", url=url)

        transfer = Transfer(ours.url, TLS, input_bytes=10**6, input_s=5, upload_s=5)
        await transfer.upload(file, grant)
        await transfer.upload(file, grant)
        await transfer.close()
        assert asked == [True, False, False]


async def test_inputs_from_where_our_server_says(tmp_path):
    def ours(request):
        if request.headers.get("cogflare-follow") == "storage":
            return Answer(307, headers={"Location": f"{bucket.url}/b/k?X-Amz=1"})
        return Answer(body=b"through us")

    answers = iter(
        [Answer(body=b"past us", headers={"Content-Disposition": "x; filename=cat.png"}), Answer(403)]
    )
    async with http_server(ours) as server, http_server(lambda request: next(answers)) as bucket:
        transfer = Transfer(server.url, TLS, input_bytes=100, input_s=5, upload_s=1)
        path = await transfer.fetch("/files/k?s=1", tmp_path)
        assert (path.name, path.read_bytes()) == ("cat.png", b"past us")
        assert "cogflare-follow" not in bucket.requests[0].headers
        path = await transfer.fetch("/files/k?s=1", tmp_path)
        assert path.read_bytes() == b"through us"
        await transfer.close()


async def test_failures_are_tried_again_with_a_new_grant(file):
    answers = iter([Answer(503), Answer(cut=True), Answer(403), Answer(200)])
    async with http_server(lambda request: next(answers)) as server:
        grant, asked = granting()
        assert (await upload(server, file, grant)).key == "k4"
        assert len(asked) == 4


async def test_giving_up(file):
    async with http_server(lambda request: Answer(503)) as server:
        with pytest.raises(UploadFailed, match=r"picture\.png.*503"):
            await upload(server, file, granting()[0], upload_s=0.05)


async def test_a_final_no(file):
    async with http_server(lambda request: Answer(413, body=b"too large for us")) as server:
        with pytest.raises(UploadDenied, match="413: too large for us"):
            await upload(server, file, granting()[0])
        assert len(server.requests) == 1
    file.path.unlink()
    async with http_server(lambda request: Answer()) as server:
        with pytest.raises(UploadDenied, match="gone"):
            await upload(server, file, granting()[0])


async def test_inputs_from_our_server(tmp_path):
    def answer(request):
        return {"/files/k/cat.png?s=1": Answer(body=b"meow")}.get(request.path, Answer(404))

    async with http_server(answer) as server:
        transfer = Transfer(server.url, TLS, input_bytes=100, input_s=5, upload_s=1)
        path = await transfer.fetch("/files/k/cat.png?s=1", tmp_path)
        assert (path.name, path.read_bytes()) == ("cat.png", b"meow")
        with pytest.raises(FetchFailed, match="404"):
            await transfer.fetch("/files/other", tmp_path)
        server.handler = lambda request: Answer(body=b"x" * 101)
        with pytest.raises(FetchFailed, match="larger than 100 bytes"):
            await transfer.fetch("/files/big", tmp_path)
        await transfer.close()
