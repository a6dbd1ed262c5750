"""What counts against a worker, when it is too much, and how it comes back."""

from typing import Any

import pytest

from coordinator import workers as module
from coordinator.model_schema import FORGET_WORKER, KEEP_WORKER
from coordinator.protocol.limits import ServerLimits
from coordinator.workers import Fault, Strike, Trust, Workers

A, B = "agent-a", "agent-b"
LIMITS = ServerLimits(quarantine_after=3, quarantine_s=60.0)


class Turn:
    """A turn of which only the time matters; what it writes is a table."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000
        self.rows: dict[str, bytes] = {}

    def write(self, statement: str, *parameters: Any) -> None:
        if statement == KEEP_WORKER:
            assert parameters[0] not in self.rows, "a row that is there must go first"
            self.rows[parameters[0]] = parameters[1]
        else:
            assert statement == FORGET_WORKER
            del self.rows[parameters[0]]


class Bench:
    def __init__(self) -> None:
        self.turn = Turn()
        self.workers = self._workers()

    def _workers(self) -> Workers:
        workers = Workers(LIMITS)
        workers.turn = self.turn  # type: ignore[assignment]
        return workers

    def reload(self) -> None:
        self.workers = self._workers()
        self.workers.load(self.turn.rows.items())

    def strike(self, prediction: str, token: str = "t1", fault: Fault = Fault.WORKER, agent: str = A) -> None:
        self.workers.failed(agent, f"box {agent}", Strike(prediction, token, fault, "its process crashed"))

    def trust(self, agent: str = A) -> Trust:
        standing = self.workers.standing(agent)
        return Trust.TRUSTED if standing is None else standing.trust

    def wait(self, seconds: float) -> None:
        self.turn.now += int(seconds * 1e6)

    def probe(self, prediction: str, agent: str = A) -> None:
        assert self.workers.takes_probe(agent)
        self.workers.began(agent, prediction)
        assert not self.workers.takes_probe(agent), "one at a time"


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_worker_of_which_nothing_is_to_be_said_has_no_row(bench: Bench) -> None:
    bench.workers.succeeded(A)
    assert bench.workers.takes_work(A)
    assert bench.workers.standing(A) is None
    assert bench.turn.rows == {}


def test_three_predictions_lost_in_a_row_quarantine_a_worker_with_a_reason(bench: Bench) -> None:
    for prediction in ("p1", "p2"):
        bench.strike(prediction)
        assert bench.workers.takes_work(A)
    bench.strike("p3")
    assert not bench.workers.takes_work(A)
    standing = bench.workers.standing(A)
    assert standing is not None
    assert standing.state == "quarantined"
    assert "3 predictions in a row" in standing.reason
    assert "its process crashed" in standing.reason


def test_one_prediction_counts_once_however_often_it_goes_wrong(bench: Bench) -> None:
    for _ in range(5):
        bench.strike("p1")
    assert bench.trust() is Trust.TRUSTED


def test_a_success_between_them_starts_the_count_anew_and_takes_the_row_away(bench: Bench) -> None:
    bench.strike("p1")
    bench.strike("p2")
    bench.workers.succeeded(A)
    assert bench.turn.rows == {}
    bench.strike("p3")
    bench.strike("p4")
    assert bench.trust() is Trust.TRUSTED


def test_one_client_cannot_have_a_worker_quarantined_by_exceptions(bench: Bench) -> None:
    bench.wait(1)
    for number in range(20):
        bench.strike(f"p{number}", "t1", Fault.MODEL)
        bench.workers.succeeded(B)  # whatever others may do
    assert bench.trust() is Trust.TRUSTED


def test_exceptions_of_several_clients_count_when_another_worker_is_well(bench: Bench) -> None:
    for number, token in enumerate(("t1", "t1", "t2")):
        bench.strike(f"p{number}", token, Fault.MODEL)
    assert bench.trust() is Trust.TRUSTED, "the model may fail everywhere"
    bench.workers.succeeded(B)
    bench.strike("p3", "t1", Fault.MODEL)
    assert bench.trust() is Trust.QUARANTINED


def test_one_client_cannot_have_a_worker_quarantined_by_inputs_that_crash_every_worker(bench: Bench) -> None:
    for number in range(20):
        bench.strike(f"p{number}", "t1")
        bench.strike(f"p{number}", "t1", agent=B)
        for agent in (A, B):
            bench.workers.excuse(agent, f"p{number}")
        assert bench.trust(A) is bench.trust(B) is Trust.TRUSTED


def test_a_crash_that_turns_out_to_be_the_inputs_fault_frees_the_worker_again(bench: Bench) -> None:
    for number in range(3):
        bench.strike(f"p{number}")
    assert bench.trust() is Trust.QUARANTINED
    bench.workers.excuse(A, "p2")
    assert bench.trust() is Trust.TRUSTED


def test_inputs_of_several_clients_that_crash_everything_count(bench: Bench) -> None:
    for number, token in enumerate(("t1", "t2", "t1")):
        bench.strike(f"p{number}", token)
        bench.workers.excuse(A, f"p{number}")
    bench.strike("p4", "t2")
    assert bench.trust() is Trust.QUARANTINED


def test_a_quarantined_worker_is_tried_with_one_prediction_and_freed_by_its_success(bench: Bench) -> None:
    for number in range(3):
        bench.strike(f"p{number}")
    assert not bench.workers.takes_probe(A)
    assert bench.workers.next_probe_in_s([A, B]) == pytest.approx(60.0)
    bench.wait(60)
    bench.probe("p9")
    assert bench.workers.next_probe_in_s([A]) is None
    bench.workers.succeeded(A)
    bench.workers.over(A, "p9")
    assert bench.workers.takes_work(A)
    assert bench.turn.rows == {}


def test_each_probe_that_fails_doubles_the_wait_up_to_an_hour(bench: Bench) -> None:
    for number in range(3):
        bench.strike(f"p{number}")
    waits = []
    bench.wait(60)
    for number in range(10, 20):
        bench.probe(f"p{number}")
        bench.strike(f"p{number}")
        bench.workers.over(A, f"p{number}")
        wait = bench.workers.next_probe_in_s([A])
        assert wait is not None
        waits.append(wait)
        bench.wait(wait)
    assert waits[:3] == pytest.approx([120, 240, 480])
    assert waits[-1] == pytest.approx(module.LONGEST_WAIT_S)


def test_a_probe_that_ends_by_an_exception_or_a_cancel_makes_the_wait_no_longer(bench: Bench) -> None:
    for number in range(3):
        bench.strike(f"p{number}")
    bench.wait(60)
    bench.probe("p9")
    bench.strike("p9", "t1", Fault.MODEL)
    bench.workers.over(A, "p9")
    assert bench.workers.next_probe_in_s([A]) == pytest.approx(60.0)
    bench.wait(60)
    bench.probe("p10")
    bench.workers.over(A, "p10")  # canceled, or given back
    assert bench.workers.takes_probe(A)


def test_what_was_running_when_it_was_quarantined_does_not_prolong_it(bench: Bench) -> None:
    for number in range(3):
        bench.strike(f"p{number}")
    bench.strike("p4")
    assert bench.workers.next_probe_in_s([A]) == pytest.approx(60.0)


def test_distrust_lasts_until_it_is_released(bench: Bench) -> None:
    bench.workers.distrust(A, "old", "it does not say what it runs")
    bench.workers.succeeded(A)
    bench.wait(1e6)
    assert not bench.workers.takes_work(A)
    assert not bench.workers.takes_probe(A)
    bench.workers.release(A)
    assert bench.workers.takes_work(A)
    assert bench.turn.rows == {}


def test_a_drained_worker_gets_nothing_and_no_probe_until_it_is_resumed(bench: Bench) -> None:
    bench.workers.drain(A, "box", draining=True)
    assert not bench.workers.takes_work(A)
    bench.workers.succeeded(A)
    assert not bench.workers.takes_work(A), "what it had may end well"
    bench.workers.drain(A, "box", draining=False)
    assert bench.workers.takes_work(A)
    assert bench.turn.rows == {}


def test_standings_outlive_the_instance(bench: Bench) -> None:
    for number in range(3):
        bench.strike(f"p{number}")
    bench.workers.drain(B, "box", draining=True)
    before = dict(bench.workers.standings())
    bench.reload()
    assert dict(bench.workers.standings()) == before
    assert not bench.workers.takes_work(A)
    assert not bench.workers.takes_work(B)


def test_rows_are_bounded_and_the_oldest_marks_are_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    for number in range(5):
        bench.wait(1)
        bench.workers.distrust(f"s{number}", "old", "gone")
    assert sorted(bench.turn.rows) == ["s2", "s3", "s4"]
