"""What workers of 2022 say, and where: the pure parts of their door."""

import json
from typing import Any

import msgspec
import pytest

from coordinator.protocol import messages as wire
from edge.legacy.job import Job, log_text, referring
from edge.legacy.places import file_key, file_url, key_of_url, new_file_key, session_id, socket_place
from edge.legacy.routes import content_type_of
from edge.legacy.updates import Update, loses_step, read_update

BASE = "https://here"


def dispatch(input: Any = None, files: dict[str, str] | None = None) -> wire.Dispatch:
    return wire.Dispatch(
        channel=1,
        prediction="p1",
        attempt=1,
        secret="s",
        input=msgspec.Raw(json.dumps(input or {}).encode()),
        run_s=1.0,
        files=files or {},
    )


def scope(path: str, query: bytes = b"") -> dict[str, Any]:
    return {"path": path, "raw_path": path.encode(), "query_string": query}


@pytest.mark.parametrize(
    ("path", "model", "secrets"),
    [
        ("/v1/models/acme/m/websocket/tok", "acme/m", ("tok",)),
        ("/v1/models/Acme/M/websockets/tok/a/tail", "acme/m", ("tok",)),
        ("/v1/models/a/m/websocket/a%20b", "a/m", ("a%20b", "a b")),
        ("/v1/models/a/m/websocket", "a/m", ()),
        ("/v1/models/a/m/websocket/", "a/m", ()),
    ],
)
def test_where_a_worker_dials_in(path: str, model: str, secrets: tuple[str, ...]) -> None:
    place = socket_place(scope(path))
    assert place is not None
    assert place == (model, secrets)


@pytest.mark.parametrize(
    "path", ["/v1/workers/websocket", "/v1/models/a/websocket/t", "/v1/models/a/b/c/websocket/t"]
)
def test_where_no_worker_of_2022_dials_in(path: str) -> None:
    assert socket_place(scope(path)) is None


def test_the_session_of_a_query() -> None:
    assert session_id(b"a=b&session_id=x%20y") == "x y"
    assert session_id(b"session_id=") == session_id(b"") == ""


@pytest.mark.parametrize("name", ["a.png", "sp ace.txt", "ü/../%2e%2e/x", "", ".hidden", "a%20b", "x" * 500])
def test_a_files_url_leads_to_its_key(name: str) -> None:
    key = new_file_key("acme/m", name)
    assert key_of_url(BASE, file_url(BASE, key), "acme/m") == key
    assert key_of_url(BASE, f"{BASE}/outputs/{key}", "acme/m") == key
    assert key_of_url(BASE, file_url(BASE, key), "acme/other") is None
    assert key_of_url("https://there", file_url(BASE, key), "acme/m") is None


