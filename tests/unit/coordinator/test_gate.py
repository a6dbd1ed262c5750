"""Outputs wait for the writes that they depend on, and none overtakes another of its destination."""

from collections.abc import Callable

import pytest

from coordinator.actor.gate import Gate


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def out() -> list[str]:
    return []


@pytest.fixture
def say(out: list[str]) -> Callable[[str], Callable[[], None]]:
    return lambda what: lambda: out.append(what)


Say = Callable[[str], Callable[[], None]]


def test_an_output_waits_for_its_turn(gate: Gate, out: list[str], say: Say) -> None:
    gate.hold(1, "a", say("one"))
    gate.hold(2, "a", say("two"))
    assert out == []
    assert not gate.passes(1)
    gate.durable(1)
    assert out == ["one"]
    assert gate.passes(1)
    assert not gate.passes(2)
    gate.durable(2)
    assert out == ["one", "two"]
    assert gate.empty


def test_what_depends_on_nothing_undurable_passes_at_once(gate: Gate, out: list[str], say: Say) -> None:
    gate.hold(0, "a", say("read"))
    gate.durable(3)
    gate.hold(3, "a", say("later read"))
    assert out == ["read", "later read"]
    assert gate.empty


def test_one_commit_lets_out_many_turns_in_order(gate: Gate, out: list[str], say: Say) -> None:
    for turn in range(1, 6):
        gate.hold(turn, turn % 2, say(str(turn)))
    gate.durable(4)
    assert out == ["1", "2", "3", "4"]
    gate.durable(5)
    assert out[-1] == "5"


def test_an_ungated_output_never_overtakes_a_gated_one(gate: Gate, out: list[str], say: Say) -> None:
    gate.hold(1, "stream", say("gated"))
    gate.overtake_nothing("stream", say("delta"))
    gate.overtake_nothing("stream", say("delta 2"))
    assert out == []
    gate.durable(1)
    assert out == ["gated", "delta", "delta 2"]


def test_an_ungated_output_does_not_wait_for_other_destinations(gate: Gate, out: list[str], say: Say) -> None:
    gate.hold(1, "socket", say("gated"))
    gate.overtake_nothing("stream", say("delta"))
    assert out == ["delta"]


def test_a_gated_output_does_not_overtake_a_delta_that_waits(gate: Gate, out: list[str], say: Say) -> None:
    gate.hold(1, "stream", say("first"))
    gate.overtake_nothing("stream", say("delta"))
    gate.hold(2, "stream", say("second"))
    gate.durable(2)
    assert out == ["first", "delta", "second"]


def test_a_read_of_an_old_turn_stays_behind_what_its_destination_waits_for(
    gate: Gate, out: list[str], say: Say
) -> None:
    gate.durable(1)
    gate.hold(2, "socket", say("new"))
    gate.hold(1, "socket", say("old"))
    assert out == []
    gate.durable(2)
    assert out == ["new", "old"]


def test_once_let_out_a_destination_is_free_again(gate: Gate, out: list[str], say: Say) -> None:
    gate.hold(1, "stream", say("gated"))
    gate.durable(1)
    gate.overtake_nothing("stream", say("delta"))
    assert out == ["gated", "delta"]


def test_what_was_discarded_is_never_said(gate: Gate, out: list[str], say: Say) -> None:
    gate.hold(1, "a", say("lost"))
    gate.overtake_nothing("a", say("lost too"))
    gate.discard()
    gate.durable(1)
    assert out == []
    assert gate.empty


def test_destinations_that_wait_no_longer_are_forgotten(gate: Gate, out: list[str], say: Say) -> None:
    for turn in range(1, 3000):
        gate.hold(turn, f"to {turn}", say("one"))
        gate.hold(turn, "socket", say("other"))
        gate.durable(turn - 1)
    assert len(gate._last) < 1100
    gate.overtake_nothing("socket", say("delta"))
    assert out[-1] == "other"
    gate.durable(2999)
    assert out[-3:] == ["one", "other", "delta"]
