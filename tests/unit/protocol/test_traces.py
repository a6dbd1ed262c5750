import pytest

from coordinator.prediction import Attempt, Document, Status
from coordinator.protocol.traces import attempt_span, parent_of
from coordinator.spans import spans_of, trace_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
GIVEN = f"00-{TRACE}-b7ad6b7169203331-01"


def test_a_traceparent_is_read_and_written_the_same() -> None:
    parent = parent_of(GIVEN)
    assert parent is not None
    assert (parent.trace_id, parent.span_id, parent.sampled) == (TRACE, "b7ad6b7169203331", True)
    assert parent.text == GIVEN
    assert parent.of("c" * 16).text == f"00-{TRACE}-{'c' * 16}-01"


@pytest.mark.parametrize("flags", ["00", "02"])
def test_what_is_not_sampled(flags: str) -> None:
    parent = parent_of(f"00-{TRACE}-b7ad6b7169203331-{flags}")
    assert parent is not None
    assert not parent.sampled


def test_a_version_to_come_may_say_more() -> None:
    assert parent_of(f"01-{TRACE}-b7ad6b7169203331-01-more") is not None
    assert parent_of(f"{GIVEN}-more") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        GIVEN.upper(),
        GIVEN[:-1],
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"01-{TRACE}-b7ad6b7169203331-01-{'x' * 600}",
    ],
)
def test_what_is_none(text: str) -> None:
    assert parent_of(text) is None


def document(**more: object) -> Document:
    plain = {"id": "p", "account": "a", "token": "t", "pool": "default", "model": "a/b", "input": b"{}"}
    return Document(**{**plain, "created_at": 1_000, "trace": GIVEN, **more})  # type: ignore[arg-type]


def attempt(number: int, begun: int, ended: int | None, outcome: str | None) -> Attempt:
    return Attempt(
        number=number,
        agent=f"agent-{number}",
        agent_name=f"box-{number}",
        incarnation="i",
        dispatched_at=begun,
        ended_at=ended,
        outcome=outcome,
    )


def test_each_wait_and_each_attempt_is_a_span() -> None:
    attempts = (attempt(1, 2_000, 3_000, "lost"), attempt(2, 5_000, 9_000, "finished"))
    ended = document(status=Status.SUCCEEDED, completed_at=9_000, attempts=attempts)

    spans = spans_of(ended)

    assert [(span.name, span.began_at, span.ended_at, span.error) for span in spans] == [
        ("queue", 1_000, 2_000, ""),
        ("attempt", 2_000, 3_000, "lost"),
        ("queue", 3_000, 5_000, ""),
        ("attempt", 5_000, 9_000, ""),
    ]
    assert {(span.trace_id, span.parent_id) for span in spans} == {(TRACE, "b7ad6b7169203331")}
    assert [span.span_id for span in spans[1::2]] == [attempt_span("p", 1), attempt_span("p", 2)]
    told = trace_of(ended, 2)
    assert told is not None
    assert told.parent == f"00-{TRACE}-{attempt_span('p', 2)}-01"


def test_one_that_never_began_only_waited() -> None:
    (span,) = spans_of(document(status=Status.CANCELED, completed_at=4_000))
    assert (span.name, span.began_at, span.ended_at) == ("queue", 1_000, 4_000)


def test_nobody_hears_of_what_is_not_traced() -> None:
    ended = {"status": Status.SUCCEEDED, "completed_at": 9_000, "attempts": (attempt(1, 2, 3, "finished"),)}
    assert not spans_of(document(**ended, trace=""))
    assert not spans_of(document(**ended, trace=f"{GIVEN[:-2]}00"))
    assert trace_of(document(trace=""), 1) is None
