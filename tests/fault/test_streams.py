"""Whatever is cut or killed while an output streams: who comes back with the last id loses nothing, and gets
nothing twice."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import replicate

from edge.frames import LEAVING, REPLACED, as_json
from tests.support.commands import Agent, Calls, Server, until
from tests.support.proxy import Proxy
from tests.support.stream_reader import StreamReader

STREAM = f"test/stream={Path(__file__).parents[1] / 'cog_server' / 'models' / 'stream'}"


class Talk:
    """A prediction whose items, but for the first, are said one by one as the test wants it."""

    def __init__(self, calls: Calls, folder: Path, count: int) -> None:
        folder.mkdir()
        self.folder = folder
        self.count = count
        self.made = calls.create("test/stream", self.input)

    @property
    def input(self) -> dict[str, Any]:
        return {"count": self.count, "folder": str(self.folder)}

    def say(self, *numbers: int) -> None:
        for number in numbers:
            (self.folder / str(number)).touch()

    def outputs(self) -> list[str]:
        return [f"<{number}>" for number in range(self.count)]


@pytest.fixture
def talk(tmp_path: Path) -> Callable[..., Talk]:
    return lambda calls, count: Talk(calls, tmp_path / "talk", count)


@pytest.fixture
def proxied(stack: ExitStack) -> Iterator[Callable[[Server], Proxy]]:
    def start(server: Server) -> Proxy:
        proxy = Proxy(server.port)
        stack.callback(proxy.close)
        return proxy

    yield start


def whole(reader: StreamReader, talk: Talk) -> None:
    """Every output once, in order, and the log as it was."""
    events = reader.end()
    assert reader.outputs == talk.outputs()
    assert "".join(one.data for one in events if one.event == "logs") == "".join(
        f"item {number}\n" for number in range(talk.count)
    )
    assert events[-1].data == "{}"


def test_kill_9_of_the_server_in_the_middle(
    serve: Callable[..., Server], work: Callable[..., Agent], talk: Callable[..., Talk]
) -> None:
    server = serve()
    work(server, STREAM).ready()
    said = talk(server.calls(), 6)
    reader = StreamReader(said.made["urls"]["stream"])
    said.say(1)
    reader.hears(2)
    server.kill()
    said.say(2)
    server.start()
    said.say(3)
    reader.hears(4)
    server.kill()
    said.say(4, 5)  # it ends while nobody listens
    server.start()
    whole(reader, said)
    assert reader.cuts


def test_a_restart_of_the_server_says_so(
    serve: Callable[..., Server], work: Callable[..., Agent], talk: Callable[..., Talk]
) -> None:
    server = serve()
    work(server, STREAM).ready()
    said = talk(server.calls(), 4)
    reader = StreamReader(said.made["urls"]["stream"])
    said.say(1)
    reader.hears(2)
    assert server.stop() == 0
    until(lambda: reader.cuts, "the stream was ended")
    assert reader.cuts[0] == LEAVING.decode().strip()
    server.start()
    said.say(2, 3)
    whole(reader, said)


def test_a_proxy_that_cuts_again_and_again(
    serve: Callable[..., Server],
    work: Callable[..., Agent],
    talk: Callable[..., Talk],
    proxied: Callable[[Server], Proxy],
) -> None:
    server = serve()
    work(server, STREAM).ready()
    proxy = proxied(server)
    said = talk(server.calls(), 6)
    reader = StreamReader(said.made["urls"]["stream"].replace(server.url, proxy.url))
    for number in range(1, 6):
        reader.hears(number)
        proxy.reset()
        said.say(number)
    whole(reader, said)
    assert len(reader.cuts) >= 4


def test_the_agent_s_connection_is_cut_in_the_middle(
    serve: Callable[..., Server],
    work: Callable[..., Agent],
    talk: Callable[..., Talk],
    proxied: Callable[[Server], Proxy],
) -> None:
    server = serve()
    proxy = proxied(server)
    work(server, STREAM, url=proxy.url).ready()
    said = talk(server.calls(), 6)
    reader = StreamReader(said.made["urls"]["stream"])
    for number in range(1, 6):
        reader.hears(number)
        proxy.cut()
        said.say(number)
        proxy.mend()
    whole(reader, said)
    assert reader.cuts == [], "readers notice nothing of it"


def test_what_the_server_has_forgotten_is_had_from_the_agent(
    serve: Callable[..., Server], work: Callable[..., Agent], talk: Callable[..., Talk]
) -> None:
    server = serve("--history-bytes", "2000")
    work(server, STREAM).ready()
    calls = server.calls()
    said = talk(calls, 300)
    said.say(*range(1, 299))
    first = StreamReader(said.made["urls"]["stream"])
    first.hears(299)
    assert len(calls.get(said.made["id"])["output"]) < 100, "the server does not have all of it"
    late = StreamReader(said.made["urls"]["stream"])
    late.hears(299)
    place = [one for one in first.events if one.event == "output"][149].id
    middle = StreamReader(said.made["urls"]["stream"], last_id=place)
    middle.hears(149)
    said.say(299)
    whole(first, said)
    whole(late, said)
    middle.end()
    assert middle.outputs == said.outputs()[150:]


def test_the_stream_of_the_prediction_itself(
    serve: Callable[..., Server], work: Callable[..., Agent], talk: Callable[..., Talk]
) -> None:
    server = serve()
    agent = work(server, STREAM).ready()
    agent.command.terminate()
    said = talk(server.calls(), 3)
    headers = {"Authorization": f"Bearer {server.token()}", "Accept": "text/event-stream"}
    reader = StreamReader(f"{server.url}/v1/predictions/{said.made['id']}", headers=headers)
    until(lambda: len(reader.events) >= 2, "it waits")
    assert json.loads(reader.events[1].data)["reason"] == "no_workers"
    agent.start_again()
    said.say(1)
    reader.hears(2)
    server.kill()
    server.start()
    said.say(2)
    whole(reader, said)
    statuses = [json.loads(one.data)["status"] for one in reader.events if one.event == "status"]
    assert statuses[0] == "starting"
    assert statuses[-2:] == ["processing", "succeeded"]


def test_a_new_worker_begins_a_new_stream(
    serve: Callable[..., Server], work: Callable[..., Agent], talk: Callable[..., Talk]
) -> None:
    """What one worker has said cannot be gone on with by another."""
    server = serve("--lease-s", "1")
    first = work(server, STREAM).ready()
    said = talk(server.calls(), 3)
    reader = StreamReader(said.made["urls"]["stream"])
    said.say(1)
    reader.hears(2)
    first.kill()
    work(server, STREAM).ready()
    assert [(one.event, one.data) for one in reader.end()[-2:]] == [
        ("error", as_json({"detail": REPLACED})),
        ("done", as_json({"reason": "error"})),
    ]
    again = StreamReader(said.made["urls"]["stream"])
    again.hears(2)
    said.say(2)
    whole(again, said)
    assert again.events[-1].id.startswith("2:")


def test_the_official_client_hears_of_a_cut_and_the_rest_can_be_read(
    serve: Callable[..., Server],
    work: Callable[..., Agent],
    talk: Callable[..., Talk],
    proxied: Callable[[Server], Proxy],
) -> None:
    """Python 1.0.7: it does not come back by itself, but what it was given says where it was."""
    server = serve()
    proxy = proxied(server)
    server.stop()
    server.options = (*server.options, "--public-url", proxy.url)
    server.start()
    work(server, STREAM).ready()
    said = talk(server.calls(), 4)
    client = replicate.Client(api_token=server.token(), base_url=proxy.url)
    prediction = client.predictions.get(said.made["id"])
    heard: list[Any] = []
    with pytest.raises(httpx.TransportError):
        for event in prediction.stream():
            heard.append(event)
            if str(event) == "<1>":
                proxy.reset()
            elif str(event) == "<0>":
                said.say(1)
    said.say(2, 3)
    rest = StreamReader(prediction.urls["stream"], last_id=heard[-1].id)
    rest.end()
    assert [str(event) for event in heard if str(event)] + rest.outputs == said.outputs()
    assert "".join(str(event) for event in prediction.stream()) == "".join(said.outputs())
