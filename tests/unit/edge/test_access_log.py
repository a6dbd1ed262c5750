"""What the log says of requests, and what it never says."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from coordinator.protocol.limits import DoorLimits
from edge.access_log import AccessLog, shown_path
from edge.app import create_app
from edge.logs import JsonFormatter
from tests.support.edge import BASE, MODEL, TestServer
from tests.unit.edge.test_bounded_protocol import listening


def asking(server: TestServer, log: AccessLog) -> httpx.AsyncClient:
    """A client of an application with this log."""
    app = create_app(dataclasses.replace(server.services, access=log), server.orders)
    headers = {"authorization": f"Bearer {server.token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE, headers=headers)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "edge.access_log"]


async def test_a_line_for_each_request(server: TestServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with asking(server, AccessLog("all")) as http:
        answer = await http.get("/v1/predictions?cursor=&status=failed", headers={"x-request-id": "mine-1"})
        assert answer.status_code == 200
    (line,) = lines(caplog)
    id, address, token, method, path, status, ms = line.split(" ")
    assert (id, method, path, status) == ("mine-1", "GET", "/v1/predictions", "200")
    assert address == "127.0.0.1"
    assert token.startswith("tok_")
    assert float(ms) >= 0


@pytest.mark.parametrize(
    ("level", "expected"), [("off", []), ("errors", ["404", "401"]), ("all", ["200", "404", "401"])]
)
async def test_which_requests(
    server: TestServer, caplog: pytest.LogCaptureFixture, level: Any, expected: list[str]
) -> None:
    caplog.set_level(logging.INFO)
    async with asking(server, AccessLog(level)) as http:
        await http.get("/healthz")
        await http.get("/v1/predictions/nothing")
        await http.get("/v1/predictions", headers={"authorization": "Bearer wrong-secret"})
    assert [line.split(" ")[-2] for line in lines(caplog)] == expected
    assert "wrong-secret" not in caplog.text


async def test_nothing_secret_is_in_it(server: TestServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = await server.run(["x"])
    stream = made["urls"]["stream"].rpartition("/")[2]
    secrets = [server.token, stream, "s3cret"]
    async with asking(server, AccessLog("all")) as http:
        await http.get(made["urls"]["stream"])
        await http.get(f"/v1/models/{MODEL}/websocket/s3cret")
        await http.get(f"/v1/v1/models/{MODEL}/websockets/s3cret/more")
        await http.get("/files/a/s3cret?signature=s3cret")
        await http.get("/outputs/s3cret")
        await http.get("/v1/model/a/b/websocket/s3cret")
        await http.get("/v1/predictions/x?token=s3cret")
        await http.post("/v1/predictions", json={"version": MODEL, "input": {"text": "s3cret", "n": 99}})
    assert len(lines(caplog)) == 8
    # The test's own client logs what it asks for, too.
    said = "\n".join(record.getMessage() for record in caplog.records if record.name != "httpx")
    for secret in secrets:
        assert secret not in said


@pytest.mark.parametrize(
    ("path", "served", "shown"),
    [
        ("/v1/predictions/abc/cancel", True, "/v1/predictions/abc/cancel"),
        ("/v1/predictions/a\nb c", True, "/v1/predictions/a%0Ab%20c"),
        ("/v1/streams/a/b", True, "/v1/streams/***"),
        ("/v1/models/o/n/websocket/x\ny", True, "/v1/models/o/n/websocket/***"),
        ("/models/o/n/files/x", False, "/models/o/***"),
        ("/uploads/x", True, "/uploads/***"),
        ("/v1/nothing", False, "/v1/nothing"),
        ("/v1/nothing/cf_secret", False, "/v1/nothing/***"),
        ("/" + "x" * 1000, False, "/" + "x" * 299),
    ],
)
def test_paths(path: str, served: bool, shown: str) -> None:
    assert shown_path(path, served=served) == shown


def test_a_record_as_json() -> None:
    record = logging.makeLogRecord({"name": "a.b", "levelname": "INFO", "msg": "two\n%s", "args": ("lines",)})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line) | {"at": ""} == {
        "at": "",
        "level": "info",
        "logger": "a.b",
        "message": "two\nlines",
    }
    try:
        raise ValueError("why")
    except ValueError as error:
        record = logging.makeLogRecord(
            {"exc_info": (ValueError, error, error.__traceback__), "access": {"status": 5}}
        )
    shown = json.loads(JsonFormatter().format(record))
    assert shown["status"] == 5
    assert "ValueError: why" in shown["traceback"]
    assert "message" not in shown


async def test_what_is_given_up_at_the_door_is_in_it(
    server: TestServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO)
    async with listening(server.app, DoorLimits()) as door:
        assert (await (await door.asked(b"garbage\r\n\r\n")).answer()).status == 400
    assert [line.split(" ")[1:] for line in lines(caplog)] == [["127.0.0.1", "-", "-", "-", "400", "0.0"]]


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("mine-1", True),
        ("a/b:c.d_e=", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("a b", False),
        ("", False),
        ("é", False),
    ],
)
async def test_the_clients_own_id_of_a_request(server: TestServer, given: str, taken: bool) -> None:
    answer = await server.http.get("/v1/predictions/x", headers=[(b"x-request-id", given.encode("latin-1"))])
    assert (answer.headers["x-request-id"] == given) == taken
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_a_broken_handler_tells_only_the_id(
    server: TestServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("/etc/secret-place")

    monkeypatch.setattr(type(server.services.store.files), "list", broken)
    answer = await server.http.get("/v1/files")
    id = answer.headers["x-request-id"]
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json() == {
        "title": "Internal server error",
        "detail": f"Something went wrong on our side. Request {id}.",
        "status": 500,
        "code": "internal",
        "request_id": id,
    }
    assert "secret-place" in caplog.text
    assert id in caplog.text
