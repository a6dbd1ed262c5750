"""Requests to a cog-server, read without one."""

import pytest

from gpu_agent.server.feed import LOG_BYTES, Feed
from gpu_agent.server.http import Problem
from gpu_agent.server.orders import Preference, input_problems, preference


@pytest.mark.parametrize(
    ("value", "expected", "hold_s"),
    [
        (b"", Preference(), None),
        (b"respond-async", Preference(respond_async=True), 0.0),
        (b"wait", Preference(), None),
        (b"wait=5", Preference(wait_s=5.0), 5.0),
        (b'respond-async, wait="5"', Preference(respond_async=True, wait_s=5.0), 5.0),
        (b"wait=-5, wait=x", Preference(), None),
        (b"handling=lenient;x=respond-async", Preference(), None),
    ],
)
def test_preferences(value: bytes, expected: Preference, hold_s: float | None) -> None:
    found = preference([(b"prefer", value)])
    assert found == expected
    assert found.hold_s == hold_s


def test_preferences_in_several_headers() -> None:
    assert preference(
        [(b"prefer", b"wait=5"), (b"accept", b"x"), (b"prefer", b"respond-async")]
    ) == Preference(respond_async=True, wait_s=5.0)


def test_a_models_own_refusal_by_input() -> None:
    found = input_problems("a: must be x; b: y: fits none: 1; 2; ab: is required", ["a", "b", "ab"])
    assert found == [
        Problem(("body", "input", "a"), "must be x", "value_error"),
        Problem(("body", "input", "b"), "y: fits none: 1; 2", "value_error"),
        Problem(("body", "input", "ab"), "is required", "value_error"),
    ]
    assert input_problems("something else", ["a"]) == [
        Problem(("body", "input"), "something else", "value_error")
    ]


def test_a_feed_keeps_the_newest() -> None:
    feed = Feed(3)
    for number in range(5):
        feed.add("output", number)
    events, missed = feed.since(0)
    assert ([event.data for event in events], missed) == ([2, 3, 4], 2)
    assert feed.since(3) == (events[1:], 0)
    assert feed.since(5) == ([], 0)


def test_a_feed_does_not_hold_floods_of_logs() -> None:
    feed = Feed(1000)
    for _ in range(100):
        feed.add("log", {"source": "stdout", "data": "x" * 100_000})
    events, missed = feed.since(0)
    assert sum(len(event.data["data"]) for event in events) <= LOG_BYTES
    assert len(events) + missed == 100
