"""Who runs next, and where: what holds for every queue, whatever comes, goes, ends and returns."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TypeVar
from unittest.mock import patch

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from coordinator.scheduling import rotation
from coordinator.scheduling.flow import Flow, Gpu, Needs, Terms, Waiting
from coordinator.scheduling.queue import Queue
from coordinator.scheduling.rotation import Search
from coordinator.scheduling.shelf import Want

T = TypeVar("T")

AGEING_S = 50
SECOND = 1_000_000
ALWAYS = 10**9

PINNED, LARGE = Needs(version="v2"), Needs(gpu="a100", gpu_memory=80)
FLOWS = st.builds(
    Flow,
    st.integers(0, 2),
    st.sampled_from("AB"),
    st.sampled_from("st"),
    st.sampled_from(("", "u", "w")),
    st.sampled_from((Needs(), Needs(), PINNED, LARGE)),
)
TERMS = {"s": Terms(account_share=2.0, max_running=2), "t": Terms(token_share=3.0)}


@dataclass(frozen=True)
class Slot:
    agent: str
    version: str
    gpus: tuple[Gpu, ...] = ()
    free: int = 1
    warm: bool = True


SLOTS = st.lists(
    st.sampled_from((Slot("a", "v1"), Slot("b", "v2"), Slot("c", "v1", (Gpu("A100", 80),)))), unique=True
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), FLOWS, st.integers(1, 9)),
        st.tuples(st.just("add"), FLOWS, st.integers(1, 9)),
        st.tuples(st.just("pick"), SLOTS, st.none()),
        st.tuples(st.just("end"), st.integers(0, 99), st.integers(0, 20)),
        st.tuples(st.just("return"), st.integers(0, 99), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 99), st.none()),
        st.tuples(st.just("pass"), st.integers(1, 80), st.none()),
        st.tuples(st.just("read"), st.integers(0, 99), st.none()),
        st.tuples(st.just("answer"), st.integers(0, 99), st.none()),
        st.tuples(st.just("look"), st.none(), st.none()),
    ),
    max_size=80,
)


@dataclass
class House:
    """A queue, and beside it all that waits as on a disk, in the plainest form. What is read of the disk
    is read some time after it was asked for, and arrives some time after that."""

    window: int
    window_bytes: int = ALWAYS
    now: int = 0
    sequence: int = 0
    disk: dict[str, Waiting] = field(default_factory=dict)
    memory: set[str] = field(default_factory=set)
    running: dict[str, Waiting] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    asked: list[Want] = field(default_factory=list)
    read: list[tuple[Want, list[Waiting]]] = field(default_factory=list)
    searches: list[Search] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue = Queue(ageing_s=AGEING_S, window=self.window, window_bytes=self.window_bytes)

    def add(self, flow: Flow, cost_s: float) -> Waiting:
        self.sequence += 1
        waiting = Waiting(
            id=f"p{self.sequence}",
            flow=flow,
            sequence=self.sequence,
            since=self.now,
            cost_s=cost_s,
            input_bytes=self.sequence,
            terms=TERMS.get(flow.token, Terms()),
        )
        self._add(waiting)
        return waiting

    def _add(self, waiting: Waiting) -> None:
        self.disk[waiting.id] = waiting
        self.memory.add(waiting.id)
        self.queue.add(waiting)
        self.keep()

    def pick(self, slots: list[Slot]) -> tuple[Waiting, Slot] | None:
        found = self.queue.pick(slots, self.now)
        if found is not None:
            waiting = found[0]
            assert self.disk.pop(waiting.id) == waiting
            self.memory.remove(waiting.id)
            self.running[waiting.id] = waiting
            self.queue.began(waiting)
        self.keep()
        return found

    def end(self, waiting: Waiting, actual_s: float) -> None:
        self.left.append(self.running.pop(waiting.id).id)
        self.queue.ended(waiting.flow, waiting.cost_s, actual_s)
        self.keep()

    def give_back(self, waiting: Waiting) -> None:
        del self.running[waiting.id]
        self.queue.ended(waiting.flow, waiting.cost_s, 0.0)
        self._add(waiting)

    def cancel(self, waiting: Waiting) -> None:
        del self.disk[waiting.id]
        self.left.append(waiting.id)
        if waiting.id in self.memory:
            self.memory.remove(waiting.id)
            self.queue.discard(waiting.id)
        else:
            self.queue.left_disk(waiting)
        self.keep()

    def step(self, what: str, one: object, other: object) -> None:
        if what == "add":
            self.add(one, float(other))  # type: ignore[arg-type]
        elif what == "pick":
            self.pick(one)  # type: ignore[arg-type]
        elif what == "pass":
            self.now += int(str(one)) * SECOND
        elif what == "cancel" and self.disk:
            self.cancel(nth(list(self.disk.values()), one))
        elif what == "end" and self.running:
            self.end(nth(list(self.running.values()), one), float(str(other)))
        elif what == "return" and self.running:
            self.give_back(nth(list(self.running.values()), one))
        elif what == "read" and self.asked:
            self.look(nth(self.asked, one))
        elif what == "answer" and self.read:
            self.answer(*nth(self.read, one))
        elif what == "look" and self.searches:
            self.search()

    # --- the disk -----------------------------------------------------------------------------------------

    def keep(self) -> None:
        """What whoever keeps the queue does after each change."""
        self.memory -= set(self.queue.take_evicted())
        for want in self.queue.wants():
            if isinstance(want, Search):
                self.searches.append(want)
            else:
                self.asked.append(want)
        assert {id for id in self.memory if id not in self.queue} == set()
        assert self.queue.in_memory == len(self.memory) <= self.window
        held_bytes = sum(self.disk[id].input_bytes for id in self.memory)
        assert self.queue.bytes_in_memory == held_bytes
        assert held_bytes <= self.window_bytes or len(self.memory) == 1
        assert len(self.queue) == len(self.disk)
        assert self.queue.input_bytes == sum(waiting.input_bytes for waiting in self.disk.values())

    def look(self, want: Want) -> None:
        self.asked.remove(want)
        low, high = want.texts
        rows = [
            waiting
            for waiting in sorted(self.disk.values(), key=lambda waiting: waiting.sequence)
            if waiting.sequence > want.after and low <= waiting.flow.text() < high
        ]
        assert want.flow is None or all(waiting.flow == want.flow for waiting in rows)
        rows, total = rows[: want.limit], 0
        for number, waiting in enumerate(rows):
            if total >= max(1, want.most_bytes):
                rows = rows[:number]
                break
            total += waiting.input_bytes
        self.read.append((want, rows))

    def answer(self, want: Want, rows: list[Waiting]) -> None:
        self.read.remove((want, rows))
        unknown = [waiting for waiting in rows if waiting.id not in self.memory]
        last = rows[-1].sequence if rows else 0
        whole = sum(waiting.input_bytes for waiting in rows) < max(1, want.most_bytes)
        self.queue.refilled(want, unknown, exhausted=len(rows) < want.limit and whole, through=last)
        self.memory |= {waiting.id for waiting in rows if waiting.id in self.queue}
        self.keep()

    def search(self) -> None:
        search = self.searches.pop()
        texts = sorted(
            {text for waiting in self.disk.values() if (text := waiting.flow.text()) > search.after}
        )
        self.queue.looked(search, texts[: search.limit])
        self.keep()

    def answer_all(self) -> None:
        """What is being read, once."""
        for want in list(self.asked):
            self.look(want)
        for answer in list(self.read):
            self.answer(*answer)
        if self.searches:
            self.search()

    def quiet(self) -> None:
        """Until nothing more is to be read."""
        for _ in range(10_000):
            for want in list(self.asked):
                self.look(want)
            if self.searches:
                self.search()
            elif not self.read:
                return
            else:
                self.answer(*self.read[0])
        raise AssertionError("it reads for ever")


def nth(items: list[T], number: object) -> T:
    return items[int(str(number)) % len(items)]


ALL = [Slot("b", "v2", (Gpu("A100", 80),)), Slot("a", "v1")]


@given(STEPS, st.sampled_from((2, 5, 20, ALWAYS)), st.sampled_from((30, 100, 400, ALWAYS)))
@settings(max_examples=150, deadline=None, phases=[Phase.generate])
def test_nothing_is_lost_or_doubled(
    steps: list[tuple[str, object, object]], window: int, window_bytes: int
) -> None:
    house = House(window, window_bytes)
    for step in steps:
        house.step(*step)
    house.quiet()
    while True:
        for waiting in list(house.running.values()):
            house.end(waiting, 1.0)
        house.quiet()
        if house.pick(ALL) is None:
            break
    assert len(house.queue) == 0
    assert sorted(house.left) == sorted(f"p{number}" for number in range(1, house.sequence + 1))


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_the_most_urgent_class_that_can_be_served_in_the_order_of_its_flow(
    steps: list[tuple[str, object, object]],
) -> None:
    """And work is conserved: nothing is picked only when nothing could be; caps are never exceeded."""
    house = House(ALWAYS)
    for what, one, other in steps:
        if what != "pick":
            house.step(what, one, other)
            continue
        slots: list[Slot] = one  # type: ignore[assignment]
        running: defaultdict[tuple[str, str], int] = defaultdict(int)
        for waiting in house.running.values():
            running[waiting.flow[1:3]] += 1
        heads: dict[Flow, Waiting] = {}
        for waiting in house.disk.values():
            head = heads.setdefault(waiting.flow, waiting)
            heads[waiting.flow] = min(head, waiting, key=lambda one: one.sequence)
        able = [
            waiting
            for waiting in heads.values()
            if any(waiting.flow.needs.met_by(slot.version, slot.gpus) for slot in slots)
            and running[waiting.flow[1:3]] < (waiting.terms.max_running or 99)
        ]
        found = house.pick(slots)
        if not able:
            assert found is None
            continue
        assert found is not None
        assert found[0] in able
        assert urgency(found[0], house.now) == min(urgency(waiting, house.now) for waiting in able)
        assert found[0].flow.needs.met_by(found[1].version, found[1].gpus)


def urgency(waiting: Waiting, now: int) -> int:
    return max(0, waiting.flow.urgency - (now - waiting.since) // (AGEING_S * SECOND))


SHARES = {"A": 1.0, "B": 2.0, "C": 5.0}


@given(
    st.lists(
        st.one_of(st.tuples(st.sampled_from("ABC"), st.integers(1, 10)), st.just(("", 0)), st.just(("", 0))),
        max_size=120,
    ),
    st.sampled_from(("account", "token", "user")),
)
@settings(max_examples=150, deadline=None)
def test_two_that_wait_get_their_shares_within_one_cost_of_each(
    steps: list[tuple[str, int]], level: str
) -> None:
    """In every stretch of time in which both have something waiting: idle time before it gives no credit."""
    queue, sequence = Queue(ageing_s=1e9, window=ALWAYS), 0
    backlog: defaultdict[str, int] = defaultdict(int)
    given_s: defaultdict[str, float] = defaultdict(float)
    differences: dict[tuple[str, str], tuple[float, float]] = {}
    for who, cost in steps:
        if who:
            sequence += 1
            names = {"account": "a", "token": "t", "user": "u"} | {level: who}
            weight = 1.0 if level == "user" else SHARES[who]
            terms = Terms(**{f"{level}_share": weight}) if level != "user" else Terms()
            flow = Flow(1, names["account"], names["token"], names["user"])
            queue.add(Waiting(f"p{sequence}", flow, sequence, 0, float(cost), terms=terms))
            backlog[who] += 1
        elif (found := queue.pick([Slot("a", "v1")], 0)) is not None:
            waiting = found[0]
            queue.began(waiting)
            who = getattr(waiting.flow, level)
            backlog[who] -= 1
            given_s[who] += waiting.cost_s / (1.0 if level == "user" else SHARES[who])
            if not backlog[who]:
                differences = {pair: seen for pair, seen in differences.items() if who not in pair}
        for x, y in (("A", "B"), ("A", "C"), ("B", "C")):
            if backlog[x] and backlog[y]:
                difference = given_s[x] - given_s[y]
                low, high = differences.get((x, y), (difference, difference))
                differences[x, y] = low, high = min(low, difference), max(high, difference)
                weights = (1.0, 1.0) if level == "user" else (SHARES[x], SHARES[y])
                assert high - low <= 10 / weights[0] + 10 / weights[1] + 1e-6


NOWHERE = Needs(version="v9")


@given(
    STEPS,
    st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("st"), st.integers(0, 9)), max_size=30),
    st.sampled_from((2, 5, 20)),
    st.sampled_from((30, 100, 400, ALWAYS)),
    SLOTS.filter(bool),
)
@settings(max_examples=100, deadline=None, phases=[Phase.generate])
def test_what_could_run_begins_within_some_reads_when_a_slot_is_free(
    steps: list[tuple[str, object, object]],
    nowhere: list[tuple[str, str, int]],
    window: int,
    window_bytes: int,
    slots: list[Slot],
) -> None:
    """However full memory is of what nothing that is there could run: a round over the flows finds it."""
    with patch.multiple(rotation, PAGE=4, CALLED=2):
        house = House(window, window_bytes)
        for account, token, user in nowhere:
            house.add(Flow(1, account, token, f"n{user}", NOWHERE), 1.0)
        for step in steps:
            house.step(*step)
        house.quiet()
        while able(house, slots):
            flows = len({waiting.flow for waiting in house.disk.values()})
            for _ in range(2 * (flows // 4 + flows // 2) + 8):
                if (found := house.pick(slots)) is not None:
                    house.end(found[0], 1.0)
                    break
                house.answer_all()
            else:
                raise AssertionError(f"{able(house, slots)} waits beside {slots}; in memory: {house.memory}")


def able(house: House, slots: list[Slot]) -> list[Waiting]:
    """What waits and could run on one of these."""
    running: Counter[tuple[str, str]] = Counter()
    for waiting in house.running.values():
        running[waiting.flow[1:3]] += 1
    return [
        waiting
        for waiting in house.disk.values()
        if any(waiting.flow.needs.met_by(slot.version, slot.gpus) for slot in slots)
        and running[waiting.flow[1:3]] < (waiting.terms.max_running or 99)
    ]


def test_a_round_that_found_nothing_is_not_repeated_until_it_could() -> None:
    house = House(window=5)
    for number in range(20):
        house.add(Flow(1, "A", "t", f"u{number}", NOWHERE), 1.0)
    house.quiet()
    assert house.pick([Slot("a", "v1")]) is None
    assert len(house.searches) == 1
    house.quiet()
    for number in range(20, 30):
        house.add(Flow(1, "A", "t", f"u{number}", NOWHERE), 1.0)
        assert house.pick([Slot("a", "v1")]) is None
        assert (house.searches, house.asked) == ([], [])
    one = house.add(Flow(1, "A", "t", "v"), 1.0)
    assert house.pick([Slot("a", "v1")]) is None
    assert house.searches == []
    assert [want.flow for want in house.asked] == [one.flow]
    house.quiet()
    assert house.pick([Slot("a", "v1")]) == (one, Slot("a", "v1"))


def test_those_of_a_token_that_may_run_more_again_are_found() -> None:
    house, slot = House(window=5), Slot("a", "v1")
    first = [house.add(Flow(1, "A", "s"), 1.0) for _ in range(2)]
    for _ in first:
        assert house.pick([slot]) is not None
    for number in range(20):
        house.add(Flow(1, "B", "t", f"u{number}", NOWHERE), 1.0)
    mine = [house.add(Flow(1, "A", "s", f"u{number}"), 1.0) for number in range(20)]
    for number in range(20, 40):
        house.add(Flow(1, "B", "t", f"u{number}", NOWHERE), 1.0)
    house.quiet()
    assert house.pick([slot]) is None
    house.quiet()
    for waiting in first:
        house.end(waiting, 1.0)
    for _ in mine:
        for _ in range(5):
            if (found := house.pick([slot])) is not None:
                break
            house.quiet()
        assert found is not None
        assert found[0] in mine
        house.end(found[0], 1.0)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_a_window_changes_nothing_when_it_is_filled_in_time(steps: list[tuple[str, object, object]]) -> None:
    """A window large enough for some of each line gives the same order as all in memory."""
    whole, part = House(ALWAYS), House(300)
    many = [("add", flow, 3) for flow in (Flow(1, "A", "s"), Flow(1, "B", "t", "u")) for _ in range(200)]
    for step in many + steps:
        whole.step(*step)
        part.step(*step)
        part.quiet()
    for _ in range(50):
        found = whole.pick(ALL)
        assert part.pick(ALL) == found
        part.quiet()
        if found is None:
            break


def test_nothing_waits_longer_than_its_class_is_old() -> None:
    """Interactive ones come without end; a batch one begins when it has gained two classes."""
    house = House(ALWAYS)
    batch = house.add(Flow(2, "A", "t"), 1.0)
    while batch.id in house.disk:
        house.add(Flow(0, "B", "t"), 1.0)
        assert house.now <= 2 * AGEING_S * SECOND
        house.pick([Slot("a", "v1")])
        house.now += SECOND
    assert house.now > 2 * AGEING_S * SECOND - SECOND


def test_one_beside_a_thousand_on_disk_starts_next() -> None:
    house = House(window=32)
    for _ in range(1000):
        house.add(Flow(1, "A", "t"), 1.0)
    house.pick(ALL)
    one = house.add(Flow(1, "B", "t"), 1.0)
    assert house.pick(ALL) == (one, ALL[0])
    house.quiet()
    for _ in range(999):
        assert house.pick(ALL) is not None
        house.quiet()
    assert len(house.queue) == 0


def test_so_does_one_of_another_token_beside_a_thousand_users() -> None:
    house = House(window=32)
    for number in range(1000):
        house.add(Flow(1, "A", "t", f"u{number}"), 1.0)
    house.quiet()
    one = house.add(Flow(1, "A", "other"), 1.0)
    begun = [found[0] for _ in range(2) if (found := house.pick(ALL))]
    assert one in begun


def test_a_load_reads_heads_and_no_more() -> None:
    house = House(window=64)
    for number in range(900):
        house.add(Flow(1, "A", "t", f"u{number % 3}"), 1.0)
    disk = sorted(house.disk.values(), key=lambda waiting: waiting.sequence)
    after = House(window=64, disk=house.disk)
    for user in ("u0", "u1", "u2"):
        own = [waiting for waiting in disk if waiting.flow.user == user]
        input_bytes = sum(waiting.input_bytes for waiting in own)
        after.queue.restore(own[0].flow, len(own), input_bytes, own[0].sequence)
    assert after.queue.in_memory == 0
    after.keep()
    after.quiet()
    assert 0 < after.queue.in_memory <= 64
    begun = []
    while (found := after.pick(ALL)) is not None:
        begun.append(found[0].sequence)
        after.quiet()
    assert begun == list(range(1, 901))


def test_a_load_of_more_flows_than_memory_has_room_for() -> None:
    house = House(window=64)
    for number in range(900):
        house.add(Flow(1, "A", "t", f"u{number % 300}"), 1.0)
    after = House(window=64, disk=house.disk)
    for number in range(300):
        own = [waiting for waiting in house.disk.values() if waiting.flow.user == f"u{number}"]
        input_bytes = sum(waiting.input_bytes for waiting in own)
        after.queue.restore(own[0].flow, len(own), input_bytes, own[0].sequence)
    after.keep()
    after.quiet()
    begun = []
    while (found := after.pick(ALL)) is not None:
        begun.append(found[0].id)
        after.quiet()
    assert len(set(begun)) == 900


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(("", "u"))), min_size=1, max_size=40),
    st.integers(0, 10),
)
@settings(max_examples=100, deadline=None)
def test_a_position_is_when_it_begins_within_one_turn_of_each(
    who: list[tuple[str, str]], before: int
) -> None:
    queue = Queue(ageing_s=1e9, window=ALWAYS)
    waiting = [Waiting(f"p{n}", Flow(1, account, "t", user), n, 0) for n, (account, user) in enumerate(who)]
    for one in waiting:
        queue.add(one)
    for _ in range(min(before, len(who) - 1)):
        found = queue.pick([Slot("a", "v1")], 0)
        assert found is not None
        queue.began(found[0])
    left = [one for one in waiting if one.id in queue]
    places = {one.id: queue.place(one, 0).ahead for one in left}
    shares = len(set(who))
    for turn in range(len(left)):
        found = queue.pick([Slot("a", "v1")], 0)
        assert found is not None
        assert abs(places[found[0].id] - turn) <= shares
        queue.began(found[0])
