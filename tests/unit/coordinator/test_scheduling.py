"""Who runs next, and where: examples."""

from dataclasses import dataclass

import pytest

from coordinator.scheduling.flow import Flow, Gpu, Needs, Terms, Waiting
from coordinator.scheduling.queue import Queue

AGEING_S = 100.0
A100 = Gpu("NVIDIA A100-SXM4-80GB", 80_000)
T4 = Gpu("Tesla T4", 16_000)


@dataclass(frozen=True)
class Slot:
    agent: str = "a"
    version: str = "v1"
    free: int = 1
    warm: bool = True
    gpus: tuple[Gpu, ...] = ()


def waiting(id: str, sequence: int, account: str = "acme", **given: object) -> Waiting:
    """``token``, ``user``, ``urgency`` and ``needs`` are of its flow, ``at`` is in seconds."""
    flow = Flow(
        urgency=int(str(given.pop("urgency", 1))),
        account=account,
        token=str(given.pop("token", "t")),
        user=str(given.pop("user", "")),
        needs=Needs(**given.pop("needs", {})),  # type: ignore[arg-type]
    )
    since = round(float(str(given.pop("at", 0.0))) * 1e6)
    return Waiting(id=id, flow=flow, sequence=sequence, since=since, **given)  # type: ignore[arg-type]


def queue_of(*entries: Waiting) -> Queue:
    queue = Queue(ageing_s=AGEING_S, window=10_000)
    for entry in entries:
        queue.add(entry)
    return queue


def picked(queue: Queue, *offers: Slot, at: float = 0.0) -> tuple[str, str] | None:
    found = queue.pick(offers, round(at * 1e6))
    return None if found is None else (found[0].id, found[1].agent)


def run(queue: Queue, *offers: Slot, at: float = 0.0, times: int = 1) -> list[str]:
    """The next ones that begin."""
    begun = []
    for _ in range(times):
        found = queue.pick(offers or (Slot(),), round(at * 1e6))
        if found is None:
            break
        queue.began(found[0])
        begun.append(found[0].id)
    return begun


class TestPlaces:
    def test_nothing_waits_or_nobody_offers(self) -> None:
        assert picked(queue_of()) is None
        assert picked(queue_of(), Slot()) is None
        assert picked(queue_of(waiting("p", 1))) is None

    def test_in_a_flow_the_lowest_sequence_whatever_was_added_first(self) -> None:
        queue = queue_of(waiting("late", 3), waiting("early", 1), waiting("middle", 2))
        assert run(queue, times=4) == ["early", "middle", "late"]

    def test_what_goes_back_stands_at_the_head_and_costs_nothing_twice(self) -> None:
        first, other = waiting("first", 1), waiting("other", 3, "umbrella")
        queue = queue_of(first, waiting("second", 2), other)
        assert run(queue) == ["other"]  # the smaller backlog
        assert run(queue) == ["first"]
        queue.ended(first.flow, first.cost_s, 0.0)
        queue.add(first)
        queue.add(waiting("other 2", 4, "umbrella"))
        assert run(queue, times=3) == ["first", "second", "other 2"]

    def test_one_prediction_waits_once(self) -> None:
        queue = queue_of(waiting("p", 1))
        with pytest.raises(ValueError, match="waits already"):
            queue.add(waiting("p", 1))

    def test_the_bytes_that_wait_are_counted(self) -> None:
        queue = queue_of(waiting("p", 1, input_bytes=10), waiting("q", 2, input_bytes=5))
        assert queue.input_bytes == 15
        queue.discard("p")
        queue.discard("p")
        assert queue.input_bytes == 5
        assert len(queue) == 1
        assert "p" not in queue