@pytest.mark.parametrize(
    "path", ["uploads/a/b", "outputs/p/k/0/x", "models/a/b/files/short/x", "models/a/b/files/../../x", ""]
)
def test_nothing_else_is_such_a_file(path: str) -> None:
    assert file_key(path) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "image/png"),
        ("a.txt", "text/plain"),
        ("a.json", "application/json"),
        ("a.html", "application/octet-stream"),
        ("a.js", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_a_files_type_goes_by_its_name(name: str, kind: str) -> None:
    assert content_type_of(name) == kind


@pytest.mark.parametrize(
    "frame", ["", "x", "[]", "{}", '{"id":1,"status":"failed"}', '{"id":"a"}', b"\xff", "[" * 5000]
)
def test_frames_that_say_nothing_of_a_job(frame: str | bytes) -> None:
    assert read_update(frame) is None


def test_what_pythons_json_has_and_no_other() -> None:
    update = read_update('{"id":"a","status":"succeeded","output":[NaN,"\\ud800x"],"metrics":{"t":Infinity}}')
    assert update == Update("a", "succeeded", [None, "?x"], metrics={"t": None})


def test_logs_of_another_kind_are_no_harm() -> None:
    def lines(logs: Any) -> Any:
        update = read_update(json.dumps({"id": "a", "status": "x", "logs": logs}))
        return None if update is None else update.lines

    assert (lines("a\nb"), lines([1, "a"]), lines({}), lines(None)) == (("a", "b"), ("a",), (), ())


@pytest.mark.parametrize(
    ("update", "lost"),
    [
        (Update("a", "failed", error="Prediction timed out"), True),
        (Update("a", "failed", ["x"], error="500 Server Error: for url: x"), True),
        (Update("a", "failed", [], error="connection refused"), True),
        (Update("a", "failed", ["x"], ("Traceback (most recent call last):", "E"), error="E"), False),
        (Update("a", "failed", None, error="1 validation error"), False),
        (Update("a", "failed", "x", error="E"), False),
        (Update("a", "succeeded", ["x"]), False),
        (Update("a", "processing", ["x"]), False),
    ],
)
def test_what_leaves_a_worker_out_of_step(update: Update, lost: bool) -> None:
    assert (loses_step(update) is not None) is lost


def test_a_job_is_whole_and_its_files_need_no_token() -> None:
    url = f"{BASE}/v1/files/f1"
    given = {"image": url, "more": [url, {"deep": url}], "text": f"see {url}", "n": 1}
    job = Job(dispatch(given, {url: "/files/k?signature=1"}))
    frame = json.loads(job.frame(model="a/m", version="v" * 64, base=BASE, now=0))
    link = f"{BASE}/files/k?signature=1"
    assert frame["input"] == {"image": link, "more": [link, {"deep": link}], "text": f"see {url}", "n": 1}
    assert {"id", "urls", "created_at", "version", "model", "status"} < frame.keys()


def test_states_become_steps() -> None:
    job = Job(dispatch())
    (accepted,) = job.said(Update("p1", "processing"), 5, {})
    assert isinstance(accepted, wire.Accepted)
    assert accepted.started_at == 5
    assert job.said(Update("p1", "processing"), 6, {}) == []
    (progress,) = job.said(Update("p1", "processing", ["a", "b"], ("l1",)), 7, {})
    assert isinstance(progress, wire.Progress)
    assert [(e.seq, e.kind, bytes(e.data)) for e in progress.events] == [
        (1, "logs", b'"l1\\n"'),
        (2, "output", b'"a"'),
        (3, "output", b'"b"'),
    ]
    assert job.said(Update("p1", "processing", ["a"], ()), 8, {}) == []  # an older state
    job.rewind()
    (again,) = job.said(Update("p1", "processing", ["a", "b"], ("l1",)), 9, {})
    assert isinstance(again, wire.Progress)
    assert again.events == progress.events


def test_an_output_that_is_too_large_or_too_deep_is_a_failure() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    for output, words in (("x" * 200, "larger than 100 bytes"), (deep, "nested too deeply")):
        stored = {"x": wire.StoredFile(key="k", name="n", content_type="", length=0, sha256="")}
        finished = Job(dispatch()).ended(
            Update("p1", "succeeded", output), "succeeded", stored, result_bytes=100, log_bytes=100
        )
        assert finished.status == "failed"
        assert words in (finished.error or "")


def test_only_whole_strings_are_files() -> None:
    file = wire.StoredFile(key="models/a/m/files/u/n", name="n", content_type="", length=1, sha256="0")
    output, files = referring({"a": "URL", "b": ["URL"], "c": "see URL"}, {"URL": file})
    reference = "cogflare://blob/models/a/m/files/u/n"
    assert output == {"a": reference, "b": [reference], "c": "see URL"}
    assert files == (file,)


def test_a_long_log_keeps_its_end() -> None:
    assert log_text(("a", "b"), 100) == "a\nb\n"
    text = log_text(tuple(f"line {n}" for n in range(100)), 50)
    assert text.startswith("[... ")
    assert text.endswith("line 99\n")
