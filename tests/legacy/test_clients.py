"""The HTTP surface of 2022, rule by rule, as unmodified clients use it: a real server, scripted workers of
2022 and agents of today. The rules are those of the measured original; where it was broken, ours is right."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Trace
from tests.support.commands import Agent, Server, run, until
from tests.support.legacy import CLIENT_TOKEN, MODEL, LegacyWorker, calls_of, pool_of
from tests.support.receiver import Receiver, receiver

Hire = Callable[..., LegacyWorker]
ENDS = ("succeeded", "failed", "cancelled")


class Client:
    """A program of 2022. Reading and downloading it does without a token, as it could then."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self.headers = {"Authorization": f"Token {CLIENT_TOKEN}"}

    def post(self, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(
            f"{self.url}/v1/predictions", content=content, headers=headers or self.headers, timeout=30
        )

    def create(self, input: Any, model: str = MODEL, **more: Any) -> dict[str, Any]:
        answer = self.post({"model": model, "input": input, **more})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def get(self, id: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}/v1/predictions/{id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def reaches(self, id: str, *statuses: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.get(id)
            return found if found["status"] in statuses else None

        return until(look, f"{id} is {statuses}")

    def ended(self, id: str) -> dict[str, Any]:
        return self.reaches(id, *ENDS)


@pytest.fixture
def told() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


class TestTokens:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Authorization": f"Token {CLIENT_TOKEN}"}, 200),
            ({"X-Cogflare-Token": CLIENT_TOKEN}, 200),
            ({"Authorization": "Bearer of another system", "X-Cogflare-Token": CLIENT_TOKEN}, 200),
            ({"Authorization": "Token wrong", "X-Cogflare-Token": CLIENT_TOKEN}, 401),
            ({"X-Other": "1"}, 401),
        ],
    )
    def test_where_they_may_be(self, old: Server, hire: Hire, headers: dict[str, str], status: int) -> None:
        hire(old).connect()
        assert Client(old).post({"model": MODEL, "input": {}}, **headers).status_code == status

    def test_no_header_makes_another_client_one_of_2022(self, old: Server, hire: Hire) -> None:
        hire(old).connect()
        made = calls_of(old).create(MODEL, {}, **{"X-Cogflare-Token": CLIENT_TOKEN})
        assert made["status"] == "starting"
        assert httpx.get(f"{old.url}/v1/predictions/{made['id']}").status_code == 401


class TestCreate:
    def test_the_answer(self, old: Server, hire: Hire) -> None:
        """200, not 201, with the fields of 2022; what it does not know it passes over."""
        worker = hire(old).connect()
        made = Client(old).create({"text": "abc"}, extra=1)
        assert made["urls"]["get"] == f"{old.url}/v1/predictions/{made['id']}"
        assert made["urls"]["cancel"] == made["urls"]["get"] + "/cancel"
        assert (made["source"], made["model"], made["input"]) == ("cogflare", MODEL, {"text": "abc"})
        assert made["status"] == "creating"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made["created_at"])
        assert re.fullmatch("[0-9a-f]{64}", made["version"])
        assert worker.job()["id"] == made["id"]

    @pytest.mark.parametrize(
        ("body", "status", "words"),
        [
            ({"input": {}}, 400, "Model and/or version must be specified"),
            ({"version": "f" * 64, "input": {}}, 400, "please supply model name"),
            ({"model": "acme/unknown", "input": {}}, 404, "There is no model acme/unknown here"),
            ({"model": 5, "input": {}}, 400, "model must be a text"),
            ({"model": MODEL, "input": "text"}, 422, "Expected: object"),
            (b"{", 400, "not valid JSON"),
            (b"null", 400, "must be a JSON object"),
            ({"model": MODEL, "input": {}, "callbackUrl": "http://10.0.0.1/x"}, 400, "callbackUrl: "),
            ({"model": MODEL, "input": {}, "callbackUrl": "nowhere"}, 400, "callbackUrl: "),
        ],
    )
    def test_what_is_wrong_is_told_in_plain_words(
        self, old: Server, hire: Hire, body: Any, status: int, words: str
    ) -> None:
        hire(old).connect()
        answer = Client(old).post(body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/plain")
        assert words in answer.text

    def test_without_an_input_it_runs_too(self, old: Server, hire: Hire) -> None:
        worker = hire(old).connect()
        for body in ({"model": MODEL}, {"model": MODEL, "input": None}):
            id = Client(old).post(body).json()["id"]
            assert worker.run()["input"] == {}
            assert Client(old).ended(id)["status"] == "succeeded"

    def test_a_version_of_another_server_chooses_nothing(self, old: Server, hire: Hire) -> None:
        worker, client = hire(old).connect(), Client(old)
        version = client.create({})["version"]
        worker.run()
        for wanted in ("f" * 64, version, "v1"):
            id = client.create({}, version=wanted)["id"]
            assert worker.run()["id"] == id

    def test_names_in_capitals(self, old: Server, hire: Hire) -> None:
        worker = hire(old).connect()
        assert Client(old).create({}, model=MODEL.upper())["model"] == MODEL
        worker.run()

    def test_the_unprefixed_path(self, old: Server, hire: Hire) -> None:
        hire(old).connect()
        client = Client(old)
        answer = httpx.post(f"{old.url}/predictions", json={"model": MODEL}, headers=client.headers)
        assert httpx.get(f"{old.url}/predictions/{answer.json()['id']}/").status_code == 200


class TestRead:
    def test_a_life_on_a_worker_of_2022(self, old: Server, hire: Hire) -> None:
        """The transcript of section 1, with a status at all times, read without a token."""
        client = Client(old)
        worker = hire(old).connect()
        id = client.create({"text": "abc"})["id"]
        job = worker.job()
        waiting = client.create({})["id"]
        assert client.get(waiting)["status"] == "creating"
        assert client.reaches(id, "starting")["logs"] == []
        worker.processing(job)
        assert "output" not in client.reaches(id, "processing")
        worker.processing(job, ["a"], ["l1", "l2"])
        seen = until(lambda: (found := client.get(id))["logs"] and found, "the log")
        assert (seen["logs"], seen["output"]) == (["l1", "l2"], ["a"])
        worker.succeeded(job, "hello abc", ["l1", "l2"], metrics={"predict_time": 6.2})
        done = client.ended(id)
        assert (done["status"], done["output"], done["logs"]) == ("succeeded", "hello abc", ["l1", "l2"])
        assert (done["cogflare"], done["runner"]) == (True, "runpod")
        assert done["metrics"]["predict_time"] == 6.2
        assert "error" not in done

    def test_a_life_on_an_agent_of_today(
        self, old: Server, hire: Hire, new_worker: Callable[[Server], Agent], trace: Trace
    ) -> None:
        new_worker(old)
        client = Client(old)
        id = client.create(trace.input("one"), "test/waiter")["id"]
        assert isinstance(client.reaches(id, "processing")["logs"], list)
        trace.go("one")
        done = client.ended(id)
        assert done["status"] == "succeeded"
        assert done["output"].startswith("done ")

    @pytest.mark.parametrize("output", [7, 2.5, True, "text", ["a", "b"], [], {"a": ["b", {"c": 1}]}, ""])
    def test_outputs_stay_what_they_are(self, old: Server, hire: Hire, output: Any) -> None:
        """Then lists became objects, numbers disappeared, and texts were never told to be done."""
        worker = hire(old).connect()
        id = Client(old).create({})["id"]
        worker.run(output)
        assert Client(old).ended(id)["output"] == output

    def test_a_failure(self, old: Server, hire: Hire) -> None:
        worker = hire(old).connect()
        id = Client(old).create({})["id"]
        worker.failed(worker.job(), "failed at 2", ["t0"], ["Traceback (most recent call last):"])
        done = Client(old).ended(id)
        assert (done["status"], done["error"], done["output"]) == ("failed", "failed at 2", ["t0"])

    def test_unknown_ids(self, old: Server) -> None:
        for id in ("f" * 64, "nonsense", "x" * 26):
            assert httpx.get(f"{old.url}/v1/predictions/{id}").status_code == 401
            known = httpx.get(f"{old.url}/v1/predictions/{id}", headers=Client(old).headers)
            assert known.status_code == 404

    def test_a_wrong_token_does_not_matter_to_a_read(self, old: Server, hire: Hire) -> None:
        hire(old).connect()
        get = Client(old).create({})["urls"]["get"]
        assert httpx.get(get, headers={"Authorization": "Bearer of-another-system"}).status_code == 200

    def test_only_the_id_opens_and_only_to_read(self, old: Server, hire: Hire) -> None:
        hire(old).connect()
        made = Client(old).create({})
        assert httpx.post(made["urls"]["cancel"]).status_code == 401
        assert httpx.get(made["urls"]["get"] + "/why").status_code == 401
        assert httpx.get(f"{old.url}/v1/predictions").status_code == 401

    def test_it_is_there_after_a_restart(self, alone: Server, hire: Hire) -> None:
        client, worker = Client(alone), hire(alone).connect()
        ended = client.create({})["id"]
        worker.run("kept")
        client.ended(ended)
        worker.hang_up()
        waiting = client.create({})["id"]
        alone.kill()
        alone.start()
        assert client.get(ended)["output"] == "kept"
        assert client.get(waiting)["status"] == "creating"

    def test_the_list(self, alone: Server, hire: Hire) -> None:
        """There was none."""
        hire(alone).connect()
        id = Client(alone).create({})["id"]
        found = httpx.get(f"{alone.url}/v1/predictions", headers=Client(alone).headers).json()["results"]
        assert [(one["id"], one["source"]) for one in found] == [(id, "cogflare")]


class TestCancel:
    """It was advertised and did not exist."""

    def test_a_queued_one(self, old: Server, hire: Hire) -> None:
        hire(old).connect().hang_up()
        made = Client(old).create({})
        answer = httpx.post(made["urls"]["cancel"], headers=Client(old).headers)
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert Client(old).get(made["id"])["status"] == "cancelled"

    def test_a_running_one(self, old: Server, new_worker: Callable[[Server], Agent], trace: Trace) -> None:
        new_worker(old)
        made = Client(old).create(trace.input("one"), "test/waiter")
        Client(old).reaches(made["id"], "processing")
        assert httpx.post(made["urls"]["cancel"], headers=Client(old).headers).status_code == 200
        assert Client(old).ended(made["id"])["status"] == "cancelled"


class TestCallbacks:
    def test_each_state_in_order_and_the_end_also_of_a_text(
        self, old: Server, hire: Hire, told: Receiver
    ) -> None:
        worker = hire(old).connect()
        id = Client(old).create({}, callbackUrl=f"{told.url}/callback/one")["id"]
        told.wait_for(lambda found: len(found) == 1, "creating")
        job = worker.job()
        worker.processing(job)
        told.wait_for(lambda found: len(found) == 2, "processing")
        worker.succeeded(job, "a text", ["l1"])
        found = told.wait_for(lambda found: len(found) == 3, "the end")
        assert {(one.method, one.path) for one in found} == {("POST", "/callback/one")}
        assert {one.json["id"] for one in found} == {id}
        assert [one.json["status"] for one in found] == ["creating", "processing", "succeeded"]
        assert found[-1].json == Client(old).get(id)

    def test_while_it_runs_it_is_told_no_more_often_than_it_was(
        self, old: Server, hire: Hire, told: Receiver
    ) -> None:
        """One in five seconds, whatever is new; the end at once."""
        worker = hire(old).connect()
        id = Client(old).create({}, callbackUrl=told.url)["id"]
        job = worker.job()
        for n in range(1, 6):
            items, lines = [str(i) for i in range(n)], [f"line {i}" for i in range(n)]
            worker.processing(job, items, lines)
            until(lambda n=n: len(Client(old).get(id)["logs"]) == n, "the line")  # type: ignore[misc]
        worker.succeeded(job, ["0"], ["line 0"])
        found = told.wait_for(lambda found: found[-1].json["status"] == "succeeded", "the end")
        assert len(found) <= 4  # creating, processing, one of its state, the end

    def test_a_cancel_is_told(self, old: Server, hire: Hire, told: Receiver) -> None:
        hire(old).connect().hang_up()
        client = Client(old)
        made = client.create({}, callbackUrl=told.url)
        httpx.post(made["urls"]["cancel"], headers=client.headers)
        told.wait_for(lambda found: found[-1:] and found[-1].json["status"] == "cancelled", "the end")


class TestFiles:
    def test_what_a_worker_uploads_keeps_its_url(self, old: Server, hire: Hire) -> None:
        worker, client = hire(old).connect(), Client(old)
        id = client.create({})["id"]
        job = worker.job()
        worker.processing(job)
        client.reaches(id, "processing")
        put = httpx.put(f"{old.url}/v1/models/{MODEL}/files", files={"file": ("o.txt", b"hi")})
        url = put.json()["url"]
        worker.succeeded(job, url)
        done = client.ended(id)
        assert done["output"] == url
        key = url.partition("/v1/")[2]
        for path in (f"/v1/{key}", f"/outputs/{key}"):
            assert httpx.get(old.url + path).content == b"hi"
            assert httpx.head(old.url + path).status_code == 200

    def test_a_file_of_an_agent_of_today_has_a_url_that_does_not_expire(
        self, old: Server, stack: Any, tmp_path: Path
    ) -> None:
        agent_of_today(old, stack, tmp_path, FILE_MODEL)
        client = Client(old)
        done = client.ended(client.create({"text": "hi"}, "test/filer")["id"])
        assert re.fullmatch(rf"{old.url}/outputs/{done['id']}/[0-9a-f]{{16}}/out\.txt", done["output"])
        assert httpx.get(done["output"]).text == "hi"
        assert httpx.get(done["output"].replace("/outputs/", "/outputs/x")).status_code == 404

        again = client.create({"text": "more", "image": done["output"]}, "test/filer")["id"]
        assert httpx.get(client.ended(again)["output"]).text == "hi more"

    def test_a_file_for_an_input(self, old: Server, hire: Hire) -> None:
        worker, client = hire(old).connect(), Client(old)
        upload = httpx.put(
            f"{old.url}/v1/models/{MODEL}/files", files={"file": ("a.png", b"png")}, headers=client.headers
        )
        assert upload.status_code == 200, upload.text
        url = upload.json()["url"]
        assert httpx.get(url).content == b"png"
        client.create({"init_image": url})
        assert httpx.get(worker.job()["input"]["init_image"]).content == b"png"
        other = httpx.put(f"{old.url}/v1/models/{MODEL}/files", files={"x": b"x"}, headers=client.headers)
        assert (other.status_code, "file is required" in other.text) == (422, True)


FILE_MODEL = """
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, text: str, image: Path = None) -> Path:
        out = Path("out.txt")
        out.write_text(f"{image.read_text()} {text}" if image else text)
        return out
"""


def agent_of_today(server: Server, stack: Any, folder: Path, source: str) -> None:
    """An agent beside the workers of 2022, with a model of this source."""
    model = folder / "filer"
    model.mkdir()
    (model / "predict.py").write_text(source)
    (model / "cog.yaml").write_text("predict: predict.py:Predictor\n")
    data = ("--json", "--data", str(server.data))
    made = run("token", "create", f"filer-{secrets.token_hex(4)}", "--worker", pool_of(server), *data)
    server.tokens["default", "worker"] = json.loads(made.stdout)["token"]
    agent = Agent(server, folder / "agent", f"test/filer={model}")
    stack.callback(agent.close)
    agent.ready()