class TestNeeds:
    def test_a_pinned_one_waits_for_its_version_and_blocks_nobody(self) -> None:
        queue = queue_of(waiting("pinned", 1, needs={"version": "v2"}), waiting("any", 2))
        assert picked(queue, Slot("a", "v1")) == ("any", "a")
        assert picked(queue, Slot("a", "v1"), Slot("b", "v2")) == ("pinned", "b")
        queue.discard("any")
        assert picked(queue, Slot("a", "v1")) is None

    def test_an_offer_takes_the_older_of_its_pinned_and_the_unpinned(self) -> None:
        queue = queue_of(waiting("pinned", 2, needs={"version": "v1"}), waiting("any", 1))
        assert run(queue, times=2) == ["any", "pinned"]

    def test_a_kind_of_gpu_and_its_memory(self) -> None:
        queue = queue_of(waiting("large", 1, needs={"gpu": "a100", "gpu_memory": 80_000}), waiting("any", 2))
        both = Slot("both", gpus=(T4, Gpu("A100", 40_000)))
        assert picked(queue, both) == ("any", "both"), "the one is too small, the other of another kind"
        assert picked(queue, both, Slot("right", gpus=(T4, A100))) == ("large", "right")

    def test_who_waited_for_hardware_has_saved_up_nothing(self) -> None:
        queue = queue_of(*(waiting(f"v2-{n}", n, "acme", needs={"version": "v2"}) for n in range(1, 9)))
        for n in range(10, 18):
            queue.add(waiting(f"any-{n}", n, "umbrella"))
        assert run(queue, Slot(version="v1"), times=5) == [f"any-{n}" for n in range(10, 15)]
        both = run(queue, Slot(version="v2"), times=6)
        assert sorted(id[:2] for id in both) == ["an"] * 3 + ["v2"] * 3


class TestAgents:
    def test_the_agent_that_lost_it_gets_it_only_if_nobody_else_offers(self) -> None:
        queue = queue_of(waiting("p", 1, avoid=frozenset({"bad", "worse"})))
        assert picked(queue, Slot("bad", free=9), Slot("worse"), Slot("good")) == ("p", "good")
        assert picked(queue, Slot("bad")) == ("p", "bad")

    def test_avoiding_an_agent_lets_nobody_overtake(self) -> None:
        queue = queue_of(waiting("p", 1, avoid=frozenset({"bad"})), waiting("q", 2))
        assert picked(queue, Slot("bad")) == ("p", "bad")

    def test_the_warm_one_then_the_one_with_most_free_slots(self) -> None:
        queue = queue_of(waiting("p", 1))
        cold = Slot("cold", free=9, warm=False)
        assert picked(queue, cold, Slot("a", free=1), Slot("b", free=3), Slot("c", free=2)) == ("p", "b")
        assert picked(queue, cold) == ("p", "cold")


class TestClasses:
    def test_the_more_urgent_class_goes_first(self) -> None:
        queue = queue_of(
            waiting("batch", 1, urgency=2), waiting("normal", 2), waiting("interactive", 3, urgency=0)
        )
        assert run(queue, times=3) == ["interactive", "normal", "batch"]

    def test_a_class_is_gained_by_waiting(self) -> None:
        queue = queue_of(waiting("batch", 1, urgency=2), waiting("normal", 2, at=50.0))
        assert picked(queue, Slot(), at=99.0) == ("normal", "a")
        assert picked(queue, Slot(), at=101.0) == ("batch", "a")

    def test_the_next_of_the_flow_has_its_own_age(self) -> None:
        queue = queue_of(
            waiting("old", 1, urgency=2),
            waiting("young", 2, urgency=2, at=290.0),
            waiting("normal", 3, at=295.0),
        )
        assert run(queue, at=300.0, times=3) == ["old", "normal", "young"]

    def test_nothing_is_more_urgent_than_interactive(self) -> None:
        queue = queue_of(waiting("old", 1), waiting("new", 2, "umbrella", urgency=0, at=9_000.0))
        assert run(queue, at=1_000.0) == ["old"]
        queue.add(waiting("old 2", 3))
        assert run(queue, at=9_000.0, times=2) == ["new", "old 2"]


