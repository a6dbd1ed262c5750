"""What a server must do for unmodified workers of 2022, rule by rule: a real server, and scripted workers."""

import json
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from edge.address import bind
from tests.conftest import Trace
from tests.support.commands import Agent, Server, run, until
from tests.support.legacy import (
    CLIENT_TOKEN,
    MODEL,
    WORKER_STRING,
    LegacyWorker,
    calls_of,
    import_tokens,
    pool_of,
    state,
)

Hire = Callable[..., LegacyWorker]


def upgrade(server: Server, path: str) -> tuple[int, str]:
    """The answer to a websocket's upgrade request: status and body."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = httpx.get(server.url + path, headers=headers)
    return answer.status_code, answer.text


class TestRule1WhereItDialsIn:
    """Rule 1: by the token in the path alone, refused before the upgrade or not at all."""

    def test_all_spellings_of_the_path(self, old: Server, hire: Hire) -> None:
        for path in ("websocket/{}", "websockets/{}", "websocket/{}/any/tail"):
            worker = hire(old)
            worker._path = f"/v1/models/{MODEL}/" + path.format(WORKER_STRING)
            worker.connect()

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/v1/models/acme/hello/websocket/" + WORKER_STRING, 400),
            ("/v1/models/acme/hello/websocket/nobody?session_id=1", 401),
            ("/v1/models/acme/hello/websocket?session_id=1", 401),
            (f"/v1/models/acme/hello/websocket/{CLIENT_TOKEN}?session_id=1", 403),
            (f"/v1/models/a!b/hello/websocket/{WORKER_STRING}?session_id=1", 400),
            ("/v1/models/acme/hello/elsewhere?session_id=1", 404),
        ],
    )
    def test_what_is_wrong_is_refused_before_the_upgrade(self, old: Server, path: str, status: int) -> None:
        code, body = upgrade(old, path)
        assert (code, json.loads(body)["status"]) == (status, status)
        assert WORKER_STRING not in body

    def test_without_an_upgrade(self, old: Server) -> None:
        for path in (f"websocket/{WORKER_STRING}?session_id=1", "websocket"):
            answer = httpx.get(f"{old.url}/v1/models/{MODEL}/{path}")
            assert (answer.status_code, answer.json()["detail"]) == (400, "expected websocket")

    def test_a_name_of_another_account_is_refused(self, old: Server, hire: Hire) -> None:
        made = run(
            *("token", "create", "other", "--worker", "elsewhere", "--account", "other", "--json"),
            *("--data", str(old.data)),
        )
        hire(old).connect()
        assert hire(old, token=json.loads(made.stdout)["token"]).refused() == 403

    def test_a_revoked_token_closes_the_socket_and_is_refused(self, alone: Server, hire: Hire) -> None:
        worker = hire(alone).connect()
        tokens = json.loads(run("token", "list", "--json", "--data", str(alone.data)).stdout)
        (name,) = [token["name"] for token in tokens if token["scopes"] == ["worker"]]
        assert run("token", "revoke", name, "--data", str(alone.data)).returncode == 0
        worker.next("closed")
        assert worker.refused() == 401


class TestRule2WhatItIsSent:
    """Rule 2: complete jobs and nothing else, one at a time, busy from the dispatch on."""

    def test_a_whole_job_and_its_result(self, old: Server, hire: Hire) -> None:
        """The transcript of section 1."""
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {"text": "abc"})["id"]
        job = worker.job()
        assert (job["id"], job["input"], job["model"]) == (id, {"text": "abc"}, MODEL)
        assert (job["status"], job["cogflare"]) == ("starting", True)
        worker.send(state("processing", id, None, []))
        assert calls.reaches(id, "processing")["output"] is None
        worker.succeeded(job, "hello abc", ["l1", "l2"], metrics={"predict_time": 6.2})
        done = calls.ended(id)
        assert (done["status"], done["output"], done["logs"]) == ("succeeded", "hello abc", "l1\nl2\n")
        assert done["metrics"]["predict_time"] == 6.2
        assert done["version"] == job["version"]
        assert len(done["version"]) == 64

    def test_one_at_a_time_also_while_it_says_nothing(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        ids = [calls.create(MODEL, {"n": n})["id"] for n in range(3)]
        for id in ids:
            job = worker.job()
            assert job["id"] == id
            worker.ping()  # a whole round trip: nothing else came before it
            assert worker.nothing_came()
            worker.succeeded(job, job["input"]["n"])
        assert [calls.ended(id)["output"] for id in ids] == [0, 1, 2]

    def test_a_cancel_is_not_told_and_the_slot_stays_busy(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        first = calls.create(MODEL, {"n": 1})["id"]
        job = worker.job()
        worker.processing(job)
        second = calls.create(MODEL, {"n": 2})["id"]
        assert calls.http.post(f"/v1/predictions/{first}/cancel").json()["status"] == "canceled"
        worker.ping()
        assert worker.nothing_came()
        assert calls.get(second)["status"] == "starting"
        worker.succeeded(job, "too late")
        assert worker.run("two")["id"] == second
        assert calls.ended(second)["output"] == "two"
        assert calls.get(first)["output"] is None
        worker.hang_up()
        worker.connect()  # it reported: it is trusted as before

    def test_a_canceled_job_that_is_never_reported_means_distrust(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        worker.processing(worker.job())
        calls.http.post(f"/v1/predictions/{id}/cancel")
        worker.cut()
        assert worker.refused() == 403

    def test_an_input_that_is_too_large_waits_for_another_worker(
        self, old: Server, hire: Hire, new_worker: Callable[[Server], Agent], trace: Trace
    ) -> None:
        worker, calls = hire(old, model="test/waiter").connect(), calls_of(old)
        large = trace.input("large", wait=False) | {"padding": "x" * 1_000_000}
        waiting = calls.create("test/waiter", {**large})["id"]
        small = calls.create("test/waiter", {"name": "small"})["id"]
        assert worker.run()["id"] == small
        calls.ended(small)
        assert calls.get(waiting)["status"] == "starting"
        new_worker(old)
        assert calls.ended(waiting)["status"] in ("succeeded", "failed")
        assert worker.nothing_came()


class TestRule3ItsConnection:
    """Rule 3: no pings of ours, its own are answered, a close is answered at once."""

    def test_its_pings_are_answered_also_before_its_first_job(self, old: Server, hire: Hire) -> None:
        hire(old).connect().ping()

    def test_a_close_frame_is_answered_at_once(self, old: Server, hire: Hire) -> None:
        worker = hire(old).connect()
        assert worker.hang_up() < 1.0
        worker.connect()

    def test_a_dead_machine_is_noticed_by_the_system(self, old: Server) -> None:
        with bind("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as _:
            accepted, _address = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60


class TestRule4WhatItSays:
    """Rule 4: whole states, twice, late, without times or metrics; only its own jobs count."""

    def test_a_generator_that_fails(self, old: Server, hire: Hire) -> None:
        """The transcript of section 3, with its two last words."""
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {"text": "t", "n": 4, "fail_at": 2})["id"]
        job = worker.job()
        worker.processing(job)
        worker.processing(job, ["t0"])
        worker.processing(job, ["t0"], ["yielding 0"])
        worker.processing(job, ["t0", "t1"], ["yielding 0", "yielding 1"])
        seen = until(lambda: shown(calls.get(id), ["t0", "t1"]), "the second item")
        assert seen["logs"] == "yielding 0\nyielding 1\n"
        traceback = ["yielding 0", "yielding 1", "Traceback (most recent call last):", "ValueError"]
        worker.failed(job, "failed at 2", ["t0", "t1"], traceback)
        worker.failed(job, "failed at 2", ["t0", "t1"], traceback, metrics={"predict_time": 0.41})
        done = calls.ended(id)
        assert (done["status"], done["error"], done["output"]) == ("failed", "failed at 2", ["t0", "t1"])
        assert done["logs"].splitlines() == traceback
        following = calls.create(MODEL, {})["id"]
        assert worker.run()["id"] == following  # an exception of the model costs nobody its trust

    def test_an_input_that_the_model_refuses(self, old: Server, hire: Hire) -> None:
        """The validation transcript: no ``processing`` before, no times, twice."""
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        error = "1 validation error for Input\ntext\n  field required (type=value_error.missing)"
        update = {"status": "failed", "output": None, "logs": [], "id": worker.job()["id"], "error": error}
        worker.send(update)
        worker.send(update | {"metrics": {"predict_time": 0.0}})
        assert (calls.ended(id)["status"], calls.ended(id)["error"]) == ("failed", error)
        calls.create(MODEL, {})
        worker.run()

    def test_what_is_not_about_its_job_means_nothing(self, old: Server, hire: Hire) -> None:
        worker, other, calls = hire(old).connect(), hire(old).connect(), calls_of(old)
        first = calls.create(MODEL, {"n": 1})["id"]
        job, elsewhere = (worker, other) if took(worker) else (other, worker)
        job, mine = elsewhere, job
        for frame in ("no json", "[]", "{}", '{"id":7,"status":"succeeded"}', "null"):
            mine.send(frame)
        mine.send(state("succeeded", "made-up", "x", []))
        elsewhere.send(state("succeeded", first, "not mine", []))
        elsewhere.ping()
        mine.send(state("processing", first, None, ["a"], unknown=1))
        assert until(lambda: calls.get(first)["logs"], "its log") == "a\n"
        mine.send(state("succeeded", first, "mine", ["a"]))
        assert calls.ended(first)["output"] == "mine"
        mine.send(state("processing", first, None, []))  # late
        mine.send(state("failed", first, None, [], error="late"))
        assert calls.get(first)["status"] == "succeeded"
        ids = {calls.create(MODEL, {})["id"] for _ in range(2)}
        assert {worker.run()["id"], other.run()["id"]} == ids


class TestRule5ALostConnection:
    """Rule 5: no report will come; another worker gets it, so often and no more."""

    def test_another_worker_gets_it_at_once(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        worker.processing(worker.job())
        calls.reaches(id, "processing")
        other = hire(old).connect()
        worker.cut()
        assert other.run("second")["id"] == id
        assert calls.ended(id)["output"] == "second"

    def test_after_max_attempts_it_fails(self, serve: Callable[..., Server], hire: Hire) -> None:
        server = begun(serve("--max-attempts", "2"))
        calls = calls_of(server)
        id = calls.create(MODEL, {})["id"] if known(server, hire) else ""
        for _ in range(2):
            worker = hire(server).connect()
            worker.processing(worker.job())
            worker.cut()
        done = calls.ended(id)
        assert (done["status"], done["error_code"]) == ("failed", "worker_lost")


class TestRule6Distrust:
    """Rule 6: after what leaves it out of step, a worker gets no more jobs until its process is another."""

    def refused_for_good(self, server: Server, worker: LegacyWorker) -> None:
        assert worker.refused() == 403
        code, body = upgrade(server, worker._path + f"?session_id={worker.session}")
        assert (code, json.loads(body)["code"]) == (403, "distrusted")
        assert "Restart its container" in body

    def test_after_a_drop_in_a_job(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        calls.create(MODEL, {})
        worker.processing(worker.job(), logs=["l1"])
        worker.cut()
        self.refused_for_good(old, worker)

    def test_after_its_own_time_limit(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        job = worker.job()
        worker.processing(job)
        worker.failed(job, "Prediction timed out")
        assert calls.ended(id)["error"] == "Prediction timed out"
        worker.next("closed")
        self.refused_for_good(old, worker)

    def test_after_a_failed_upload_of_a_generator(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        job = worker.job()
        worker.processing(job, ["http://files/1"])
        worker.failed(
            job, "500 Server Error: Internal Server Error for url: http://x/files", ["http://files/1"]
        )
        assert calls.ended(id)["status"] == "failed"
        worker.next("closed")
        self.refused_for_good(old, worker)

    def test_a_failed_upload_of_a_single_output_does_no_harm(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        calls.create(MODEL, {})
        worker.failed(worker.job(), "500 Server Error: Internal Server Error for url: http://x/files")
        calls.create(MODEL, {})
        worker.run()

    def test_over_a_restart_of_the_server(self, alone: Server, hire: Hire) -> None:
        worker, calls = hire(alone).connect(), calls_of(alone)
        calls.create(MODEL, {})
        worker.processing(worker.job())
        worker.cut()
        assert worker.refused() == 403
        alone.kill()
        alone.start()
        assert worker.refused() == 403

    def test_a_new_process_is_another_worker(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        worker.job()
        worker.cut()
        assert hire(old).connect().run()["id"] == id


class TestRule7Files:
    """Rule 7: uploads without a token, URLs that anybody can read."""

    def test_an_output_file_is_a_stored_file_of_its_prediction(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        job = worker.job()
        url = upload(old, b"hi", "sp ace ü.png")
        assert url.startswith(f"{old.url}/v1/models/{MODEL}/files/")
        assert url.endswith("/sp%20ace%20%C3%BC.png")
        for address in (url, url.replace("/v1/", "/outputs/")):
            answer = httpx.get(address)
            assert (answer.status_code, answer.content) == (200, b"hi")
            assert answer.headers["content-type"] == "image/png"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "sandbox" in answer.headers["content-security-policy"]
            assert httpx.get(address, headers={"Range": "bytes=1-1"}).content == b"i"
        foreign = "https://elsewhere.example/x.png"
        worker.succeeded(job, {"own": url, "foreign": foreign, "text": "hi"})
        output = calls.ended(id)["output"]
        assert (output["foreign"], output["text"]) == (foreign, "hi")
        assert output["own"] != url  # a signed URL of ours, as any output file has
        assert httpx.get(output["own"]).content == b"hi"

    def test_the_items_of_a_generator_are_files_while_it_runs(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        job = worker.job()
        worker.processing(job, [upload(old, b"one", "1.txt")])
        (first,) = until(lambda: calls.get(id)["output"], "the first item")
        assert httpx.get(first).content == b"one"
        worker.succeeded(job, [upload(old, b"one", "1.txt")])
        assert len(calls.ended(id)["output"]) == 1

    def test_an_output_file_that_is_not_there_is_no_success(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        job = worker.job()
        url = upload(old, b"hi", "a.png")
        worker.succeeded(job, url.replace(url.split("/")[-2], "0" * 36))
        done = calls.ended(id)
        assert (done["status"], done["error_code"]) == ("failed", "output_lost")

    def test_only_while_a_worker_has_a_job_of_that_model(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        assert sent(old, b"hi", "a.txt").status_code == 403
        id = calls.create(MODEL, {})["id"]
        job = worker.job()
        assert sent(old, b"hi", "a.txt", model="acme/other").status_code == 403
        assert sent(old, b"hi", "a.txt", path="files/any/thing", verb="POST").status_code == 200
        assert sent(old, b"hi", "a.txt", field="content").status_code == 422
        assert httpx.put(f"{old.url}/v1/models/{MODEL}/files", content=b"x").status_code == 415
        worker.succeeded(job)
        calls.ended(id)
        assert sent(old, b"hi", "a.txt").status_code == 403

    def test_so_much_for_one_job_and_no_more(self, serve: Callable[..., Server], hire: Hire) -> None:
        server = begun(serve("--legacy-job-files", "3", "--legacy-job-bytes", "10"))
        worker, calls = hire(server).connect(), calls_of(server)
        calls.create(MODEL, {})
        worker.job()
        assert sent(server, b"123456", "a.txt").status_code == 200
        assert sent(server, b"123456", "a.txt").status_code == 429
        assert sent(server, b"1", "a.txt").status_code == 429
        assert sent(server, b"", "a.txt").status_code == 429

    def test_a_page_is_never_served_as_one(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        calls.create(MODEL, {})
        worker.job()
        for name in ("a.html", "a.svg", "../../x.js", ""):
            answer = httpx.get(upload(old, b"<script>", name))
            assert answer.headers["content-disposition"].startswith("attachment")
            assert not answer.headers["content-type"].startswith("text/html")

    def test_other_stored_files_have_no_such_url(self, old: Server) -> None:
        id = calls_of(old).http.post("/v1/files", files={"content": ("a.txt", b"secret")}).json()["id"]
        for path in (
            f"/outputs/uploads/{id}/a.txt",
            f"/outputs/models/a/b/files/../../../uploads/{id}/a.txt",
        ):
            assert httpx.get(old.url + path).status_code == 404

    def test_its_input_files_need_no_token(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        stored = calls.http.post("/v1/files", files={"content": ("a.txt", b"content")}).json()
        given = {"image": stored["urls"]["get"], "images": [stored["urls"]["get"]], "text": "t"}
        calls.create(MODEL, given)
        job = worker.job()
        assert job["input"]["text"] == "t"
        for url in (job["input"]["image"], *job["input"]["images"]):
            assert httpx.get(url).content == b"content"


class TestRule8Clients:
    """Rule 8, as far as it is the workers': what clients see of old workers' models. The HTTP dialect of 2022
    has its own tests."""

    def test_an_imported_client_token_works_as_any(self, old: Server, hire: Hire) -> None:
        hire(old).connect()
        http = httpx.Client(base_url=old.url, headers={"Authorization": f"Token {CLIENT_TOKEN}"})
        with http:
            made = http.post("/v1/predictions", json={"model": MODEL, "input": {"any": ["thing", 1, None]}})
            assert made.status_code == 200
            model = http.get(f"/v1/models/{MODEL}").json()
        assert model["latest_version"]["openapi_schema"] == {}

    def test_old_and_new_workers_serve_one_queue(
        self, old: Server, hire: Hire, new_worker: Callable[[Server], Agent], trace: Trace
    ) -> None:
        worker, calls = hire(old, model="test/waiter").connect(), calls_of(old)
        new_worker(old)
        held = calls.create("test/waiter", trace.input("one"))["id"]
        ids = {held, calls.create("test/waiter", trace.input("two"))["id"]}
        job = worker.job()
        mine, theirs = job["id"], (ids - {job["id"]}).pop()
        names = {held: "one"}
        trace.go(names.get(theirs, "two"))
        worker.succeeded(job, "by the old one")
        assert calls.ended(mine)["output"] == "by the old one"
        assert calls.ended(theirs)["output"].startswith("done ")
        latest = calls.http.get("/v1/models/test/waiter").json()["latest_version"]
        assert latest["openapi_schema"] != {}
        assert latest["id"] == calls.ended(theirs)["version"] != calls.ended(mine)["version"]
        assert len(calls.http.get("/v1/models/test/waiter/versions").json()["results"]) == 2


def begun(server: Server) -> Server:
    import_tokens(server)
    return server


def known(server: Server, hire: Hire) -> bool:
    """Have the model known: a worker was there once."""
    worker = hire(server).connect()
    worker.hang_up()
    return True


def took(worker: LegacyWorker) -> bool:
    """Whether the next job went to this one; it is read."""
    try:
        worker.job(1.0)
    except AssertionError:
        return False
    return True


def shown(prediction: dict[str, Any], output: Any) -> dict[str, Any] | None:
    return prediction if prediction["output"] == output else None


def sent(
    server: Server,
    content: bytes,
    name: str,
    *,
    model: str = MODEL,
    path: str = "files",
    field: str = "file",
    verb: str = "PUT",
) -> httpx.Response:
    """An upload as the worker makes it: no token, no content type of the part."""
    part = (name, content, None)
    return httpx.request(verb, f"{server.url}/v1/models/{model}/{path}", files={field: part})  # type: ignore[dict-item]


def upload(server: Server, content: bytes, name: str) -> str:
    answer = sent(server, content, name)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["url"])


def test_the_pool_of_a_worker_string_is_told_to_operators(old: Server) -> None:
    assert pool_of(old).startswith("imported-")
