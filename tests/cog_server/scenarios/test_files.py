"""Files in and out."""

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from tests.cog_server.targets import Target
from tests.support.receiver import Received, Receiver, Reply

TEXT = base64.b64encode(b"abc").decode()


@pytest.fixture
def files(shared: Callable[[str], Target]) -> Target:
    return shared("files")


def content(url: str) -> bytes:
    head, _, data = url.partition(",")
    assert head.startswith("data:")
    assert head.endswith(";base64")
    return base64.b64decode(unquote_to_bytes(data))


def test_a_data_url_in_and_out(files: Target) -> None:
    found = files.succeeded({"file": f"data:text/plain;base64,{TEXT}"})
    assert [content(url) for url in found["output"]] == [b"cba0"]
    assert found["output"][0].startswith("data:text/plain;")


def test_several_files_keep_their_order(files: Target) -> None:
    found = files.succeeded({"file": f"data:text/plain;base64,{TEXT}", "copies": 5})
    assert [content(url) for url in found["output"]] == [b"cba%d" % number for number in range(5)]


def test_a_url_is_fetched_and_keeps_its_name(files: Target, hooks: Receiver) -> None:
    hooks.answer = lambda request: Reply(body=b"xyz")
    found = files.succeeded({"file": f"{hooks.url}/some%20name.tar.gz?signature=1"})
    assert content(found["output"][0]) == b"zyx0"
    assert "got some name.tar.gz\n" in found["logs"]
    assert hooks.received[0].path == "/some%20name.tar.gz?signature=1"


def test_a_url_that_answers_404_fails_the_prediction(files: Target, hooks: Receiver) -> None:
    hooks.answer = lambda request: Reply(404, body=b"no such file")
    found = files.predict({"file": f"{hooks.url}/a.txt"}).json()
    assert found["status"] == "failed"
    assert "404" in found["error"]


def test_a_path_of_the_servers_own_disk_is_refused(files: Target) -> None:
    answer = files.predict({"file": "/etc/hostname"})
    assert answer.status_code == 422 or answer.json()["status"] == "failed"


def test_files_that_are_yielded(shared: Callable[[str], Target]) -> None:
    found = shared("stream_files").succeeded({"count": 3})
    assert [content(url) for url in found["output"]] == [b"file 0", b"file 1", b"file 2"]


def test_output_file_prefix(files: Target, hooks: Receiver) -> None:
    found = files.succeeded(
        {"file": f"data:text/plain;base64,{TEXT}"},
        id="the-id",
        output_file_prefix=f"{hooks.url}/bucket/?token=t".partition("?")[0],
    )
    request = hooks.received[0]
    assert request.method == "PUT"
    assert request.path == "/bucket/cog-server-test-0.txt"
    assert found["output"] == [f"{hooks.url}/bucket/cog-server-test-0.txt"]
    kind = request.headers["content-type"]
    assert kind.startswith("multipart/form-data; boundary=")
    head, _, rest = request.body.partition(b"\r\n\r\n")
    assert b'name="file"' in head
    assert b'filename="cog-server-test-0.txt"' in head
    assert rest.startswith(b"cba0\r\n--")


@pytest.fixture
def uploading(start: Callable[..., Target], hooks: Receiver) -> Target:
    return start("files", "--upload-url", f"{hooks.url}/upload").ready()


def asynchronous(target: Target, hooks: Receiver, **more: Any) -> dict[str, Any]:
    """Predict as the platform does, with uploads; what the last webhook says."""
    answer = target.predict(
        {"file": f"data:text/plain;base64,{TEXT}", "copies": 2},
        headers={"Prefer": "respond-async", **more.pop("headers", {})},
        id="the-id",
        webhook=f"{hooks.url}/hook",
        webhook_events_filter=["completed"],
        **more,
    )
    assert answer.status_code == 202
    received = hooks.wait_for(lambda all: any(each.path == "/hook" for each in all), "the webhook")
    return next(each for each in received if each.path == "/hook").json


def test_upload_url(uploading: Target, hooks: Receiver) -> None:
    found = asynchronous(uploading, hooks)
    assert found["status"] == "succeeded", found
    names = ["cog-server-test-0.txt", "cog-server-test-1.txt"]
    assert found["output"] == [f"{hooks.url}/upload/{name}" for name in names]
    uploads = [each for each in hooks.received if each.method == "PUT"]
    assert [each.path for each in uploads] == [f"/upload/{name}" for name in names]
    assert [each.body for each in uploads] == [b"cba0", b"cba1"]
    assert {each.headers["content-type"] for each in uploads} == {"text/plain"}


def test_uploads_name_the_prediction_and_its_trace(uploading: Target, hooks: Receiver) -> None:
    asynchronous(uploading, hooks, headers={"traceparent": "00-trace", "tracestate": "state"})
    upload = hooks.received[0]
    assert upload.headers["x-prediction-id"] == "the-id"
    assert (upload.headers["traceparent"], upload.headers["tracestate"]) == ("00-trace", "state")


def test_the_location_of_an_upload_is_the_output(uploading: Target, hooks: Receiver) -> None:
    def answer(request: Received) -> Reply:
        where = {"Location": f"{hooks.url}/kept{request.path}?signature=s"} if request.method == "PUT" else {}
        return Reply(201, where)

    hooks.answer = answer
    assert asynchronous(uploading, hooks)["output"][0] == f"{hooks.url}/kept/upload/cog-server-test-0.txt"


def test_an_upload_that_fails_at_first(uploading: Target, hooks: Receiver) -> None:
    puts: list[str] = []

    def answer(request: Received) -> Reply:
        if request.method == "PUT":
            puts.append(request.path)
        return Reply(500 if len(puts) == 1 else 200)

    hooks.answer = answer
    found = asynchronous(uploading, hooks)
    assert found["status"] == "succeeded", found
    assert len(puts) == 3


@pytest.mark.parametrize("status", [404, 500])
def test_an_upload_that_fails_fails_the_prediction(uploading: Target, hooks: Receiver, status: int) -> None:
    hooks.answer = lambda request: Reply(status if request.method == "PUT" else 200)
    found = asynchronous(uploading, hooks)
    assert found["status"] == "failed"
    assert str(status) in found["error"]
    assert "got " in found["logs"]
    uploading.reaches("READY")
