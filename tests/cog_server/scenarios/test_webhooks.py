"""Webhooks: which, in which order, with what in them."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.cog_server.targets import Target
from tests.support.receiver import Received, Receiver, Reply

TERMINAL = ("succeeded", "failed", "canceled")


@pytest.fixture
def stream(shared: Callable[[str], Target]) -> Target:
    return shared("stream")


def hooked(hooks: Receiver, *events: str) -> dict[str, Any]:
    return {"webhook": f"{hooks.url}/hook", **({"webhook_events_filter": list(events)} if events else {})}


def until_terminal(hooks: Receiver) -> list[dict[str, Any]]:
    """What was received, once the last one is there."""
    received = hooks.wait_for(
        lambda all: any(each.json["status"] in TERMINAL for each in all), "the terminal webhook"
    )
    return [each.json for each in received]


def test_all_of_them(stream: Target, hooks: Receiver, signals: Any) -> None:
    answer = stream.predict(
        {"count": 3, "folder": str(signals.folder)},
        headers={"Prefer": "respond-async"},
        id="the-id",
        **hooked(hooks),
    )
    assert answer.status_code == 202
    hooks.wait_for(lambda all: any(each.json.get("output") for each in all), "the first item")
    signals.make("1")
    signals.make("2")
    found = until_terminal(hooks)
    assert found[0]["status"] == "processing"
    assert not found[0].get("output")
    assert {each["id"] for each in found} == {"the-id"}
    assert {each["status"] for each in found[:-1]} <= {"starting", "processing"}
    assert found[-1]["status"] == "succeeded"
    assert found[-1]["output"] == ["<0>", "<1>", "<2>"]
    assert "item 2\n" in found[-1]["logs"]
    lengths = [len(each.get("output") or []) for each in found]
    assert lengths == sorted(lengths)


def test_a_webhook_holds_what_an_answer_holds(stream: Target, hooks: Receiver) -> None:
    found = stream.succeeded({"count": 1}, id="the-id", **hooked(hooks, "completed"))
    assert until_terminal(hooks) == [found]


@pytest.mark.parametrize(("events", "number"), [(["completed"], 1), (["start", "completed"], 2)])
def test_only_what_is_asked_for(
    stream: Target, hooks: Receiver, signals: Any, events: list[str], number: int
) -> None:
    signals.make("1")
    asked = {"count": 2, "folder": str(signals.folder)}
    stream.predict(asked, headers={"Prefer": "respond-async"}, **hooked(hooks, *events))
    assert len(until_terminal(hooks)) == number


def test_no_events_no_webhooks(stream: Target, hooks: Receiver) -> None:
    stream.succeeded({"count": 2}, webhook=hooks.url, webhook_events_filter=[])
    stream.succeeded({"count": 1}, **hooked(hooks, "completed"))
    assert len(until_terminal(hooks)) == 1


def test_a_failure(stream: Target, hooks: Receiver) -> None:
    stream.predict({"count": 1, "fail": True}, **hooked(hooks, "completed"))
    found = until_terminal(hooks)[-1]
    assert found["status"] == "failed"
    assert found["error"] == "midway"
    assert "item 0\n" in found["logs"]


def test_headers(start: Callable[..., Target], hooks: Receiver) -> None:
    environment = {"WEBHOOK_AUTH_TOKEN": "the-token", "COG_USER_AGENT": "agent/1"}
    target = start("stream", environment=environment).ready()
    trace = {"traceparent": "00-trace", "tracestate": "state"}
    target.predict({"count": 1}, headers=trace, **hooked(hooks, "completed"))
    until_terminal(hooks)
    headers = hooks.received[0].headers
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer the-token"
    assert headers["user-agent"] == "agent/1"
    assert (headers["traceparent"], headers["tracestate"]) == ("00-trace", "state")


def test_the_terminal_one_is_sent_again(stream: Target, hooks: Receiver) -> None:
    hooks.answer = lambda request: Reply((500, 429, 503, 200)[min(3, len(hooks.received))])
    stream.predict({"count": 1}, **hooked(hooks, "completed"))
    hooks.wait_for(lambda all: len(all) == 4, "the fourth try")
    assert len({each.body for each in hooks.received}) == 1


def test_many_items_make_few_webhooks(stream: Target, hooks: Receiver) -> None:
    found = stream.succeeded({"count": 2000}, **hooked(hooks))
    assert len(found["output"]) == 2000
    sent = until_terminal(hooks)
    assert len(sent) < 50
    assert sent[-1] == found


def test_nothing_follows_the_terminal_one(stream: Target, hooks: Receiver) -> None:
    for number in range(5):
        stream.succeeded({"count": 20}, id=f"id-{number}", **hooked(hooks))

    def each_is_terminal(all: list[Received]) -> bool:
        return len([each for each in all if each.json["status"] in TERMINAL]) == 5

    for id in {each.json["id"] for each in hooks.wait_for(each_is_terminal, "all terminal webhooks")}:
        own = [each.json for each in hooks.received if each.json["id"] == id]
        assert own[-1]["status"] == "succeeded"
        assert [each["status"] for each in own[:-1]].count("succeeded") == 0
