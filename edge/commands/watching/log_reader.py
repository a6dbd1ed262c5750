"""What is new in the logs of a prediction, attempt by attempt, each time that it is looked at. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge.commands.predicting.remote_output import unseen


@dataclass(frozen=True, slots=True)
class Part:
    """``heading`` is for the person, and empty where only more of the same attempt has come."""

    heading: str
    text: str


class LogReader:
    """Give it each look at the prediction, in order."""

    def __init__(self) -> None:
        self._seen: dict[int, str] = {}
        self._told: dict[int, str] = {}

    def news(self, prediction: Mapping[str, Any]) -> Iterator[Part]:
        attempts: Sequence[Mapping[str, Any]] = prediction.get("attempts") or [{"number": 1}]
        last = attempts[-1]["number"]
        for attempt in attempts:
            number = attempt["number"]
            # The prediction's own logs are those of its last attempt, and more of them than it keeps itself.
            said = (prediction.get("logs") if number == last else "") or attempt.get("logs") or ""
            more = unseen(self._seen.get(number, ""), said) if said else ""
            self._seen[number] = self._seen.get(number, "") + more
            heading = (
                _heading(attempt) if last > 1 or attempt.get("outcome") not in (None, "finished") else ""
            )
            if more or heading != self._told.get(number, ""):
                yield Part(heading if heading != self._told.get(number, "") else "", more)
            self._told[number] = heading


def _heading(attempt: Mapping[str, Any]) -> str:
    outcome, reason = attempt.get("outcome"), attempt.get("reason")
    ended = f": {outcome}" + (f", {reason}" if reason else "") if outcome else ""
    return f"attempt {attempt['number']}, {attempt.get('worker') or 'no worker'}{ended}"
