"""Where a prediction stands, in a sentence."""

from typing import Any, get_args

import pytest

from coordinator.calls import Explained, Reason
from coordinator.prediction import Attempt, Document, ErrorCode, Status
from edge.reasons import sentence


def document(**fields: Any) -> Document:
    given = {"id": "p", "account": "a", "token": "t", "pool": "default", "model": "a/b", "created_at": 0}
    return Document(**(given | {"input": b"{}"} | fields))


def attempt(number: int) -> Attempt:
    return Attempt(number=number, agent="x", agent_name=f"box-{number}", incarnation="i", dispatched_at=0)


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_reason_is_a_sentence(reason: Reason) -> None:
    said = sentence(Explained(document=document(), reason=reason, position=3, of=12))
    assert said.startswith("Waits: ")
    assert said.endswith("; it is number 3 of 12.")


@pytest.mark.parametrize(
    ("p50", "p90", "words"),
    [
        (0.2, 89.0, "begins in about 0 s (nine times in ten within 89 s)."),
        (100.0, 5000.0, "begins in about 2 min (nine times in ten within 83 min)."),
        (5400.0, 90_000.0, "begins in about 1.5 h (nine times in ten within 25.0 h)."),
    ],
)
def test_times_as_people_say_them(p50: float, p90: float, words: str) -> None:
    explained = Explained(
        document=document(), reason="all_busy", position=1, of=1, eta_p50_s=p50, eta_p90_s=p90
    )
    assert sentence(explained).endswith(words)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "Is about to wait for a worker."),
        ({"attempts": (attempt(1),)}, "Was given to box-1, which has not begun it yet."),
        ({"attempts": (attempt(1),), "status": Status.PROCESSING}, "Runs on box-1."),
        (
            {"attempts": (attempt(1), attempt(2)), "status": Status.PROCESSING},
            "Runs on box-2, as attempt 2.",
        ),
        ({"attempts": (attempt(1),), "cancel_requested": True}, "Is being canceled on box-1."),
        ({"status": Status.SUCCEEDED}, "It succeeded."),
        ({"status": Status.CANCELED, "error_code": "canceled"}, "It was canceled, as asked."),
        ({"status": Status.FAILED, "error": "no.", "error_code": "of the model's own"}, "It failed: no."),
        ({"status": Status.FAILED}, "It failed."),
    ],
)
def test_what_runs_or_has_ended(fields: dict[str, Any], said: str) -> None:
    assert sentence(Explained(document=document(**fields))) == said


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_end_is_a_sentence(code: ErrorCode) -> None:
    status = Status.CANCELED if "deadline" in code or "timeout" in code else Status.FAILED
    said = sentence(Explained(document=document(status=status, error="it took 5 s", error_code=code)))
    assert said.startswith("It ")
    assert said.endswith("it took 5 s.")
