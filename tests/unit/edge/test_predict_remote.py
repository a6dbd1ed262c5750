"""``cogflare predict`` against a server that answers as Replicate's own does, and as one that is not well."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_server import Answer, HttpServer, Request, http_server

COGFLARE = str(Path(sys.executable).with_name("cogflare"))
VERSION = "5" * 64
TEXT = {
    "type": "array",
    "items": {"type": "string"},
    "x-cog-array-type": "iterator",
    "x-cog-array-display": "concatenate",
}
FILES = {"type": "array", "items": {"type": "string", "format": "uri"}}


def as_json(value: Any, status: int = 200) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


def events(*blocks: str) -> Answer:
    body = ": hi\n\n" + "".join(f"{block}\n\n" for block in blocks)
    return Answer(200, {"Content-Type": "text/event-stream"}, body.encode())


class Replicate:
    """One model of a user, which cannot be run by its name alone; what a test says of its prediction."""

    def __init__(self, server: HttpServer, output: dict[str, Any]) -> None:
        self.server = server
        self.output = output
        self.created: Any = None
        self.shown: list[Answer | dict[str, Any]] = []
        """What GET gives, one after the other; the last one stays."""
        self.others: Callable[[Request], Answer] = lambda _: Answer(404)
        server.handler = self.answer

    def prediction(self, status: str, output: Any = None, **more: Any) -> dict[str, Any]:
        base = self.server.url
        urls = {"get": f"{base}/v1/predictions/p1", "cancel": f"{base}/v1/predictions/p1/cancel"}
        shown = {"id": "p1", "model": "acme/cat", "version": VERSION, "status": status, "output": output}
        return {**shown, "error": None, "logs": "", "urls": {**urls, **more.pop("urls", {})}, **more}

    def answer(self, request: Request) -> Answer:
        call = f"{request.method} {request.path}"
        if call == "GET /v1/models/acme/cat":
            schemas = {"Input": {"type": "object", "properties": {}}, "Output": self.output}
            document = {"components": {"schemas": schemas}}
            return as_json({"latest_version": {"id": VERSION, "openapi_schema": document}})
        if call == "POST /v1/models/acme/cat/predictions":
            return as_json({"detail": "The requested resource could not be found.", "status": 404}, 404)
        if call == "POST /v1/predictions":
            self.created = json.loads(request.body)
            return as_json(self.prediction("starting", urls=self.urls), 201)
        if call == "GET /v1/predictions/p1":
            shown = self.shown.pop(0) if len(self.shown) > 1 else self.shown[0]
            return shown if isinstance(shown, Answer) else as_json(shown)
        return self.others(request)

    urls: dict[str, str] = {}

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.server.requests if request.path == path]


@asynccontextmanager
async def replicate(output: dict[str, Any]) -> AsyncIterator[Replicate]:
    async with http_server(lambda _: Answer(500)) as server:
        yield Replicate(server, output)


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def predict(server: Replicate, folder: Path, *more: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    process = await asyncio.create_subprocess_exec(
        *(COGFLARE, "predict", "acme/cat", "--output", str(folder), "--token", "r8_secret"),
        *("--server", f"{server.server.url}/v1", *more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"r8_secret" not in out + err
    return process.returncode, out.decode(), err.decode()


async def test_a_model_of_a_user_runs_by_its_latest_version(tmp_path: Path) -> None:
    async with replicate(FILES) as server, http_server(lambda _: Answer(404)) as delivery:
        moved = Answer(302, {"Location": "/moved/out-0"})
        picture = Answer(200, {"Content-Type": "image/png"}, b"PNG")
        delivery.handler = lambda request: moved if request.path == "/x/out-0" else picture
        inline = f"data:image/webp;base64,{base64.b64encode(b'WEBP').decode()}"
        output = [f"{delivery.url}/x/out-0", inline]
        server.shown = [
            server.prediction("processing", logs="10%\r"),
            server.prediction("succeeded", output, logs="10%\r20%\rdone\n"),
        ]
        code, out, err = await predict(server, tmp_path)
        assert (code, err) == (0, "10%\r20%\rdone\n")
        assert out == f"{tmp_path}/out-0.png\n{tmp_path}/output.webp\n"
        assert (tmp_path / "out-0.png").read_bytes() == b"PNG"
        assert (tmp_path / "output.webp").read_bytes() == b"WEBP"
        assert server.created == {"version": VERSION, "input": {}}
        assert server.asked("/v1/predictions")[0].headers["prefer"] == "wait=1"
        assert server.asked("/v1/predictions")[0].headers["authorization"] == "Bearer r8_secret"
        assert len(delivery.requests) == 2
        assert not [request for request in delivery.requests if "authorization" in request.headers]


async def test_a_stream_of_another_host_that_is_cut_goes_on_where_it_was(tmp_path: Path) -> None:
    async with replicate(TEXT) as server, http_server(lambda _: Answer(404)) as streams:
        answers = [
            events("event: output\nid: 1:0\ndata: Hel", "event: logs\nid: 1:1\ndata: half a\ndata: log"),
            Answer(cut=True),
            events("event: output\nid: 2:0\ndata: lo\ndata: you", "event: done\ndata: {}"),
        ]
        streams.handler = lambda _: answers.pop(0)
        server.urls = {"stream": f"{streams.url}/v1/streams/xyz"}
        logs = "half a\nlog and\nthe rest\n"
        server.shown = [server.prediction("succeeded", ["Hel", "lo\nyou"], logs=logs)]
        code, out, err = await predict(server, tmp_path)
        assert (code, out, err) == (0, "Hello\nyou\n", "half a\nlog and\nthe rest\n")
        assert [request.headers.get("last-event-id") for request in streams.requests] == [None, "1:1", "1:1"]
        assert not [request for request in streams.requests if "authorization" in request.headers]
        assert "prefer" not in server.asked("/v1/predictions")[0].headers


async def test_without_a_stream_that_can_be_reached_it_is_polled(tmp_path: Path) -> None:
    async with replicate(TEXT) as server:
        server.urls = {"stream": "http://127.0.0.1:1/v1/streams/xyz"}
        server.shown = [
            server.prediction("processing", ["Hel"]),
            Answer(503),
            Answer(cut=True),
            server.prediction("processing", ["Hel", "lo"]),
            server.prediction("succeeded", ["Hel", "lo"]),
        ]
        assert await predict(server, tmp_path) == (0, "Hello\n", "")


async def test_a_lost_worker_begins_the_output_again(tmp_path: Path) -> None:
    async with replicate(TEXT) as server:
        server.urls = {"stream": f"{server.server.url}/v1/streams/xyz"}
        lost = 'event: error\nid: 1:2\ndata: {"detail": "The worker was lost"}'
        done = 'event: done\nid: 1:3\ndata: {"reason": "error"}'
        answers = [
            events("event: output\nid: 1:1\ndata: Hel", lost, done),
            events("event: output\nid: 2:1\ndata: Hello", "event: done\nid: 2:2\ndata: {}"),
        ]
        server.others = lambda _: answers.pop(0)
        server.shown = [server.prediction("processing"), server.prediction("succeeded", ["Hello"])]
        code, out, err = await predict(server, tmp_path)
        assert (code, out) == (0, "Hel\nHello\n")
        assert err == "cogflare: its worker was lost: it runs again, and its output begins again\n"
        assert [each.headers.get("last-event-id") for each in server.asked("/v1/streams/xyz")] == [None, None]


@pytest.mark.parametrize(
    ("shown", "code", "said"),
    [
        ({"status": "failed", "error": "no luck"}, 1, "the prediction failed: no luck"),
        ({"status": "canceled"}, 1, "the prediction was canceled"),
        ({"status": "aborted"}, 1, "the prediction was canceled"),
    ],
)
async def test_what_does_not_succeed(tmp_path: Path, shown: dict[str, Any], code: int, said: str) -> None:
    async with replicate(FILES) as server:
        server.shown = [{**server.prediction("starting"), **shown}]
        assert await predict(server, tmp_path) == (code, "", f"cogflare: {said}\n")


async def test_an_output_file_that_is_gone_is_told(tmp_path: Path) -> None:
    async with replicate(FILES) as server:
        url = f"{server.server.url}/gone"
        server.shown = [server.prediction("succeeded", [url])]
        code, out, err = await predict(server, tmp_path)
        assert (code, out) == (1, "")
        assert err == f"cogflare: the output file {url} cannot be had: the answer was 404\n"
        assert not files_in(tmp_path)


async def test_where_anything_may_be_only_what_the_server_stored_is_fetched(tmp_path: Path) -> None:
    others = {"page": "https://example.org/page", "text": "https://["}
    async with replicate({}) as server:
        stored = f"{server.server.url}/files/outputs/abc?name=a"
        server.others = lambda _: Answer(200, {"Content-Disposition": 'attachment; filename="a.bin"'}, b"1")
        server.shown = [server.prediction("succeeded", {"file": stored, **others})]
        code, out, _ = await predict(server, tmp_path)
        assert code == 0
        assert json.loads(out) == {"file": f"{tmp_path}/a.bin", **others}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (as_json({"detail": "Insufficient credit", "status": 402}, 402), 2, "Insufficient credit"),
        (as_json({"detail": "Request was throttled.\n", "status": 429}, 429), 1, "Request was throttled."),
        (Answer(200, {}, b"<html>"), 2, "does not speak Replicate's API"),
        (Answer(500, {}, b"oops"), 1, "the answer was 500"),
    ],
)
async def test_a_refusal_is_one_line(tmp_path: Path, answer: Answer, code: int, said: str) -> None:
    async with replicate({}) as server:
        model = server.answer

        def refuse(request: Request) -> Answer:
            return answer if request.method == "POST" else model(request)

        server.server.handler = refuse
        ended, out, err = await predict(server, tmp_path)
        assert (ended, out) == (code, "")
        assert err.startswith(f"cogflare: {server.server.url}")
        assert said in err
        assert len(err.splitlines()) == 1