class TestShares:
    def test_one_beside_a_thousand_starts_next(self) -> None:
        queue = queue_of(*(waiting(f"many-{n}", n, user="many") for n in range(1, 1001)))
        assert run(queue) == ["many-1"]
        queue.add(waiting("one", 1001, user="one"))
        assert run(queue, times=2) == ["one", "many-2"]

    def test_nor_does_it_wait_when_nothing_has_run_yet(self) -> None:
        queue = queue_of(*(waiting(f"many-{n}", n) for n in range(1, 1001)), waiting("one", 1001, "umbrella"))
        assert run(queue, times=2) == ["one", "many-1"]

    @pytest.mark.parametrize("level", ["account", "token", "user"])
    def test_equals_take_turns(self, level: str) -> None:
        queue = queue_of(
            *(waiting(f"x-{n}", n, **{level: "x"}) for n in range(1, 5)),  # type: ignore[arg-type]
            *(waiting(f"y-{n}", n, **{level: "y"}) for n in range(5, 9)),  # type: ignore[arg-type]
        )
        assert run(queue, times=8) == ["x-1", "y-5", "x-2", "y-6", "x-3", "y-7", "x-4", "y-8"]

    def test_many_tokens_of_an_account_are_one_share(self) -> None:
        tokens = [waiting(f"t{n}", n, token=f"t{n}") for n in range(1, 7)]
        queue = queue_of(*tokens, *(waiting(f"u{n}", n, "umbrella") for n in range(7, 13)))
        begun = run(queue, times=6)
        assert sorted(id[0] for id in begun) == ["t"] * 3 + ["u"] * 3

    def test_it_is_seconds_that_count(self) -> None:
        queue = queue_of(*(waiting(f"long-{n}", n, cost_s=30.0) for n in range(1, 10)))
        for n in range(10, 20):
            queue.add(waiting(f"short-{n}", n, "umbrella", cost_s=10.0))
        begun = run(queue, times=8)
        assert sum(id.startswith("long") for id in begun) == 2

    def test_what_it_took_counts_in_the_end(self) -> None:
        queue = queue_of(*(waiting(f"x-{n}", n, cost_s=10.0) for n in range(1, 5)))
        for n in range(5, 15):
            queue.add(waiting(f"y-{n}", n, "umbrella", cost_s=10.0))
        assert run(queue, times=2) == ["x-1", "y-5"]
        queue.ended(waiting("", 0).flow, 10.0, 40.0)
        queue.ended(waiting("", 0, "umbrella").flow, 10.0, 10.0)
        assert run(queue, times=4) == ["y-6", "y-7", "y-8", "x-2"]

    def test_by_weight(self) -> None:
        terms = Terms(account_share=3.0)
        queue = queue_of(*(waiting(f"x-{n}", n, terms=terms) for n in range(1, 10)))
        for n in range(11, 20):
            queue.add(waiting(f"y-{n}", n, "umbrella"))
        assert sum(id.startswith("x") for id in run(queue, times=8)) == 6

    def test_the_newest_terms_hold(self) -> None:
        newer = waiting("new", 2, terms=Terms(token_share=3.0), token="x")
        queue = queue_of(
            newer,
            waiting("old", 1, token="x"),
            *(waiting(f"x-{n}", n, token="x", terms=newer.terms) for n in range(3, 12)),
        )
        for n in range(12, 20):
            queue.add(waiting(f"y-{n}", n, token="y"))
        assert sum(id.startswith("y") for id in run(queue, times=8)) == 2

    def test_idle_time_is_not_saved_up(self) -> None:
        queue = queue_of(*(waiting(f"x-{n}", n) for n in range(1, 60)), waiting("y", 60, "umbrella"))
        run(queue, times=40)
        for n in range(61, 80):
            queue.add(waiting(f"y-{n}", n, "umbrella"))
        assert sum(id.startswith("y") for id in run(queue, times=10)) in (5, 6)

    def test_when_all_was_idle_all_are_equal(self) -> None:
        queue = queue_of(*(waiting(f"x-{n}", n, cost_s=100.0) for n in range(1, 10)))
        run(queue, times=9)
        for _ in range(9):
            queue.ended(waiting("", 0).flow, 100.0, 100.0)
        queue.add(waiting("x", 20))
        queue.add(waiting("y", 21, "umbrella"))
        assert run(queue, times=2) == ["x", "y"]


class TestCaps:
    def test_a_token_at_its_cap_is_set_aside_until_one_ends(self) -> None:
        capped = [waiting(f"x-{n}", n, token="x", terms=Terms(max_running=2)) for n in range(1, 5)]
        queue = queue_of(*capped, waiting("y-9", 9, token="y"))
        assert run(queue, times=9) == ["y-9", "x-1", "x-2"]
        queue.ended(capped[0].flow, 1.0, 1.0)
        assert run(queue, times=9) == ["x-3"]

    def test_a_newer_cap_holds_at_once(self) -> None:
        queue = queue_of(
            waiting("p", 1, terms=Terms(max_running=1)), waiting("q", 2, terms=Terms(max_running=3))
        )
        assert run(queue, times=9) == ["p", "q"]
        queue.add(waiting("r", 3, terms=Terms(max_running=2)))
        assert run(queue) == []
        queue.add(waiting("s", 4))
        assert run(queue, times=9) == ["r", "s"]

    def test_other_tokens_of_the_account_go_on(self) -> None:
        queue = queue_of(
            waiting("x-1", 1, token="x", terms=Terms(max_running=1)),
            waiting("x-2", 2, token="x", terms=Terms(max_running=1)),
            waiting("y-3", 3, token="y"),
        )
        assert run(queue, times=9) == ["y-3", "x-1"]


