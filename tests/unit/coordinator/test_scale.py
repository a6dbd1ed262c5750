from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from coordinator.scheduling.scale import desired_workers

counts = st.integers(0, 1_000_000)
few = st.integers(0, 3000)
seconds = st.floats(0, 1e6)
slots = st.integers(1, 64)


@given(counts, counts, seconds, slots, seconds)
def test_none_are_wanted_only_when_there_is_nothing_to_do(queued, running, run_s, each, wait_s) -> None:
    assert (desired_workers(queued, running, run_s, each, wait_s) == 0) == (queued == running == 0)


@given(few, few, seconds, slots, seconds)
def test_there_is_a_slot_for_what_runs_and_never_more_than_one_for_each(
    queued, running, run_s, each, wait_s
) -> None:
    wanted = desired_workers(queued, running, run_s, each, wait_s)
    assert ceil(running / each) <= wanted <= ceil((running + queued) / each)


@given(few, few, seconds, slots, seconds, few, few, seconds)
def test_more_to_do_never_needs_fewer(
    queued, running, run_s, each, wait_s, more_queued, more_running, longer_s
) -> None:
    wanted = desired_workers(queued, running, run_s, each, wait_s)
    more = desired_workers(queued + more_queued, running + more_running, run_s + longer_s, each, wait_s)
    assert more >= wanted


@given(few, few, seconds, slots, seconds, slots, seconds)
def test_more_slots_or_patience_never_need_more(
    queued, running, run_s, each, wait_s, more_slots, longer_s
) -> None:
    wanted = desired_workers(queued, running, run_s, each, wait_s)
    assert desired_workers(queued, running, run_s, each + more_slots, wait_s + longer_s) <= wanted


@given(st.integers(1, 3000), few, st.floats(0.01, 1e4), slots, st.floats(0.01, 1e4))
def test_the_last_one_begins_within_the_time_and_one_run(queued, running, run_s, each, wait_s) -> None:
    extra = desired_workers(queued, running, run_s, each, wait_s) * each - running
    rounds_before_the_last = ceil(queued / extra) - 1
    assert rounds_before_the_last * run_s <= wait_s + run_s


def test_the_rule_in_figures() -> None:
    assert desired_workers(queued=10, running=2, run_s=6.0, slots=1, wait_s=30.0) == 4
    assert desired_workers(queued=10, running=2, run_s=6.0, slots=4, wait_s=30.0) == 1
    assert desired_workers(queued=10, running=0, run_s=600.0, slots=1, wait_s=30.0) == 10
    assert desired_workers(queued=1, running=0, run_s=0.0, slots=1, wait_s=0.0) == 1
