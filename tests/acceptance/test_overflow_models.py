"""Models that only Replicate has, to a client of ours: real commands, a loopback Replicate, and the official
Python client."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import replicate
from replicate.exceptions import ReplicateError

from tests.acceptance.test_predictions import problem
from tests.conftest import Trace
from tests.support import replicate as loopback
from tests.support.commands import Agent, Calls, Server, run, until
from tests.support.legacy import CLIENT_TOKEN
from tests.support.replicate import KEY, SCHEMA, VERSION, Replicate

MODEL = "acme/elsewhere"
OLDER = "d" * 64
OPTIONS = ("--overflow-settle-s", "0", "--overflow-poll-s", "0.5")
SECRET = {"type": "string", "format": "password", "x-cog-secret": True, "title": "Key", "x-order": 1}


@pytest.fixture
def there() -> Iterator[Replicate]:
    with loopback.replicate() as found:
        found.models = {MODEL: VERSION, "meta/llama": ""}
        found.older = {MODEL: OLDER}
        yield found


@pytest.fixture
def server(serve: Callable[..., Server], there: Replicate) -> Server:
    return serve("--replicate-url", there.url, *OPTIONS)


@pytest.fixture
def calls(server: Server) -> Calls:
    return server.calls_with_key(KEY)


@pytest.fixture
def client(server: Server, calls: Calls) -> Iterator[replicate.Client]:
    token = calls.http.headers["authorization"].removeprefix("Bearer ")
    with httpx.HTTPTransport() as transport:
        yield replicate.Client(api_token=token, base_url=server.url, transport=transport)


@pytest.fixture
def answering(there: Replicate) -> Iterator[Callable[[Any], None]]:
    """Has whatever begins there succeed with an output."""
    over, output = threading.Event(), list[Any]()

    def answer() -> None:
        done = 0
        while not over.wait(0.02):
            for record in there.begun[done:]:
                there.becomes(record["id"], "succeeded", output[0], version=record["version"])
                done += 1

    thread = threading.Thread(target=answer)

    def start(value: Any) -> None:
        output.append(value)
        thread.start()

    yield start
    over.set()
    if thread.is_alive():
        thread.join()


def test_what_is_read_of_a_model(client: replicate.Client, calls: Calls, there: Replicate) -> None:
    model = client.models.get(MODEL)
    assert (model.owner, model.name, model.description) == ("acme", "elsewhere", "It runs elsewhere.")
    assert model.latest_version is not None and model.latest_version.id == VERSION
    assert [version.id for version in model.versions.list()] == [VERSION, OLDER]
    older = model.versions.get(OLDER)
    assert older.openapi_schema == SCHEMA
    official = calls.http.get("/v1/models/meta/llama").json()
    assert official["latest_version"]["id"] == "hidden"
    assert calls.http.get("/v1/models/meta/llama/versions").json()["results"] == []
    assert calls.http.get(f"/v1/models/{MODEL}/examples").json()["results"] == []
    for path in ("none/such", f"{MODEL}/versions/{'c' * 64}", f"{MODEL}/versions/1", f"{MODEL}/readme"):
        problem(calls.http.get(f"/v1/models/{path}"), 404)


def test_it_is_asked_once_in_a_while(calls: Calls, there: Replicate) -> None:
    for _ in range(3):
        assert calls.http.get(f"/v1/models/{MODEL}").status_code == 200
        assert calls.http.get("/v1/models/none/such").status_code == 404
    assert sorted(there.looked_up) == [f"/v1/models/{MODEL}", "/v1/models/none/such"]


def test_run_by_name_as_the_official_client_does(
    client: replicate.Client, there: Replicate, answering: Callable[[Any], None]
) -> None:
    url = there.stores("out.png", "image/png", b"\x89PNG picture")
    answering([url])
    for name, version in ((MODEL, VERSION), ("meta/llama", "hidden")):
        (output,) = client.run(name, input={"text": "hi"})
        assert output.read() == b"\x89PNG picture"
        assert there.begun[-1]["version"] == version
    found = client.predictions.list().results
    assert [one.model for one in found] == ["meta/llama", MODEL]
    assert [one.version for one in found] == ["hidden", VERSION]
    assert found[0].input == {"text": "hi"}
    assert found[0].metrics is not None and found[0].metrics["predict_time"] == 0.5


def test_run_by_version_as_the_official_client_does(
    client: replicate.Client, calls: Calls, there: Replicate, answering: Callable[[Any], None]
) -> None:
    """It sends the version alone, by which Replicate tells nobody of the model."""
    answering("done")
    with pytest.raises(ReplicateError, match="owner/name:VERSION"):
        client.run(f"{MODEL}:{OLDER}", input={"text": "a"})
    made = client.predictions.create(version=f"{MODEL}:{OLDER}", input={"text": "a"})
    made.wait()
    assert (made.model, made.version, made.output) == (MODEL, OLDER, "done")
    assert client.run(f"{MODEL}:{OLDER}", input={"text": "b"}) == "done"
    client.models.get(MODEL)
    assert client.run(f"{MODEL}:{VERSION}", input={"text": "c"}) == "done"
    assert [record["version"] for record in there.begun] == [OLDER, OLDER, VERSION]


def test_a_version_that_the_key_has_run_there_before(
    client: replicate.Client, there: Replicate, answering: Callable[[Any], None]
) -> None:
    answering("done")
    before = httpx.post(
        f"{there.url}/v1/predictions",
        json={"version": OLDER, "input": {}},
        headers={"Authorization": f"Bearer {KEY}"},
    )
    assert before.status_code == 201
    assert client.run(f"{MODEL}:{OLDER}", input={"text": "a"}) == "done"


def test_inputs_are_held_to_its_schema_and_secrets_stay_hidden(
    calls: Calls, server: Server, there: Replicate
) -> None:
    """Also when the server has forgotten what it knew, and Replicate is away."""
    schema = {"properties": {"text": {"type": "string"}, "key": SECRET}, "required": ["text"]}
    parts = SCHEMA["components"]["schemas"] | {"Input": {"type": "object", **schema}}
    for name in there.models:
        there.schemas[name] = SCHEMA | {"components": {"schemas": parts}}
    body = problem(calls.http.post(f"/v1/models/{MODEL}/predictions", json={"input": {"text": 5}}), 422)
    assert body["invalid_fields"][0]["field"] == "input.text"

    ids = [calls.create(name, {"text": "hi", "key": "hush"})["id"] for name in there.models]
    until(lambda: len(there.begun) == 2, "both have begun")
    for record in list(there.begun):
        assert record["input"] == {"text": "hi", "key": "hush"}
        there.becomes(record["id"], "succeeded", "done")
    for id in ids:
        assert calls.ended(id)["output"] == "done"
    server.kill()
    there.down, there.models = 500, {}
    server.start()
    for id in ids:
        assert calls.get(id)["input"] == {"text": "hi", "key": "**********"}


def test_only_a_token_with_a_key_that_may_see_it(server: Server, calls: Calls, there: Replicate) -> None:
    there.models["acme/private"] = "f" * 64
    there.private["acme/private"] = KEY
    there.keys.add("r8_other")
    assert calls.http.get("/v1/models/acme/private").json()["visibility"] == "private"
    keyless, other = server.calls(), server.calls_with_key("r8_other")
    for client in (keyless, other):
        problem(client.http.get("/v1/models/acme/private"), 404)
        problem(client.http.post("/v1/predictions", json={"version": "f" * 64, "input": {}}), 422)
        problem(client.http.post("/v1/models/acme/private/predictions", json={"input": {}}), 404)
    problem(keyless.http.get(f"/v1/models/{MODEL}"), 404)
    assert other.http.get(f"/v1/models/{MODEL}").status_code == 200
    assert there.creations == 0


def test_a_provider_that_does_not_say(server: Server, calls: Calls, there: Replicate) -> None:
    wrong = server.calls_with_key("r8_wrong")
    body = problem(wrong.http.get(f"/v1/models/{MODEL}"), 404)
    assert "valid authentication token" in body["detail"] and "key of your token" in body["detail"]
    there.models_down = 503
    answer = calls.http.get(f"/v1/models/{MODEL}")
    assert problem(answer, 503)["code"] == "unavailable"
    assert answer.headers["retry-after"] == "5"
    there.models_down = 0
    assert calls.http.get(f"/v1/models/{MODEL}").status_code == 200  # a failure is not kept


def test_own_models_go_first_and_names_stay_free(
    server: Server, calls: Calls, there: Replicate, work: Callable[..., Agent], trace: Trace
) -> None:
    there.models["test/waiter"] = VERSION
    first = calls.create("test/waiter", trace.input("a", wait=False))
    there.becomes(there.one()["id"], "succeeded", "there")
    assert calls.ended(first["id"])["output"] == "there"
    work(server).ready()  # of another token: the name is nobody's yet

    def here() -> bool:
        made = calls.create("test/waiter", trace.input("b", wait=False))
        if made["version"] == VERSION:
            there.becomes(there.begun[-1]["id"], "canceled")
        return made["version"] != VERSION and bool(calls.ended(made["id"])["output"] == "done b")

    until(here, "it runs here")
    pinned = calls.http.post("/v1/predictions", json={"version": f"test/waiter:{VERSION}", "input": {}})
    assert pinned.json()["version"] == VERSION  # which no worker here has

    made = run("model", "set", "test/waiter", "--overflow", "never", "--data", str(server.data))
    assert made.returncode == 0, made.stderr
    until(lambda: _status(calls, f"test/waiter:{VERSION}") == 422, "it never leaves")


def _status(calls: Calls, version: str) -> int:
    return calls.http.post("/v1/predictions", json={"version": version, "input": {}}).status_code


def test_a_name_of_your_own_for_a_model_there(server: Server, calls: Calls, there: Replicate) -> None:
    worker = server.token(worker=True)
    made = httpx.post(
        f"{server.url}/v1/models",
        json={"owner": "me", "name": "greeter", "visibility": "private", "hardware": "cpu"},
        headers={"Authorization": f"Bearer {worker}"},
    )
    assert made.status_code == 201, made.text
    done = run("model", "set", "me/greeter", "--replicate-model", MODEL, "--data", str(server.data))
    assert done.returncode == 0, done.stderr
    until(lambda: _status(calls, "me/greeter") == 201, "it is known")
    record = there.one()
    assert record["model"] == MODEL
    there.becomes(record["id"], "succeeded", "done")
    (found,) = calls.http.get("/v1/predictions").json()["results"]
    assert (calls.ended(found["id"])["output"], found["model"]) == ("done", "me/greeter")


def test_a_client_of_2022_has_its_own_workers_first(
    server: Server, there: Replicate, work: Callable[..., Agent], trace: Trace
) -> None:
    """A version that they do not have chose nothing then, and is no reason to pay for it now."""
    work(server).ready()
    there.models["test/waiter"] = VERSION
    file = server.data.with_name("KV.json")
    file.write_text(json.dumps({CLIENT_TOKEN: {"allow": True, "replicate": KEY}}))
    done = run("token", "import", str(file), "--data", str(server.data))
    assert done.returncode == 0, done.stderr

    def create(model: str, input: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(
            f"{server.url}/v1/predictions",
            json={"model": model, "version": VERSION, "input": input},
            headers={"Authorization": f"Token {CLIENT_TOKEN}"},
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    create("test/waiter", trace.input("here", wait=False))
    until(lambda: trace.runs("here"), "it runs here")
    assert there.creations == 0
    create(MODEL, {"text": "hi"})
    assert there.one()["version"] == VERSION