class TestAtOnce:
    """What has just come and stands behind nobody need not wait at all."""

    def test_the_offer_is_the_one_that_waiting_would_have_given(self) -> None:
        busy, free = Slot("busy", free=1), Slot("free", free=3)
        assert queue_of().at_once(waiting("p", 1), [busy, free]) is free

    def test_it_waits_behind_whoever_waits(self) -> None:
        queue = queue_of(waiting("pinned", 1, needs={"version": "v2"}))
        assert queue.at_once(waiting("p", 2), [Slot()]) is None

    def test_it_waits_when_nobody_meets_its_needs(self) -> None:
        queue = queue_of()
        assert queue.at_once(waiting("p", 1, needs={"version": "v2"}), [Slot(version="v1")]) is None
        assert queue.at_once(waiting("p", 1), []) is None

    def test_a_cap_holds_for_it_too(self) -> None:
        queue, capped = queue_of(), Terms(max_running=1)
        first, second = waiting("first", 1, terms=capped), waiting("second", 2, terms=capped)
        assert queue.at_once(first, [Slot()]) is not None
        queue.began(first)
        assert queue.at_once(second, [Slot()]) is None
        queue.add(second)
        assert picked(queue, Slot()) is None
        queue.ended(first.flow, first.cost_s, 1.0)
        assert picked(queue, Slot()) == ("second", "a")

    def test_it_is_charged_like_any_other(self) -> None:
        queue, heavy = queue_of(), waiting("heavy", 1, cost_s=10.0)
        assert queue.at_once(heavy, [Slot()]) is not None
        queue.began(heavy)
        queue.add(waiting("again", 2))
        queue.add(waiting("other", 3, "umbrella"))
        assert run(queue, times=2) == ["other", "again"]


class TestWindow:
    def test_what_goes_back_before_its_tokens_shelf_moves_nothing_on_it(self) -> None:
        """A token has more flows than there is memory; meanwhile one of its lines is read."""
        queue = Queue(ageing_s=AGEING_S, window=4)
        early = waiting("early", 0, user="u0")
        entries = {n: waiting(str(n), n, user=f"u{n}") for n in range(1, 7)} | {7: waiting("7", 7, user="u5")}
        for entry in entries.values():
            queue.add(entry)
        assert queue.take_evicted() == ["5", "6", "7"]
        for begins, read in (((1, 2, 3), 5), ((), 6), ((4,), 7)):
            for n in begins:
                queue.began(entries[n])
            (want,) = queue.wants()
            assert (want.flow, want.limit) == (None, 1)
            queue.refilled(want, [entries[read]], exhausted=False, through=read)
        queue.began(entries[5])
        (want,) = [want for want in queue.wants() if want.flow == entries[7].flow]
        queue.add(early)
        assert "early" in queue
        queue.refilled(want, [entries[7]], exhausted=True, through=7)
        assert "7" in queue
        assert len(queue) == 3

    def test_of_more_tokens_than_there_is_memory_no_more_is_read_than_has_room(self) -> None:
        queue = Queue(ageing_s=AGEING_S, window=64)
        entries = {str(n): waiting(str(n), n, token=f"t{n}") for n in range(300)}
        for entry in entries.values():
            queue.add(entry)
        assert queue.in_memory <= 64
        assert queue.wants() == [], "what has just left memory is not read back"
        order = []
        while len(queue):
            order += run(queue)
            wants = queue.wants()
            assert len(wants) <= 64 - queue.in_memory
            for want in wants:
                rows = [e for e in entries.values() if e.flow.token == want.token and e.id not in order]
                queue.refilled(want, rows[: want.limit], exhausted=len(rows) < want.limit)
        assert sorted(order) == sorted(entries)


def test_a_flow_is_a_text_and_back() -> None:
    flow = Flow(2, 'a"b', "t", "jürgen, the 2nd", Needs("v1", "A100", 5))
    assert Flow.of(flow.text()) == flow
    assert Flow(1, "a", "t").text() == '["a","t","",1,"","",0]'


def test_a_version_that_will_not_do() -> None:
    needs = Needs(unfit="v1")
    assert not needs.met_by("v1", ())
    assert needs.met_by("v2", ())
    assert needs.met_by("", ())
    flow = Flow(1, "a", "t", needs=needs)
    assert Flow.of(flow.text()) == flow
