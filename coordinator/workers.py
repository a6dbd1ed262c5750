"""What a coordinator thinks of its workers: who gets work, who is in quarantine and why, who is drained.

A worker is known by its agent's id, over restarts of either side. Only one that there is something to say of
has a row; a success takes it away. What counts against a worker, and when it is too much:

* ``worker``: its own fault. Its process crashed or was killed, a setup failed after the dispatch, an upload
  failed, or it was lost until its lease was over.
* ``input``: it crashed, and so did another worker over the same prediction: that one is poison.
* ``model``: the model raised an exception.

A worker is quarantined after ``quarantine_after`` different predictions in a row, no success between them,
that were all ``worker``; or of all three kinds, when they came from at least two tokens and, once exceptions
are needed to make up the number, another worker succeeded meanwhile. So one client alone, which has one
token, cannot have a worker taken away by what it sends: its exceptions need a second client's, and an input
that crashes everything is the input's fault as soon as it has crashed a second worker. Nor does a model that
fails everywhere, or refuses many inputs by an exception, lose its workers: then no other one succeeds. What a
restart or a stall of our own server caused is never reported here.

After ``quarantine_s`` one prediction at a time is tried on it. A success frees it, a failure doubles the
wait.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from coordinator.actor.turn import Turn
from coordinator.model_schema import FORGET_FACT, FORGET_WORKER, KEEP_FACT, KEEP_WORKER
from coordinator.protocol.limits import ServerLimits

LONGEST_WAIT_S = 3600.0
"""How far failing probes stretch a quarantine."""
BY_HAND = "an administrator put it there"
"""Why a worker is in quarantine that has done nothing wrong, as far as is counted."""
PAUSED = "paused"
"""The fact that nothing is to begin."""
MOST_ROWS = 1000
"""Workers that are remembered for one model: over that the ones marked longest ago are forgotten."""


class Trust(StrEnum):
    TRUSTED = "trusted"
    QUARANTINED = "quarantined"
    """Gets one prediction now and then, to see whether it is well again."""
    DISTRUSTED = "distrusted"
    """Gets nothing until someone releases it: nobody knows what it is doing."""


class Fault(StrEnum):
    """Why an attempt that did not succeed counts against its worker; the module says more."""

    WORKER = "worker"
    INPUT = "input"
    MODEL = "model"


class Strike(msgspec.Struct, frozen=True, omit_defaults=True):
    """One prediction that went wrong on a worker."""

    prediction: str
    token: str
    fault: Fault
    what: str
    """In words, as ``its process crashed``."""


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one worker. Times are microseconds since the epoch."""

    agent: str
    name: str
    trust: Trust = Trust.TRUSTED
    draining: bool = False
    """By an administrator: finishes what it has, gets nothing new."""
    reason: str = ""
    """Why it is not trusted, in words."""
    since: int = 0
    """When trust or draining last changed."""
    strikes: tuple[Strike, ...] = ()
    """Since its last success, the latest of each prediction."""
    probes: int = 0
    """Failed tries since it was quarantined."""
    probe_at: int = 0
    """When the next one may be made."""

    @property
    def state(self) -> str:
        """One word for people: what keeps work away from it, if anything does."""
        if self.trust is not Trust.TRUSTED:
            return self.trust.value
        return "draining" if self.draining else "ok"


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Standing).decode


