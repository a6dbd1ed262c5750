"""Whose fault a failed attempt is, and whether its prediction is tried again. Pure.

The agent says in ``error_code`` what went wrong. Most of it is the answer: the prediction fails with it. When
the worker could not run the prediction to its end, another one may.
"""

from enum import StrEnum
from typing import NamedTuple

from coordinator.prediction import Attempt, ErrorCode
from coordinator.protocol.messages import Finished
from coordinator.workers import Fault


class Outcome(StrEnum):
    """How an attempt ended, for its prediction's list of attempts."""

    FINISHED = "finished"
    """It came to a result, good or bad."""
    REFUSED = "refused"
    """The worker did not take it or gave it back: as if it had not been."""
    LOST = "lost"
    """The worker was gone until the lease was over, or came back without it."""
    CRASHED = "crashed"
    """The model's process ended while it ran."""
    UNFIT = "unfit"
    """The worker took it and could not begin it: its model cannot be set up any more."""
    FENCED = "fenced"
    """Canceled while the worker could not be told."""


REPEATED = {
    "runner_crashed": Outcome.CRASHED,
    "runner_defunct": Outcome.UNFIT,
    "runner_stopped": Outcome.UNFIT,
    "provider_lost": Outcome.LOST,
}
"""Error codes of an agent after which the prediction is tried elsewhere."""

_FAULTS = {
    "runner_crashed": Fault.WORKER,
    "runner_defunct": Fault.WORKER,
    "upload_error": Fault.WORKER,
    "agent_error": Fault.WORKER,
    "model_error": Fault.MODEL,
    "invalid_output": Fault.MODEL,
}


def fault_of(message: Finished) -> Fault | None:
    """What a failed result counts as against its worker; None for what says nothing of it."""
    return _FAULTS.get(message.error_code or "model_error")


class Failure(NamedTuple):
    """Why a prediction is not tried again."""

    code: str
    error: str


def final(
    attempts: tuple[Attempt, ...], *, retries: int | None, max_attempts: int, poison_after: int
) -> Failure | None:
    """Whether the attempts so far, of which the last has just ended early, are enough; None for once more."""
    early = [a for a in attempts if a.outcome in (Outcome.LOST, Outcome.CRASHED, Outcome.UNFIT)]
    crashed = [a for a in early if a.outcome == Outcome.CRASHED]
    last = early[-1]
    allowed = max_attempts if retries is None else min(retries + 1, max_attempts)
    if len(crashed) >= poison_after:
        names = ", ".join(dict.fromkeys(a.agent_name for a in crashed))
        error = f"it ended {len(crashed)} processes that ran it ({names}); the last one: {last.reason}"
        return Failure(ErrorCode.POISON, error)
    if len(early) < allowed:
        return None
    if last.outcome == Outcome.LOST:
        names = ", ".join(a.agent_name for a in early)
        return Failure(ErrorCode.WORKER_LOST, f"{len(early)} workers were lost while they ran it ({names})")
    code = "runner_crashed" if last.outcome == Outcome.CRASHED else "runner_defunct"
    return Failure(code, last.reason)
