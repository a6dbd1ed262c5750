"""Server-sent events: of every model that yields, with resuming.

The originals' newest generation streams only models that are decorated for it, so these are not for them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from tests.cog_server.targets import Target
from tests.support.commands import until

SSE = {"Accept": "text/event-stream"}
Start = Callable[..., Target]


class Event(NamedTuple):
    id: str
    kind: str
    data: Any


def events(response: httpx.Response) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if not line:
            if fields:
                yield Event(fields.get("id", ""), fields["event"], msgspec.json.decode(fields["data"]))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


@contextmanager
def streaming(
    target: Target, method: str, path: str, body: Any = None, **headers: str
) -> Iterator[Iterator[Event]]:
    with (
        httpx.Client(timeout=30) as client,
        client.stream(method, target.url + path, json=body, headers={**SSE, **headers}) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events(response)


@pytest.fixture
def stream(shared: Callable[[str], Target]) -> Target:
    return shared("stream")


def test_the_whole_of_it(stream: Target) -> None:
    with streaming(stream, "POST", "/predictions", {"id": "one", "input": {"count": 2}}) as found:
        all = list(found)
    assert [int(event.id) for event in all] == list(range(1, len(all) + 1))
    assert all[0].kind == "start"
    assert all[0].data == {"id": "one", "status": "processing"}
    assert [event.data for event in all if event.kind == "output"] == [
        {"chunk": "<0>", "index": 0},
        {"chunk": "<1>", "index": 1},
    ]
    logs = [event.data for event in all if event.kind == "log"]
    assert "".join(each["data"] for each in logs) == "item 0\nitem 1\n"
    assert {each["source"] for each in logs} == {"stdout"}
    assert all[-1].kind == "completed"
    assert all[-1].data == stream.get("one")


def test_items_come_as_they_are_yielded(stream: Target, signals: Any) -> None:
    asked = {"input": {"count": 3, "folder": str(signals.folder)}}
    with streaming(stream, "POST", "/predictions", asked) as found:
        for name in ("1", "2"):
            event = next(each for each in found if each.kind == "output")
            assert event.data["chunk"] == f"<{int(name) - 1}>"
            signals.make(name)
        assert [each.kind for each in found if each.kind != "log"] == ["output", "completed"]


def test_a_failure_is_the_last_event(stream: Target) -> None:
    with streaming(stream, "POST", "/predictions", {"input": {"count": 1, "fail": True}}) as found:
        last = list(found)[-1]
    assert last.kind == "completed"
    assert (last.data["status"], last.data["error"], last.data["output"]) == ("failed", "midway", ["<0>"])


def test_resuming_after_a_cut(stream: Target, signals: Any) -> None:
    body = {"input": {"count": 3, "folder": str(signals.folder)}}
    with streaming(stream, "PUT", "/predictions/cut", body) as found:
        first = next(each for each in found if each.kind == "output")
    signals.make("1")
    signals.make("2")
    assert stream.ended("cut")["status"] == "succeeded"
    after = {"Last-Event-ID": first.id}
    with streaming(stream, "GET", "/predictions/cut", **after) as found:
        rest = list(found)
    assert int(rest[0].id) == int(first.id) + 1
    assert [each.data["chunk"] for each in rest if each.kind == "output"] == ["<1>", "<2>"]
    assert rest[-1].kind == "completed"
    with streaming(stream, "PUT", "/predictions/cut", body, **after) as found:
        assert list(found) == rest


def test_joining_one_that_runs(stream: Target, signals: Any) -> None:
    body = {"input": {"count": 2, "folder": str(signals.folder)}}
    stream.http.put("/predictions/join", json=body, headers={"Prefer": "respond-async"})
    with (
        streaming(stream, "PUT", "/predictions/join", body) as one,
        streaming(stream, "GET", "/predictions/join") as other,
    ):
        for found in (one, other):
            assert next(each for each in found if each.kind == "output").data["chunk"] == "<0>"
        signals.make("1")
        for found in (one, other):
            assert [each.kind for each in found][-1] == "completed"


def test_one_that_has_ended_is_replayed(stream: Target) -> None:
    stream.succeeded({"count": 2}, id="past")
    with streaming(stream, "GET", "/predictions/past") as found:
        assert [each.kind for each in found if each.kind != "log"] == [
            "start",
            "output",
            "output",
            "completed",
        ]


def test_what_is_not_kept_any_more(start: Start) -> None:
    target = start("stream", environment={"COG_STREAM_HISTORY_CAPACITY": "10"}).ready()
    target.succeeded({"count": 100}, id="long")
    with streaming(target, "GET", "/predictions/long") as found:
        (event,) = found
    assert event.kind == "error"
    skipped = event.data["skipped"]
    assert skipped > 50
    with streaming(target, "GET", "/predictions/long", **{"Last-Event-ID": str(skipped)}) as found:
        kinds = [each.kind for each in found]
    assert (len(kinds), kinds[-1]) == (10, "completed")
    with streaming(target, "GET", "/predictions/long", **{"Last-Event-ID": str(skipped - 1)}) as found:
        assert [each.kind for each in found] == ["error"]


def test_no_history(start: Start, signals: Any) -> None:
    target = start("stream", "--stream-history", "0").ready()
    body = {"input": {"count": 2, "folder": str(signals.folder)}}
    target.http.put("/predictions/p", json=body, headers={"Prefer": "respond-async"})
    until(lambda: target.get("p")["output"] == ["<0>"], "the first item")
    with streaming(target, "GET", "/predictions/p") as found:
        signals.make("1")
        kinds = [each.kind for each in found]
    assert kinds[-1] == "completed"
    assert "start" not in kinds


def test_thousands_of_items(stream: Target) -> None:
    with streaming(stream, "POST", "/predictions", {"input": {"count": 1000}}) as found:
        chunks = [each.data["chunk"] for each in found if each.kind == "output"]
    assert chunks == [f"<{number}>" for number in range(1000)]


def test_a_model_that_does_not_yield(shared: Callable[[str], Target]) -> None:
    echo = shared("echo")
    answer = echo.predict({}, headers=SSE)
    assert answer.status_code == 406
    assert "application/json" in answer.json()["detail"]
    answer = echo.predict({}, headers={"Accept": "text/event-stream, application/json;q=0.5"})
    assert answer.json()["output"] == "hello"


def test_accept_that_excludes_streams(stream: Target) -> None:
    answer = stream.predict({"count": 1}, headers={"Accept": "application/json, text/event-stream;q=0"})
    assert answer.json()["output"] == ["<0>"]


def test_a_stream_that_is_left_cancels_what_it_made(start: Start, signals: Any) -> None:
    target = start("stream", "--stream-linger-s", "0").ready()
    body = {"id": "left", "input": {"count": 2, "folder": str(signals.folder)}}
    with streaming(target, "POST", "/predictions", body) as found:
        next(found)
    assert target.ended("left")["status"] == "canceled"
    target.http.put("/predictions/kept", json=body | {"id": "kept"}, headers={"Prefer": "respond-async"})
    with streaming(target, "GET", "/predictions/kept") as found:
        next(found)
    signals.make("1")
    assert target.ended("kept")["status"] == "succeeded"


def test_a_stream_may_come_back_in_time(start: Start, signals: Any) -> None:
    target = start("stream", "--stream-linger-s", "20").ready()
    body = {"input": {"count": 2, "folder": str(signals.folder)}}
    with streaming(target, "PUT", "/predictions/back", body) as found:
        first = next(found)
    with streaming(target, "PUT", "/predictions/back", body, **{"Last-Event-ID": first.id}) as found:
        signals.make("1")
        assert [each.kind for each in found][-1] == "completed"


def test_only_so_many_streams(start: Start, signals: Any) -> None:
    target = start("stream", "--streams", "1").ready()
    body = {"input": {"count": 2, "folder": str(signals.folder)}}
    with streaming(target, "PUT", "/predictions/p", body) as found:
        next(found)
        answer = target.http.get("/predictions/p", headers=SSE)
        assert answer.status_code == 429
        assert "--streams" in answer.json()["detail"]
        signals.make("1")
        list(found)
    with streaming(target, "GET", "/predictions/p") as found:
        assert list(found)[-1].kind == "completed"


def test_comments_while_nothing_happens(start: Start, signals: Any) -> None:
    target = start("stream", "--stream-heartbeat-s", "0.1").ready()
    body = {"input": {"count": 2, "folder": str(signals.folder)}}
    with (
        httpx.Client(timeout=10) as client,
        client.stream("POST", f"{target.url}/predictions", json=body, headers=SSE) as response,
    ):
        lines = response.iter_lines()
        assert next(line for line in lines if line.startswith(":"))
        signals.make("1")
        assert any(line == "event: completed" for line in lines)


def test_a_reader_that_is_too_slow_is_told(start: Start) -> None:
    """It reads nothing while the model yields far more than what any buffer holds."""
    target = start("stream", "--stream-history", "16", "--stream-linger-s", "60").ready()
    go = threading.Event()
    kinds: list[str] = []

    def read() -> None:
        with streaming(target, "PUT", "/predictions/p", {"input": {"count": 200_000}}) as found:
            next(found)
            go.wait(30)
            kinds.extend(event.kind for event in found)

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda: target.http.get("/predictions/p").status_code == 200, "it runs")
    assert target.ended("p")["status"] == "succeeded"
    go.set()
    thread.join()
    assert kinds[-1] == "error"
