"""What a seed has happen: who asks for what, which faults come when. Data, so that it can be made smaller."""

import random
from typing import Any, Literal

import msgspec

MODELS = ("acme/one", "acme/two")
ACCOUNTS = ("acme", "beta", "gamma")

FaultKind = Literal[
    "kill_server",
    "stop_server",
    "leave_server",
    "kill_agent",
    "unplug_agent",
    "stop_agent",
    "drain_agent",
    "cut",
    "part",
    "slow",
    "fail",
    "slow_disk",
    "clock",
    "receiver_down",
]


class Fault(msgspec.Struct, frozen=True):
    at_s: float
    kind: FaultKind
    machine: int = 0
    for_s: float = 0.0
    """How long it lasts, or by how much a clock jumps."""
    what: str = ""
    """What fails of storage."""
    done: bool = False
    """It was done all the same: only its answer is an error."""


class Request(msgspec.Struct, frozen=True):
    """What one client does: creates, looks, and cancels if ``cancel_after_s`` is set."""

    at_s: float
    key: str
    account: str
    model: str
    input: dict[str, Any]
    webhook: bool = False
    cancel_after_s: float | None = None


class MachinePlan(msgspec.Struct, frozen=True):
    slots: int
    models: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True):
    seed: int
    length_s: float
    machines: tuple[MachinePlan, ...]
    requests: tuple[Request, ...]
    faults: tuple[Fault, ...]


def plan_of(seed: int) -> Plan:
    chance = random.Random(f"plan {seed}")
    length_s = chance.choice((20.0, 60.0, 200.0))
    machines = tuple(
        MachinePlan(chance.choice((1, 1, 2)), chance.choice((MODELS[:1], MODELS[:1], MODELS)))
        for _ in range(chance.choice((1, 2, 2, 3)))
    )
    served = sorted({model for machine in machines for model in machine.models})
    requests = [_request(chance, length_s, number, served) for number in range(chance.choice((4, 10, 25)))]
    faults = [_fault(chance, length_s, len(machines)) for _ in range(chance.choice((0, 2, 5, 10)))]
    faults += _at_worst(chance, faults)
    if chance.random() < 0.1:  # whoever is cut off comes back to a server that cannot hear
        at_s = chance.uniform(0, length_s)
        faults.append(Fault(at_s=at_s, kind="cut", machine=chance.randrange(len(machines))))
        faults.append(Fault(at_s=at_s + 0.01, kind="stop_server", for_s=chance.choice((12.0, 20.0))))
    return Plan(
        seed=seed,
        length_s=length_s,
        machines=machines,
        requests=tuple(sorted(requests, key=lambda request: request.at_s)),
        faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
    )


def _at_worst(chance: random.Random, faults: list[Fault]) -> list[Fault]:
    """Trouble comes in company: soon after some, the server stands still or ends."""
    worse = [fault for fault in faults if chance.random() < 0.3]
    return [
        Fault(
            at_s=fault.at_s + chance.choice((0.01, 0.3, 2.0)),
            kind=chance.choice(("stop_server", "stop_server", "kill_server", "cut")),
            machine=fault.machine,
            for_s=chance.choice((1.0, 12.0, 20.0, 40.0)),
        )
        for fault in worse
    ]


def _request(chance: random.Random, length_s: float, number: int, served: list[str]) -> Request:
    end = chance.choice(("succeed",) * 8 + ("fail", "crash"))
    order = {"steps": chance.choice((1, 3, 8, 20)), "end": end, "deaf": chance.random() < 0.2}
    return Request(
        at_s=chance.uniform(0, length_s),
        key=f"key-{number}",
        account=chance.choice(ACCOUNTS),
        model=chance.choice(served),
        input=order,
        webhook=chance.random() < 0.5,
        cancel_after_s=chance.uniform(0, 20.0) if chance.random() < 0.2 else None,
    )


def _fault(chance: random.Random, length_s: float, machines: int) -> Fault:
    kinds: tuple[FaultKind, ...] = FaultKind.__args__  # type: ignore[attr-defined]
    kind = chance.choice(kinds)
    return Fault(
        at_s=chance.uniform(0, length_s),
        kind=kind,
        machine=chance.randrange(machines),
        for_s=chance.choice((0.5, 3.0, 12.0, 20.0, 40.0))
        * chance.choice((1, 1, -1) if kind == "clock" else (1,)),
        what=chance.choice(("commit", "commit", "read", "load", "fsync")),
        done=chance.random() < 0.5,
    )
