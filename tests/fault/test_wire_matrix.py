"""Every fault at every message of the agents' protocol, with real commands.

One server and one agent with one slot for each fault; a proxy between them strikes at one message after the
other. Whatever was struck: the prediction comes to exactly one terminal state (promise 1), with the right
result (promises 2 to 4), a cancel ends as canceled (promise 6), and the slot takes the next one.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.commands import Agent, Calls, Server, until
from tests.support.proxy import Pair
from tests.support.wire_proxy import WireProxy

LIMITS = (
    *("--beat-s", "0.3", "--silence-s", "1", "--hello-s", "1", "--lease-s", "2"),
    *("--max-attempts", "9", "--quarantine-after", "99", "--cancel-grace-s", "1"),
)
MESSAGES = (
    *("hello", "welcome", "attach", "attached"),
    *("dispatch", "accepted", "upload", "upload_to", "progress", "finished", "ack", "cancel"),
)
CONNECTING, WORKING = MESSAGES[:4], MESSAGES[4:]
MODEL = """
import os, pathlib, tempfile, time
from typing import Iterator
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, name: str, folder: str, wait: bool = False) -> Iterator[Path]:
        with open(os.path.join(folder, name), "a") as trace:
            trace.write("run ")
        print("running", name)
        while wait:
            time.sleep(0.02)
        place = pathlib.Path(tempfile.mkdtemp()) / f"{name}.txt"
        place.write_text("made " + name)
        yield Path(place)
"""


class House:
    """A server, an agent and the wire between them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.trace = folder / "trace"
        self.trace.mkdir(parents=True)
        model = folder / "model"
        model.mkdir()
        (model / "predict.py").write_text(MODEL)
        self.server = Server(folder / "data", *LIMITS)
        stack.callback(self.server.close)
        self.server.start()
        self.proxy = WireProxy(self.server.port)
        stack.callback(self.proxy.close)
        self.agent = Agent(self.server, folder / "state", f"test/maker={model}", url=self.proxy.url)
        stack.callback(self.agent.close)
        self.agent.ready()
        self.calls: Calls = self.server.calls()

    @property
    def server_pid(self) -> int:
        assert self.server.command is not None
        return self.server.command.process.pid

    def create(self, name: str, *, wait: bool = False) -> str:
        made = self.calls.create("test/maker", {"name": name, "folder": str(self.trace), "wait": wait})
        return str(made["id"])

    def named(self, name: str) -> str:
        """The id of one whose create was not answered; what was sent to an agent is accepted."""
        found = self.calls.http.get("/v1/predictions").json()["results"]
        (id,) = [each["id"] for each in found if each["input"]["name"] == name]
        return str(id)

    def right(self, ended: dict[str, Any], name: str) -> None:
        """The result is the one that this prediction makes, and its file is there."""
        assert ended["status"] == "succeeded", ended
        (url,) = ended["output"]
        assert self.calls.http.get(url).text == f"made {name}"


@dataclass(frozen=True)
class Fault:
    """What happens at the message, and what follows to put an end to it."""

    strike: Callable[[House, Pair], bool]
    after: Callable[[House], None] = lambda house: None


def _cut(house: House, pair: Pair) -> bool:
    pair.reset()
    return False


def _half_open(house: House, pair: Pair) -> bool:
    pair.swallow = True
    return False


def _delay(house: House, pair: Pair) -> bool:
    time.sleep(0.7)  # is what a slow wire does; below the silence
    return True


def _kill_agent(house: House, pair: Pair) -> bool:
    house.agent.kill()
    return False


def _kill_server(house: House, pair: Pair) -> bool:
    house.server.kill()
    return False


def _stop_agent(house: House, pair: Pair) -> bool:
    house.agent.signal(signal.SIGSTOP)
    return True


def _stop_server(house: House, pair: Pair) -> bool:
    os.kill(house.server_pid, signal.SIGSTOP)
    return True


