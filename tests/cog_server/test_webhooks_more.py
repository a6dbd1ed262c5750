"""Webhooks under bad conditions: receivers that hang, refuse or are not there yet."""

import socket
import time
from collections.abc import Callable, Iterable
from threading import Event
from typing import Any

import pytest

from gpu_agent.server.webhooks import PROGRESS_S
from tests.cog_server.scenarios.test_webhooks import TERMINAL, hooked, until_terminal
from tests.cog_server.targets import Target
from tests.support.receiver import Received, Receiver, Reply, receiver

Start = Callable[..., Target]
ASYNC = {"Prefer": "respond-async"}


def has_ended(received: Iterable[Received], id: str = "") -> bool:
    return any(each.json["status"] in TERMINAL and each.json["id"].startswith(id) for each in received)


def test_connections_are_kept(shared: Callable[[str], Target], hooks: Receiver) -> None:
    for _ in range(3):
        before = len(hooks.received)
        shared("stream").succeeded({"count": 1}, **hooked(hooks))
        hooks.wait_for(
            lambda all, before=before: any(each.json["status"] in TERMINAL for each in all[before:]),
            "its end",
        )
    # A second one is right where the last answer was still under way when the next prediction began.
    assert len({each.connection for each in hooks.received}) <= 2
    assert len(hooks.received) >= 6


def test_a_receiver_that_hangs_delays_nothing_but_its_own(
    start: Start, hooks: Receiver, signals: Any
) -> None:
    hold = Event()

    def answer(request: Received) -> Reply:
        return Reply(hold=hold if request.json["id"] == "slow" and not hooks.received else None)

    hooks.answer = answer
    target = start("stream").ready()
    began = time.monotonic()
    assert target.succeeded({"count": 3}, id="slow", **hooked(hooks))["status"] == "succeeded"
    assert target.succeeded({"count": 3}, id="quick", **hooked(hooks))["status"] == "succeeded"
    hooks.wait_for(lambda all: has_ended(all, "quick"), "the end of the other")
    received = [each.json for each in hooks.received if each.json["id"] == "slow"]
    given_up = time.monotonic() - began > PROGRESS_S  # on a machine with much else to do
    assert given_up or [each["status"] for each in received] == ["processing"]
    hold.set()
    found = hooks.wait_for(lambda all: has_ended(all, "slow"), "its end")
    own = [each.json for each in found if each.json["id"] == "slow"]
    assert [each["status"] for each in own][-1] == "succeeded"
    assert own[-1]["output"] == ["<0>", "<1>", "<2>"]


def test_a_refusal_is_not_repeated(start: Start, hooks: Receiver) -> None:
    hooks.answer = lambda request: Reply(403)
    target = start("stream").ready()
    target.succeeded({"count": 1}, **hooked(hooks, "completed"))
    target.command.line(r"webhook to http://127\.0\.0\.1:\d+/hook was not delivered.*403")
    assert len(hooks.received) == 1


def test_a_receiver_that_is_there_later(start: Start) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    target = start("stream").ready()
    url = f"http://127.0.0.1:{port}/hook"
    found = target.succeeded({"count": 1}, webhook=url, webhook_events_filter=["start", "completed"])
    target.command.line("was not delivered")
    with receiver(port) as hooks:
        assert until_terminal(hooks) == [found]


def test_progress_is_coalesced(start: Start, hooks: Receiver, signals: Any) -> None:
    target = start("stream", "--webhook-interval-s", "30").ready()
    asked = {"count": 4, "folder": str(signals.folder)}
    target.predict(asked, headers=ASYNC, **hooked(hooks, "output", "completed"))
    hooks.wait_for(lambda all: len(all) == 1, "the first item at once")
    assert hooks.received[0].json["output"] == ["<0>"]
    for name in ("1", "2", "3"):
        signals.make(name)
    found = until_terminal(hooks)
    assert [each["status"] for each in found] == ["processing", "succeeded"]


def test_coalesced_progress_is_sent_in_the_end(start: Start, hooks: Receiver, signals: Any) -> None:
    environment = {"COG_THROTTLE_RESPONSE_INTERVAL": "0.2"}
    target = start("stream", environment=environment).ready()
    asked = {"count": 3, "folder": str(signals.folder)}
    target.predict(asked, headers=ASYNC, id="one", **hooked(hooks, "output"))
    signals.make("1")
    hooks.wait_for(lambda all: bool(all) and all[-1].json["output"] == ["<0>", "<1>"], "the second item")
    signals.make("2")
    assert target.ended("one")["status"] == "succeeded"


@pytest.mark.parametrize("url", ["ftp://example.com/", "http://", "/hook", "http://user:pass@example.com/"])
def test_a_url_that_is_none(shared: Callable[[str], Target], url: str) -> None:
    answer = shared("stream").predict({}, webhook=url)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "webhook"]


def test_a_canceled_one_in_the_queue(start: Start, hooks: Receiver, signals: Any) -> None:
    target = start("waiter", "--queue-size", "1").ready()
    target.predict(signals.input("a"), headers=ASYNC)
    target.predict(signals.input("b"), headers=ASYNC, id="b", **hooked(hooks))
    target.http.post("/predictions/b/cancel")
    assert [each["status"] for each in until_terminal(hooks)] == ["canceled"]
