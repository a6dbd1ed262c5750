"""Predictions at a provider, whatever happens to the server: real commands, and a loopback Replicate."""

import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.conftest import Trace
from tests.support import replicate as loopback
from tests.support.commands import Agent, Calls, Server, until
from tests.support.replicate import KEY, VERSION, Replicate, Silence

MODEL = "test/waiter"


@pytest.fixture
def there() -> Iterator[Replicate]:
    with loopback.replicate() as found:
        found.models = {MODEL: VERSION}
        yield found


@pytest.fixture
def server(serve: Callable[..., Server], work: Callable[..., Agent], there: Replicate) -> Server:
    """A server that knows a model whose workers are gone."""
    server = serve("--replicate-url", there.url, "--overflow-settle-s", "0", "--overflow-poll-s", "0.5")
    agent = work(server).ready()
    agent.kill()
    return server


@pytest.fixture
def calls(server: Server) -> Calls:
    return server.calls_with_key(KEY)


def test_a_model_without_workers_runs_at_replicate(calls: Calls, there: Replicate, trace: Trace) -> None:
    id = calls.create(MODEL, trace.input("a"))["id"]
    record = there.one()
    assert (record["model"], record["input"]["name"]) == (MODEL, "a")
    there.becomes(record["id"], "processing", logs="working\n")
    calls.reaches(id, "processing")
    there.becomes(record["id"], "succeeded", "done there", logs="working\n")
    found = calls.ended(id)
    assert (found["status"], found["output"], found["logs"]) == ("succeeded", "done there", "working\n")
    assert found["metrics"]["runner"] == "replicate"


def test_kill_9_while_it_runs_there(server: Server, calls: Calls, there: Replicate, trace: Trace) -> None:
    """The POST was answered, and its name is kept: the same prediction is followed, no other begins."""
    id = calls.create(MODEL, trace.input("a"))["id"]
    record = there.one()
    until(lambda: there.looks, "it is followed")
    server.kill()
    server.start()
    there.becomes(record["id"], "succeeded", "same")
    assert calls.ended(id)["output"] == "same"
    assert there.creations == 1


def test_kill_9_before_the_answer_is_known(
    server: Server, calls: Calls, there: Replicate, trace: Trace
) -> None:
    """The POST was heard and its answer was not: it is found in the list, no other begins."""
    silence = Silence()
    there.script = [silence]
    id = calls.create(MODEL, trace.input("a"))["id"]
    record = there.one()
    server.kill()
    silence.over.set()
    server.start()
    there.becomes(record["id"], "succeeded", "found")
    assert calls.ended(id)["output"] == "found"
    assert there.creations == 1


def test_kill_9_before_anything_was_asked(
    server: Server, calls: Calls, there: Replicate, trace: Trace
) -> None:
    """Nothing has begun: it begins after the restart, once."""
    there.keys.clear()  # each creation is refused, so that nothing begins
    id = calls.create(MODEL, trace.input("a"))["id"]
    until(lambda: calls.http.get(f"/v1/predictions/{id}/why").json()["reason"] == "overflow_paused", "held")
    server.kill()
    there.keys.add(KEY)
    server.start()
    there.becomes(there.one()["id"], "succeeded", "once")
    assert calls.ended(id)["output"] == "once"
    assert there.creations == 1


def test_kill_9_again_and_again(server: Server, calls: Calls, there: Replicate, trace: Trace) -> None:
    """At whatever instant the server dies: what was answered 201 runs once there and is answered."""
    accepted: dict[str, str] = {}
    stop = threading.Event()

    def create() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            try:
                accepted[f"p{count}"] = calls.create(MODEL, trace.input(f"p{count}"))["id"]
            except httpx.TransportError:
                stop.wait(0.05)

    client = threading.Thread(target=create)
    client.start()
    for _ in range(3):
        enough = len(accepted) + 10
        until(lambda enough=enough: len(accepted) >= enough, "more are accepted")
        server.kill()
        server.start()
    stop.set()
    client.join(30)

    def all_begun() -> bool:
        for record in list(there.begun):
            if record["status"] == "starting":
                there.becomes(record["id"], "succeeded", f"done {record['input']['name']}")
        return {record["input"]["name"] for record in there.begun} >= accepted.keys()

    until(all_begun, "each has begun", 60)
    for name, id in accepted.items():
        assert calls.ended(id, 60)["output"] == f"done {name}"
    names = [record["input"]["name"] for record in there.begun]
    assert sorted(names) == sorted(set(names)), "none has begun twice"


def test_a_cancel_reaches_it(calls: Calls, there: Replicate, trace: Trace) -> None:
    id = calls.create(MODEL, trace.input("a"))["id"]
    record = there.one()
    there.becomes(record["id"], "processing")
    calls.reaches(id, "processing")
    assert calls.http.post(f"/v1/predictions/{id}/cancel").status_code == 200
    assert calls.ended(id)["status"] == "canceled"
    assert there.canceled == [record["id"]]


def test_files_come_from_here(calls: Calls, server: Server, there: Replicate, trace: Trace) -> None:
    id = calls.create(MODEL, trace.input("a"))["id"]
    record = there.one()
    url = there.stores("cat.png", "image/png", b"\x89PNG miaow")
    there.becomes(record["id"], "succeeded", [url, "not a file"])
    found = calls.ended(id)
    image, text = found["output"]
    assert image.startswith(server.url) and image.split("?")[0].endswith("/cat.png")
    assert text == "not a file"
    answer = httpx.get(image)
    assert (answer.content, answer.headers["content-type"]) == (b"\x89PNG miaow", "image/png")


def test_a_sigterm_leaves_it_running(server: Server, calls: Calls, there: Replicate, trace: Trace) -> None:
    id = calls.create(MODEL, trace.input("a"))["id"]
    record = there.one()
    assert server.stop() == 0
    server.start()
    there.becomes(record["id"], "succeeded", "same")
    assert calls.ended(id)["output"] == "same"
    assert (there.creations, there.canceled) == (1, [])


def test_replicate_tells_of_the_end(calls: Calls, server: Server, there: Replicate, trace: Trace) -> None:
    id = calls.create(MODEL, trace.input("a"))["id"]
    record = there.one()
    url = there.webhooks[record["id"]]
    assert url.startswith(f"{server.url}/v1/overflow/{id}/1/")
    until(lambda: calls.get(id)["status"] == "starting" and there.looks >= 4, "it is looked at more rarely")
    there.becomes(record["id"], "succeeded", "told")
    forged = httpx.post(url[:-4] + "0000", json={"id": record["id"], "output": "forged"})
    assert forged.status_code == 404
    assert there.tell(record["id"]) == 200
    assert calls.ended(id)["output"] == "told"
