"""Files of a whole agent with a real runner: inputs that are fetched, outputs that are stored."""

import hashlib

import pytest

from coordinator.protocol import messages as m
from coordinator.protocol.limits import WireLimits
from gpu_agent import line
from tests.support.agent_rig import Rig, value
from tests.support.http_server import Answer, http_server
from tests.support.wire_server import wire_server

COPY = """
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, image: Path, twice: bool = False) -> list[Path]:
        data = image.read_bytes()
        first = Path("/tmp") / f"cogflare-test-{image.name}"
        first.write_bytes(data[::-1])
        return [first]
"""
FRAMES = """
import tempfile, pathlib
from typing import Iterator
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, count: int) -> Iterator[Path]:
        place = pathlib.Path(tempfile.mkdtemp()) / "frame.txt"
        for number in range(count):
            place.write_text(f"frame {number}")
            yield Path(place)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(line, "FIRST_RETRY_S", 0.005)
    monkeypatch.setattr(line, "LAST_RETRY_S", 0.05)


@pytest.fixture
async def server():
    async with wire_server() as server:
        yield server


@pytest.fixture
async def rig(server, tmp_path):
    rig = Rig(server, tmp_path)
    yield rig
    await rig.stop()


async def test_files_in_and_out(server, rig):
    stored = {}

    def put(request):
        stored[request.path] = request.body
        return Answer(201)

    server.files["/files/in/cat.png?signature=s"] = b"meow"
    async with http_server(put) as storage:
        rig.start(("acme/copy", COPY))
        await server.attach()
        url = "https://public.example/v1/files/f1"
        await server.dispatch("p", {"image": url}, files={url: "/files/in/cat.png?signature=s"})
        upload = await server.next(m.Upload)
        assert (upload.prediction, upload.secret, upload.length) == ("p", "secret-p-1", 4)
        assert upload.name.endswith("cat.png")
        assert upload.sha256 == hashlib.sha256(b"woem").hexdigest()
        answer = m.UploadTo(channel=0, request=upload.request, key="out/k", url=f"{storage.url}/put/k")
        await server.send(answer)
        finished = await server.next(m.Finished)
        assert finished.status == "succeeded", finished
        assert value(finished.output) == ["cogflare://blob/out/k"]
        assert [(file.key, file.length) for file in finished.files] == [("out/k", 4)]
        assert finished.files[0].content_type == "image/png"
        assert stored == {"/put/k": b"woem"}
        await server.dispatch("q", {"image": f"{storage.url}/file"}, run_s=30.0)
        storage.handler = lambda request: Answer(404)
        finished = await server.next(m.Finished, prediction="q")
        assert (finished.status, finished.error_code) == ("failed", "input_error")
        assert finished.error.startswith("input image: could not fetch")


async def test_files_that_are_yielded_are_stored_before_they_are_told(server, rig):
    stored = {}

    def put(request):
        stored[request.path.rpartition("/")[2]] = request.body
        return Answer(201)

    async with http_server(put) as storage:
        rig.start(("acme/frames", FRAMES))
        await server.attach()
        await server.dispatch("p", {"count": 3})
        for number in range(3):
            upload = await server.next(m.Upload)
            assert not server.pending(m.Progress)
            await server.send(
                m.UploadTo(
                    channel=0, request=upload.request, key=f"k{number}", url=f"{storage.url}/k{number}"
                )
            )
            (event,) = await server.events("p", 1)
            assert value(event.data) == f"cogflare://blob/k{number}"
            assert event.files[0].key == f"k{number}"
        finished = await server.next(m.Finished)
        assert value(finished.output) == [f"cogflare://blob/k{number}" for number in range(3)]
        assert [file.key for file in finished.files] == ["k0", "k1", "k2"]
        assert stored == {f"k{number}": f"frame {number}".encode() for number in range(3)}


async def test_a_process_that_dies_while_storing_leaves_the_rest_to_the_next(server, rig):
    async with http_server(lambda request: Answer(201)) as storage:
        server.files["/cat.png"] = b"meow"
        rig.start(("acme/copy", COPY))
        await server.attach()
        await server.dispatch("p", {"image": "https://x/cat.png"}, files={"https://x/cat.png": "/cat.png"})
        await server.next(m.Upload)
        await rig.stop()
        server.forget()
        # What is left is stored before the model is there again.
        rig.start(("acme/copy", "import time\ntime.sleep(600)\n"))
        attach = await server.attach()
        assert attach.held[0].state == "running"
        upload = await server.next(m.Upload)
        assert upload.secret == "secret-p-1"
        await server.send(
            m.UploadTo(channel=upload.channel, request=upload.request, key="k", url=f"{storage.url}/k")
        )
        finished = await server.next(m.Finished)
        assert value(finished.output) == ["cogflare://blob/k"]
        assert storage.requests[0].body == b"woem"


async def copied(server):
    """Have the one file copied, once the model is ready."""
    while (attach := await server.attach()).state == "loading":
        pass
    url = "https://x/cat.png"
    await server.dispatch("p", {"image": url}, channel=attach.channel, files={url: "/cat.png"})


async def test_a_large_file_goes_on_in_parts_with_the_next_process(server, rig):
    """What the server called the upload lies beside the file; which parts it has the server knows."""
    content = bytes(range(256)) * 10
    server.protocol, server.limits = 3, WireLimits(part_bytes=1000)
    stored = {}

    def put(request):
        stored[request.path] = request.body
        return Answer(201)

    async with http_server(put) as storage:
        server.files["/cat.png"] = content[::-1]
        rig.start(("acme/copy", COPY))
        await copied(server)
        first = await server.next(m.Upload)
        pieces = [content[at : at + 1000] for at in range(0, len(content), 1000)]
        assert (first.length, first.part_bytes, first.resume) == (len(content), 1000, "")
        assert first.parts == tuple(hashlib.sha256(piece).hexdigest() for piece in pieces)
        parts = (m.PartTo(number=2, url=f"{storage.url}/2"),)
        await server.send(
            m.UploadTo(
                channel=first.channel, request=first.request, key="k", url="", parts=parts, resume="r1"
            )
        )
        second = await server.next(m.Upload)
        assert (second.resume, stored) == ("r1", {"/2": pieces[1]})
        await rig.stop()
        server.forget()
        server.limits = WireLimits(part_bytes=500)
        rig.start(("acme/copy", "import time\ntime.sleep(600)\n"))
        await server.attach()
        third = await server.next(m.Upload)
        assert (third.resume, third.part_bytes, third.parts) == ("r1", 1000, first.parts)
        await server.send(
            m.UploadTo(channel=third.channel, request=third.request, key="k", url="", stored=True)
        )
        finished = await server.next(m.Finished)
        assert value(finished.output) == ["cogflare://blob/k"]
        assert finished.files[0].sha256 == hashlib.sha256(content).hexdigest()


async def test_an_older_server_gets_large_files_whole(server, rig):
    server.protocol, server.limits = 2, WireLimits(part_bytes=1000)
    server.files["/cat.png"] = bytes(2560)
    rig.start(("acme/copy", COPY))
    await copied(server)
    upload = await server.next(m.Upload)
    assert (upload.length, upload.part_bytes, upload.parts) == (2560, 0, ())


async def test_an_input_that_the_server_has_lost(server, rig):
    rig.start(("acme/copy", COPY))
    await server.attach()
    await server.dispatch("p", None)
    finished = await server.next(m.Finished)
    assert (finished.status, finished.error_code) == ("failed", "input_error")
    assert "gone from the server's storage" in finished.error


async def test_a_refused_upload_fails_the_prediction(server, rig):
    server.files["/cat.png"] = b"meow"
    rig.start(("acme/copy", COPY))
    await server.attach()
    await server.dispatch("p", {"image": "https://x/cat.png"}, files={"https://x/cat.png": "/cat.png"})
    upload = await server.next(m.Upload)
    await server.send(m.UploadRefused(channel=0, request=upload.request, detail="larger than 3 bytes"))
    finished = await server.next(m.Finished)
    assert (finished.status, finished.error_code, finished.error) == (
        "failed",
        "upload_refused",
        "larger than 3 bytes",
    )
    assert value(finished.output) is None
