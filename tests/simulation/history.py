"""What clients, receivers and machines saw, and what must hold of it whatever happened in between."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from coordinator.prediction import Document, Status
from tests.simulation.agent import Machine, Run

_ORDER = {Status.STARTING: 0, Status.PROCESSING: 1}


class Broken(AssertionError):
    """A promise that was not kept."""


@dataclass(eq=False)
class Asked:
    """One creation of a client."""

    key: str
    account: str
    model: str
    input: dict[str, Any]
    webhook: str = ""
    id: str = ""
    """Once a 201 said so."""
    canceled: bool = False
    """Its client has asked for that, whether or not the answer came."""
    end: Document | None = None
    """The first terminal state that anybody saw."""
    rank: int = 0
    """How far its state has come, of what its client saw."""
    told: list[tuple[str, str, int]] = field(default_factory=list)
    """What its receiver was sent: the message's id, status and sequence."""
    delivered: bool = False
    """Its receiver has answered 200 to its end."""


class Outages:
    """When the server did not run: what it cannot hear then is nobody's silence."""

    def __init__(self) -> None:
        self._over: list[tuple[float, float]] = []
        self._since: float | None = None

    def begin(self, now: float) -> None:
        if self._since is None:
            self._since = now

    def end(self, now: float) -> None:
        if self._since is not None:
            self._over.append((self._since, now))
            self._since = None

    def between(self, begin: float, end: float) -> float:
        """Seconds."""
        over = [*self._over, (self._since, end)] if self._since is not None else self._over
        return sum(max(0.0, min(end, b) - max(begin, a)) for a, b in over)