def _thaw_agent(house: House) -> None:
    time.sleep(1.3)  # is the time that it is frozen for; above the silence
    house.agent.signal(signal.SIGCONT)


def _thaw_server(house: House) -> None:
    time.sleep(1.3)
    os.kill(house.server_pid, signal.SIGCONT)


FAULTS = {
    "cut": Fault(_cut),
    "half_open": Fault(_half_open),
    "delay": Fault(_delay),
    "kill_agent": Fault(_kill_agent, lambda house: (house.agent.start_again(), None)[1]),
    "kill_server": Fault(_kill_server, lambda house: (house.server.start(), None)[1]),
    "stop_agent": Fault(_stop_agent, _thaw_agent),
    "stop_server": Fault(_stop_server, _thaw_server),
}


def struck(house: House, fault: Fault, message: str) -> str:
    """Have the fault at the message of one prediction; gives its id once all is as it should be."""
    event = house.proxy.arm(message, lambda pair: fault.strike(house, pair))
    if message == "cancel":
        id = house.create(message, wait=True)
        until(lambda: (house.trace / message).exists(), "it runs")
        canceler = threading.Thread(target=_cancel, args=(house, id))
        canceler.start()
        assert event.wait(20), f"no {message} came"
        fault.after(house)
        canceler.join(30)
        assert house.calls.ended(id)["status"] == "canceled"
        return id
    if message in CONNECTING:
        house.proxy.reset()
    try:
        id = house.create(message)
    except httpx.TransportError:
        id = ""  # the server was killed before it had answered
    assert event.wait(20), f"no {message} came"
    fault.after(house)
    id = id or house.named(message)
    house.right(house.calls.ended(id), message)
    return id


def _cancel(house: House, id: str) -> None:
    """Ask until it is heard: a server that is killed right then has not promised anything."""

    def ask() -> bool:
        try:
            return house.calls.http.post(f"/v1/predictions/{id}/cancel").status_code == 200
        except OSError:
            return False
        except Exception as error:
            if "Protocol" in type(error).__name__ or "Read" in type(error).__name__:
                return False
            if "Connect" in type(error).__name__:
                return False
            raise

    until(ask, "the cancel is taken")


def play(folder: Path, name: str, messages: tuple[str, ...]) -> dict[str, str]:
    """These messages under one fault, one after the other; gives what went wrong, by message."""
    wrong: dict[str, str] = {}
    with ExitStack() as stack:
        house = House(folder, stack)
        ids: dict[str, str] = {}
        for message in messages:
            try:
                ids[message] = struck(house, FAULTS[name], message)
            except Exception as error:
                wrong[message] = f"{type(error).__name__}: {error}"
                break  # the house is not as the next one needs it
        if not wrong:
            last = house.create("last")
            house.right(house.calls.ended(last), "last")  # no slot was lost
            for message, id in ids.items():
                again = house.calls.get(id)["status"]  # and nothing came after the end
                if again != ("canceled" if message == "cancel" else "succeeded"):
                    wrong[message] = f"became {again}"
    return wrong


CASES = [(fault, messages) for fault in FAULTS for messages in (CONNECTING, WORKING)]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Any, Future[dict[str, str]]]]:
    """All at once: most of the time is spent waiting for limits."""
    with ThreadPoolExecutor(len(CASES)) as pool:
        yield {
            (fault, messages): pool.submit(play, tmp_path_factory.mktemp(fault), fault, messages)
            for fault, messages in CASES
        }


@pytest.mark.parametrize(
    ("fault", "messages"), CASES, ids=[f"{fault}-{messages[0]}" for fault, messages in CASES]
)
def test_a_fault_at_each_message_loses_nothing(
    played: dict[Any, Future[dict[str, str]]], fault: str, messages: tuple[str, ...]
) -> None:
    """Promises 1, 2, 3, 4, 6 and 7."""
    assert played[fault, messages].result(200) == {}