class Workers:
    """The standings of one coordinator's workers. ``turn`` is set when the object is loaded."""

    def __init__(self, limits: ServerLimits) -> None:
        self.turn: Turn
        self._limits = limits
        self.paused = False
        """By an administrator: nothing begins, on whatever worker. Written by ``pause`` and at a load."""
        self.changes = 0
        """How often a standing has changed, so that others can tell whether one has."""
        self._standings: dict[str, Standing] = {}
        self._probes: dict[str, str] = {}
        """Agent in quarantine -> the prediction that it is tried with."""
        self._succeeded_at: dict[str, int] = {}
        """Agent -> its last success, for those that are attached."""
        self._struck_at: dict[str, int] = {}
        """Agent -> when its row of strikes began."""

    def load(self, rows: Iterable[tuple[Any, ...]]) -> None:
        for _, blob in rows:
            standing = _decode(blob)
            self._standings[standing.agent] = standing
            self._struck_at[standing.agent] = self.turn.now

    @property
    def quarantine(self) -> bool:
        """Whether any worker is in it."""
        return any(each.trust is Trust.QUARANTINED for each in self._standings.values())

    # --- asked by dispatch ----------------------------------------------------------------------------------

    def standing(self, agent: str) -> Standing | None:
        """None for a worker that nothing is to be said of."""
        return self._standings.get(agent)

    def standings(self) -> Mapping[str, Standing]:
        return self._standings

    def takes_work(self, agent: str) -> bool:
        """Whether it is to get work as any other."""
        standing = self._standings.get(agent)
        return not self.paused and (standing is None or standing.state == "ok")

    def takes_probe(self, agent: str) -> bool:
        """Whether it is to get one prediction, for trial; say ``began`` when it got it."""
        standing = self._standings.get(agent)
        return (
            standing is not None
            and not self.paused
            and standing.trust is Trust.QUARANTINED
            and not standing.draining
            and agent not in self._probes
            and standing.probe_at <= self.turn.now
        )

    def next_probe_in_s(self, agents: Iterable[str]) -> float | None:
        """When the first of these in quarantine may be tried; None when none is waiting for that."""
        waits = [
            (standing.probe_at - self.turn.now) / 1e6
            for agent in agents
            if (standing := self._standings.get(agent)) is not None
            and standing.trust is Trust.QUARANTINED
            and not standing.draining
            and agent not in self._probes
        ]
        return max(0.0, min(waits)) if waits else None

    # --- told by attempts -----------------------------------------------------------------------------------

    def began(self, agent: str, prediction: str) -> None:
        """An attempt was given to it: a probe, if it is in quarantine."""
        standing = self._standings.get(agent)
        if standing is not None and standing.trust is Trust.QUARANTINED:
            self._probes.setdefault(agent, prediction)

    def over(self, agent: str, prediction: str) -> None:
        """The attempt is no longer with it, however it ended. After ``succeeded`` or ``failed``."""
        if self._probes.get(agent) == prediction:
            del self._probes[agent]

    def succeeded(self, agent: str) -> None:
        """It is well: strikes and quarantine are over. Distrust stays: the success says nothing of that."""
        self._succeeded_at[agent] = self.turn.now
        standing = self._standings.get(agent)
        if standing is None or not (standing.strikes or standing.trust is Trust.QUARANTINED):
            return
        if standing.trust is Trust.QUARANTINED:
            standing = self._freed(standing)
        self._keep(replace(standing, strikes=()))

    def failed(self, agent: str, name: str, strike: Strike) -> None:
        """Count an attempt against its worker; it may be quarantined by that."""
        standing = self._standings.get(agent) or Standing(agent=agent, name=name)
        if not standing.strikes:
            self._struck_at[agent] = self.turn.now
        others = [each for each in standing.strikes if each.prediction != strike.prediction]
        strikes = (*others, strike)[-2 * self._limits.quarantine_after :]
        standing = replace(standing, name=name, strikes=strikes)
        if standing.trust is Trust.QUARANTINED:
            if self._probes.get(agent) == strike.prediction:
                standing = self._put_off(standing, strike)
        elif standing.trust is Trust.TRUSTED and self._too_much(standing):
            standing = self._quarantined(standing)
        self._keep(standing)

    def excuse(self, agent: str, prediction: str) -> None:
        """The prediction crashed another worker too: it counts as the input's fault from now on."""
        standing = self._standings.get(agent)
        if standing is None or all(each.prediction != prediction for each in standing.strikes):
            return
        strikes = tuple(
            replace(each, fault=Fault.INPUT) if each.prediction == prediction else each
            for each in standing.strikes
        )
        standing = replace(standing, strikes=strikes)
        counted = standing.trust is Trust.QUARANTINED and standing.reason != BY_HAND
        if counted and not standing.probes and not self._too_much(standing):
            standing = self._freed(standing)
        self._keep(standing)

    def gone(self, agent: str) -> None:
        """Its session is over."""
        self._succeeded_at.pop(agent, None)

    # --- told by administrators and by who knows better -----------------------------------------------------

    def distrust(self, agent: str, name: str, reason: str) -> None:
        """Give it nothing more, until it is released."""
        standing = self._standings.get(agent) or Standing(agent=agent, name=name)
        if standing.trust is not Trust.DISTRUSTED or standing.reason != reason:
            self._keep(
                replace(standing, trust=Trust.DISTRUSTED, reason=reason, since=self.turn.now, probes=0)
            )

    def quarantine_by_hand(self, agent: str, name: str) -> None:
        """As if predictions in a row had gone wrong on it: it is tried after a time, or released."""
        standing = self._standings.get(agent) or Standing(agent=agent, name=name)
        if standing.trust is Trust.TRUSTED:
            self._keep(self._in_quarantine(standing, BY_HAND))

    def pause(self, paused: bool) -> None:
        """Let nothing begin, on whatever worker, until it may again."""
        if self.paused is not paused:
            self.paused = paused
            self.changes += 1
            if paused:
                self.turn.write(KEEP_FACT, PAUSED, b"1")
            else:
                self.turn.write(FORGET_FACT, PAUSED)

    def load_facts(self, facts: Iterable[tuple[Any, ...]]) -> None:
        self.paused = any(name == PAUSED for name, _ in facts)

    def release(self, agent: str) -> None:
        """Trust it again, as if nothing had been. Does nothing for one that is trusted."""
        standing = self._standings.get(agent)
        if standing is not None:
            self._keep(replace(self._freed(standing), strikes=()))

    def drain(self, agent: str, name: str, draining: bool) -> None:
        """Give it nothing new, or work as before."""
        standing = self._standings.get(agent) or Standing(agent=agent, name=name)
        if standing.draining is not draining:
            self._keep(replace(standing, draining=draining, since=self.turn.now))

    # --- inside -------------------------------------------------------------------------------------------

    def _too_much(self, standing: Standing) -> bool:
        """The rule of the module."""
        limit, strikes = self._limits.quarantine_after, standing.strikes
        if sum(each.fault is Fault.WORKER for each in strikes) >= limit:
            return True
        if len(strikes) < limit or len({each.token for each in strikes}) < 2:
            return False
        crashes = sum(each.fault is not Fault.MODEL for each in strikes)
        began = self._struck_at.get(standing.agent, 0)
        peer = any(at >= began for agent, at in self._succeeded_at.items() if agent != standing.agent)
        return crashes >= limit or peer

    def _quarantined(self, standing: Standing) -> Standing:
        last = standing.strikes[-1]
        reason = f"{len(standing.strikes)} predictions in a row went wrong on it; the last one: {last.what}"
        return self._in_quarantine(standing, reason)

    def _in_quarantine(self, standing: Standing, reason: str) -> Standing:
        wait_s = self._limits.quarantine_s
        now = self.turn.now
        return replace(
            standing,
            trust=Trust.QUARANTINED,
            reason=reason,
            since=now,
            probes=0,
            probe_at=now + int(wait_s * 1e6),
        )

    def _put_off(self, standing: Standing, strike: Strike) -> Standing:
        """A probe went wrong: wait longer. An exception says too little for that: wait as long again."""
        probes = standing.probes + (strike.fault is not Fault.MODEL)
        wait_s = min(self._limits.quarantine_s * 2 ** min(probes, 30), LONGEST_WAIT_S)
        wait_s = max(wait_s, self._limits.quarantine_s)
        reason = f"went wrong again when it was tried; the last time: {strike.what}"
        return replace(standing, probes=probes, reason=reason, probe_at=self.turn.now + int(wait_s * 1e6))

    def _freed(self, standing: Standing) -> Standing:
        return replace(standing, trust=Trust.TRUSTED, reason="", since=self.turn.now, probes=0, probe_at=0)

    def _keep(self, standing: Standing) -> None:
        """Remember it, if there is anything to remember."""
        self.changes += 1
        self._forget(standing.agent)
        if standing.state == "ok" and not standing.strikes:
            self._struck_at.pop(standing.agent, None)
            return
        if len(self._standings) >= MOST_ROWS:
            self._forget(min(self._standings, key=lambda agent: self._standings[agent].since))
        self._standings[standing.agent] = standing
        self.turn.write(KEEP_WORKER, standing.agent, _encode(standing))

    def _forget(self, agent: str) -> None:
        if self._standings.pop(agent, None) is not None:
            self.turn.write(FORGET_WORKER, agent)
