"""A large output is cut off in the middle, by whatever ends: its result arrives, whole and checked (promises
3, 4 and 7), and of what was sent before only the parts that were on their way are sent again."""

import hashlib
import random
import secrets
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.commands import Agent, Calls, Server, until
from tests.support.gauge import Gauge
from tests.support.seaweed import SeaweedFS

MIB = 1024 * 1024
PART, PARTS, AT_ONCE = 5 * MIB, 9, 4
SIZE = (PARTS - 1) * PART + 12345
SLACK = MIB
"""Heads of requests, and the messages of the websocket."""
MODEL = """
import pathlib, tempfile
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, seed: int, size: int) -> Path:
        import random
        place = pathlib.Path(tempfile.mkdtemp()) / "large.bin"
        place.write_bytes(random.Random(seed).randbytes(size))
        return Path(place)
"""


class House:
    """A server, and an agent whose large outputs go through the gauge."""

    def __init__(
        self, server: Server, agent: Agent, gauge: Gauge, store: SeaweedFS | None, prefix: str
    ) -> None:
        self.server = server
        self._store = store
        self._prefix = prefix
        self.agent = agent
        self.gauge = gauge
        self.calls: Calls = server.calls()

    def begin(self, quota_bytes: int) -> str:
        """A prediction whose output has come so far, and stands still."""
        self.gauge.hold_after(quota_bytes)
        id = self.calls.create("test/large", {"seed": 7, "size": SIZE})["id"]
        assert self.gauge.full.wait(30), self.agent.command.lines
        return str(id)

    def whole(self, id: str) -> None:
        ended = self.calls.ended(id, 60)
        assert ended["status"] == "succeeded", ended["error"]
        digest = hashlib.sha256()
        with httpx.stream("GET", ended["output"], follow_redirects=True) as answer:
            for chunk in answer.iter_bytes():
                digest.update(chunk)
        assert digest.hexdigest() == hashlib.sha256(random.Random(7).randbytes(SIZE)).hexdigest()

    def unfinished(self) -> int:
        """Uploads in parts that lie in the storage."""
        if self._store is not None:
            return len(self._store.uploads(self._prefix))
        return len(list((self.server.data / "blobs" / ".uploads").glob("*")))

    @property
    def bucket(self) -> bool:
        return self._store is not None

    def marked(self) -> int:
        """Parts that a server's disk has; of a bucket it is the store that knows."""
        return len(list((self.server.data / "blobs" / ".uploads").glob("*/[0-9]*")))


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "predict.py").write_text(MODEL)
    (folder / "cog.yaml").write_text("predict: predict.py:Predictor\n")
    return f"test/large={folder}"


@pytest.fixture(params=["disk", "bucket"])
def house(request: pytest.FixtureRequest, tmp_path: Path, stack: ExitStack, model: str) -> House:
    options: list[str] = ["--part-bytes", str(PART)]
    environment: dict[str, str] = {}
    gauge: Gauge | None = None
    store: SeaweedFS | None = None
    prefix = f"l{secrets.token_hex(4)}"
    if request.param == "bucket":
        store = request.getfixturevalue("seaweed")
        assert store is not None
        gauge = Gauge(urlsplit(store.endpoint).port or 0)
        environment = store.environment
        options += ["--storage", store.url(prefix, public_endpoint=gauge.url)]
    server = Server(tmp_path / "data", *options, environment=environment)
    stack.callback(server.close)
    server.start()
    gauge = gauge or Gauge(server.port)
    stack.callback(gauge.close)
    url = gauge.url if request.param == "disk" else None
    agent = Agent(server, tmp_path / "agent", model, url=url)
    stack.callback(agent.close)
    agent.ready()
    return House(server, agent, gauge, store, prefix)


def test_an_agent_that_is_killed_goes_on_where_it_was(house: House) -> None:
    id = house.begin((AT_ONCE + 1) * PART)
    house.agent.kill()
    house.gauge.reset()
    house.gauge.let_go()
    house.agent.start_again()
    house.whole(id)
    assert house.gauge.sent_bytes < SIZE - PART + SLACK


def test_a_server_that_is_killed_goes_on_where_it_was(house: House) -> None:
    id = house.begin((AT_ONCE + 1) * PART)
    if not house.bucket:
        until(house.marked, "a part is on the disk")
    house.server.kill()
    house.gauge.reset()
    house.gauge.let_go()
    house.server.start()
    house.whole(id)
    assert house.gauge.sent_bytes < SIZE - PART + SLACK


def test_a_connection_that_is_cut_goes_on_where_it_was(house: House) -> None:
    id = house.begin((AT_ONCE + 1) * PART)
    house.gauge.reset()
    house.gauge.let_go()
    house.whole(id)
    assert house.gauge.sent_bytes < SIZE - PART + SLACK


def test_what_is_canceled_in_the_middle_leaves_no_parts(house: House) -> None:
    id = house.begin((AT_ONCE + 1) * PART)
    assert house.unfinished()
    house.calls.http.post(f"/v1/predictions/{id}/cancel")
    house.gauge.let_go()
    assert house.calls.ended(id)["status"] == "canceled"
    until(lambda: not house.unfinished(), "the parts are gone")
