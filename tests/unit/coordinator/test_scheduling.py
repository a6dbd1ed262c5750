"""Who runs next, and where: examples, and properties over random queues."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.scheduling import Queue, Rank, Waiting, pick


@dataclass(frozen=True)
class Slot:
    agent: str
    version: str
    free: int = 1


def waiting(id: str, sequence: int, version: str = "", avoid: str = "", input_bytes: int = 0) -> Waiting:
    return Waiting(id, Rank(1, sequence), version, avoid, input_bytes)


def queue_of(*entries: Waiting) -> Queue:
    queue = Queue()
    for entry in entries:
        queue.add(entry)
    return queue


def picked(queue: Queue, *offers: Slot) -> tuple[str, str] | None:
    found = pick(queue, offers)
    return None if found is None else (found[0].id, found[1].agent)


def test_nothing_waits_or_nobody_offers() -> None:
    assert picked(queue_of()) is None
    assert picked(queue_of(), Slot("a", "v1")) is None
    assert picked(queue_of(waiting("p", 1))) is None


def test_the_lowest_rank_goes_first_whatever_came_first() -> None:
    queue = queue_of(waiting("late", 3), waiting("early", 1), waiting("middle", 2))
    assert picked(queue, Slot("a", "v1")) == ("early", "a")


def test_class_goes_before_sequence() -> None:
    queue = queue_of(Waiting("normal", Rank(1, 1)), Waiting("urgent", Rank(0, 9)))
    assert picked(queue, Slot("a", "v1")) == ("urgent", "a")


def test_a_pinned_one_waits_for_its_version_and_blocks_nobody() -> None:
    queue = queue_of(waiting("pinned", 1, version="v2"), waiting("any", 2))
    assert picked(queue, Slot("a", "v1")) == ("any", "a")
    assert picked(queue, Slot("a", "v1"), Slot("b", "v2")) == ("pinned", "b")
    queue.discard("any")
    assert picked(queue, Slot("a", "v1")) is None


def test_an_offer_takes_the_older_of_its_pinned_and_the_unpinned() -> None:
    queue = queue_of(waiting("pinned", 2, version="v1"), waiting("any", 1))
    assert picked(queue, Slot("a", "v1")) == ("any", "a")
    queue.discard("any")
    assert picked(queue, Slot("a", "v1")) == ("pinned", "a")


def test_what_goes_back_stands_at_the_head() -> None:
    queue = queue_of(waiting("first", 1), waiting("second", 2))
    queue.discard("first")
    queue.add(waiting("third", 3))
    queue.add(waiting("first", 1))
    assert picked(queue, Slot("a", "v1")) == ("first", "a")


def test_the_agent_that_lost_it_gets_it_only_if_nobody_else_offers() -> None:
    queue = queue_of(waiting("p", 1, avoid="bad"))
    assert picked(queue, Slot("bad", "v1", free=9), Slot("good", "v1")) == ("p", "good")
    assert picked(queue, Slot("bad", "v1")) == ("p", "bad")


def test_avoiding_an_agent_lets_nobody_overtake() -> None:
    queue = queue_of(waiting("p", 1, avoid="bad"), waiting("q", 2))
    assert picked(queue, Slot("bad", "v1")) == ("p", "bad")


def test_of_equals_the_one_with_most_free_slots() -> None:
    queue = queue_of(waiting("p", 1))
    assert picked(queue, Slot("a", "v1", 1), Slot("b", "v1", 3), Slot("c", "v1", 2)) == ("p", "b")


def test_one_prediction_waits_once() -> None:
    queue = queue_of(waiting("p", 1))
    with pytest.raises(ValueError, match="waits already"):
        queue.add(waiting("p", 1))


def test_the_bytes_that_wait_are_counted() -> None:
    queue = queue_of(waiting("p", 1, input_bytes=10), waiting("q", 2, input_bytes=5))
    assert queue.input_bytes == 15
    queue.discard("p")
    queue.discard("p")
    assert queue.input_bytes == 5
    assert len(queue) == 1
    assert "p" not in queue


VERSIONS = ("", "v1", "v2")
ENTRIES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(VERSIONS), st.sampled_from(("", "a", "b")), st.booleans()),
    max_size=25,
)
OFFERS = st.lists(
    st.builds(Slot, st.sampled_from("abc"), st.sampled_from(("v1", "v2")), st.integers(1, 3)), max_size=4
)


def build(entries: list[tuple[int, str, str, bool]]) -> tuple[Queue, dict[str, Waiting]]:
    """A queue in which some entries were taken out and put back."""
    queue, present = Queue(), {}
    for number, (urgency, version, avoid, _) in enumerate(entries):
        one = Waiting(f"p{number}", Rank(urgency, number), version, avoid)
        queue.add(one)
        present[one.id] = one
    for number, (_, _, _, out) in enumerate(entries):
        if out:
            one = present.pop(f"p{number}")
            queue.discard(one.id)
            if number % 2:
                queue.add(one)
                present[one.id] = one
    return queue, present


@given(ENTRIES, OFFERS)
def test_the_pick_is_the_lowest_rank_that_anybody_can_serve(
    entries: list[tuple[int, str, str, bool]], offers: list[Slot]
) -> None:
    queue, present = build(entries)
    servable = [
        one for one in present.values() if any(one.version in ("", offer.version) for offer in offers)
    ]
    found = pick(queue, offers)
    if not servable:
        assert found is None
        return
    assert found is not None
    chosen, offer = found
    assert chosen == min(servable, key=lambda one: one.rank)
    assert chosen.version in ("", offer.version)
    able = [one for one in offers if chosen.version in ("", one.version)]
    if offer.agent == chosen.avoid:
        assert all(one.agent == chosen.avoid for one in able)
    else:
        assert offer.free == max(one.free for one in able if one.agent != chosen.avoid)


@given(ENTRIES)
def test_the_unpinned_leave_in_order_of_rank(entries: list[tuple[int, str, str, bool]]) -> None:
    queue, present = build(entries)
    left = []
    while (found := pick(queue, [Slot("z", "v9")])) is not None:
        queue.discard(found[0].id)
        left.append(found[0])
    unpinned = [one for one in present.values() if not one.version]
    assert left == sorted(unpinned, key=lambda one: one.rank)
    assert len(queue) == len(present) - len(unpinned)


@given(ENTRIES)
def test_everything_leaves_in_the_end(entries: list[tuple[int, str, str, bool]]) -> None:
    queue, present = build(entries)
    left = set()
    while (found := pick(queue, [Slot("a", "v1"), Slot("b", "v2")])) is not None:
        queue.discard(found[0].id)
        left.add(found[0].id)
    assert left == set(present)
    assert len(queue) == 0