class History:
    """``lease_s``: how long a silent worker keeps what it runs."""

    def __init__(self, lease_s: float, max_attempts: int) -> None:
        self.outages = Outages()
        self.story: list[str] = []
        self.told: Callable[[str], object] = lambda line: None
        self.asked: list[Asked] = []
        self.by_id: dict[str, Asked] = {}
        self.runs: defaultdict[str, list[Run]] = defaultdict(list)
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._bodies: dict[str, bytes] = {}
        self._early: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)
        """What receivers heard of predictions whose clients have not heard of them yet."""

    def say(self, at: float, text: str) -> None:
        self.story.append(f"{at:10.3f} {text}")
        self.told(self.story[-1])

    # --- clients ------------------------------------------------------------------------------------------

    def accepted(self, asked: Asked, document: Document) -> None:
        if asked.id and asked.id != document.id:
            raise Broken(f"{asked.key} was {asked.id}, and is now {document.id}: it exists twice")
        if not asked.id:
            asked.id = document.id
            self.by_id[document.id] = asked
            for heard in self._early.pop(document.id, ()):
                heard()
        self.seen(asked, document)

    def seen(self, asked: Asked, document: Document) -> None:
        """A client was told this. Its clients ask one after the other."""
        if asked.end is not None:
            before = asked.end
            same = (document.status, document.output, document.error, document.completed_at)
            if same != (before.status, before.output, before.error, before.completed_at):
                raise Broken(f"{asked.id} was {_shown(before)}, and is now {_shown(document)}")
            return
        if document.status.terminal:
            asked.end = document
            self._explained(asked, document)
            return
        rank = _ORDER[document.status]
        if rank < asked.rank:
            raise Broken(f"{asked.id} was processing, and is {document.status} again")
        asked.rank = rank

    def unknown(self, asked: Asked) -> None:
        if asked.id:
            raise Broken(f"{asked.id} was accepted, and is not known")

    def _explained(self, asked: Asked, end: Document) -> None:
        """An end has a reason that a model or a client gave."""
        attempts = {f"{end.id}-{attempt.number}" for attempt in end.attempts}
        if end.status is Status.SUCCEEDED:
            output = msgspec.json.decode(end.output or b"null")
            makers = {str(item).split(" ")[0] for item in output}
            if len(makers) != 1 or not makers <= attempts:
                raise Broken(f"{end.id} has the output {output} of {makers}")
            if output != [f"{min(makers)} {step}" for step in range(asked.input["steps"])]:
                raise Broken(f"{end.id} has not all of its output: {output}")
            if asked.input["end"] != "succeed":
                raise Broken(f"{end.id} succeeded, its model never does")
        elif end.status is Status.CANCELED:
            if not asked.canceled:
                raise Broken(f"{end.id} is canceled, nobody asked for it ({end.error_code})")
        elif end.error_code == "model_error":
            if end.error != f"no: {end.id}-{end.attempts[-1].number}":
                raise Broken(f"{end.id} failed by an attempt that is not its last: {_shown(end)}")
        elif end.error_code not in ("worker_lost", "poison", "runner_crashed"):
            raise Broken(f"{end.id} failed for no reason: {_shown(end)}")
        if len(end.attempts) > self._max_attempts and not any(
            attempt.outcome == "refused" for attempt in end.attempts
        ):
            raise Broken(f"{end.id} had {len(end.attempts)} attempts")

    # --- machines -----------------------------------------------------------------------------------------

    def begun(self, run: Run, machines: Iterable[Machine], now: float) -> None:
        """Nobody else runs it, but one that was silent until its lease was over."""
        self.say(now, f"{run.machine.host} runs {run.attempt_id}")
        for other in self.runs[run.prediction]:
            if other.attempt == run.attempt and other.machine is run.machine and other.process is run.process:
                raise Broken(f"{run.attempt_id} runs twice on {run.machine.host}")
            if not other.active or other.machine is run.machine:
                continue
            # Whichever of the two was dispatched first, its machine was silent when the other one began.
            silent, at = (other, run) if other.attempt < run.attempt else (run, other)
            heard_at = silent.machine.heard_at if at is run else at.heard_at[silent.machine.host]
            if silent is other:
                heard_at = max(heard_at, silent.began_at)
            silence_s = at.began_at - heard_at - self.outages.between(heard_at, at.began_at)
            if silence_s < self._lease_s:
                raise Broken(
                    f"{run.machine.host} runs {run.attempt_id} while {other.machine.host} runs "
                    f"{other.attempt_id}; {silent.machine.host} had been silent for {silence_s:.1f} s"
                )
        run.heard_at = {machine.host: machine.heard_at for machine in machines}
        self.runs[run.prediction].append(run)

    # --- receivers ----------------------------------------------------------------------------------------

    def heard(self, message: str, body: bytes) -> None:
        """A receiver was sent this."""
        shown = msgspec.json.decode(body)
        asked = self.by_id.get(shown["id"])
        if asked is None:
            self._early[shown["id"]].append(partial(self.heard, message, body))
            return
        terminal = Status(shown["status"]).terminal
        before = [told for told in asked.told if Status(told[1]).terminal]
        if before and not terminal:
            raise Broken(f"{asked.id}: progress comes after its end")
        if before and before[0][0] != message:
            raise Broken(f"the end of {asked.id} came as {before[0][0]}, and as {message}")
        if terminal and self._bodies.setdefault(asked.id, body) != body:
            raise Broken(f"the end of {asked.id} was {self._bodies[asked.id]!r}, and is {body!r}")
        if asked.told and shown["sequence"] < asked.told[-1][2]:
            raise Broken(f"{asked.id}: what its receiver hears goes back")
        if terminal and asked.end is not None and asked.end.status != shown["status"]:
            raise Broken(f"{asked.id} ended as {asked.end.status}, its receiver heard {shown['status']}")
        asked.told.append((message, shown["status"], shown["sequence"]))

    def delivered(self, body: bytes) -> None:
        shown = msgspec.json.decode(body)
        asked = self.by_id.get(shown["id"])
        if asked is None:
            self._early[shown["id"]].append(partial(self.delivered, body))
        elif Status(shown["status"]).terminal:
            asked.delivered = True

    # --- the end ------------------------------------------------------------------------------------------

    @property
    def open(self) -> list[Asked]:
        """What has not come to its end, or not to its receiver."""
        return [
            asked
            for asked in self.asked
            if asked.id and (asked.end is None or (asked.webhook and not asked.delivered))
        ]

    def all_over(self) -> None:
        for asked in self.open:
            if asked.end is None:
                raise Broken(f"{asked.id} never ended")
            raise Broken(f"the end of {asked.id} was never told to its receiver")


def _shown(document: Document) -> str:
    attempts = [(attempt.number, attempt.agent_name, attempt.outcome) for attempt in document.attempts]
    return f"{document.status} {document.error_code} {document.error} {document.output!r} {attempts}"
