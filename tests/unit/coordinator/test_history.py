"""What a running prediction has said, in bounded memory."""

from typing import Any, Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from coordinator.history import History
from coordinator.protocol.messages import Event, StoredFile

Kind = Literal["output", "logs", "metrics"]


def event(seq: int, data: Any = "x", kind: Kind = "output", files: tuple[StoredFile, ...] = ()) -> Event:
    return Event(seq=seq, kind=kind, data=msgspec.Raw(msgspec.json.encode(data)), files=files)


def seqs(events: tuple[Event, ...]) -> list[int]:
    return [one.seq for one in events]


def test_events_after_a_place() -> None:
    history = History(10_000)
    assert history.after(0) == ((), False)
    for seq in range(1, 6):
        assert history.add(event(seq))
    assert seqs(history.after(0)[0]) == [1, 2, 3, 4, 5]
    assert seqs(history.after(3)[0]) == [4, 5]
    assert history.after(5) == ((), False)
    assert history.after(99) == ((), False)


def test_a_listener_gets_about_so_much_at_once() -> None:
    history = History(1_000_000)
    for seq in range(1, 101):
        history.add(event(seq, "y" * 880))
    parts, seq = [], 0
    while events := history.after(seq, 5000)[0]:
        parts.append(seqs(events))
        seq = events[-1].seq
    assert all(1 <= len(part) <= 5 for part in parts)
    assert [seq for part in parts for seq in part] == list(range(1, 101))
    assert seqs(history.after(3, 1)[0]) == [4], "one at least, however large"


def test_what_is_known_already_is_not_kept_twice() -> None:
    history = History(10_000)
    assert history.add(event(1))
    assert history.add(event(2))
    assert not history.add(event(2, "again"))
    assert not history.add(event(1, "again"))
    assert history.output() == b'["x","x"]'


def test_over_the_limit_the_oldest_are_forgotten_and_that_is_said() -> None:
    history = History(1000)
    for seq in range(1, 101):
        history.add(event(seq, "y" * 50))
    kept, missing = history.after(0)
    assert missing
    assert seqs(kept) == list(range(kept[0].seq, 101))
    assert 1 < len(kept) < 10
    assert history.after(kept[0].seq - 1) == (kept, False)
    assert history.after(kept[0].seq - 2) == (kept, True)


def test_the_list_of_outputs_only_grows() -> None:
    history = History(1000)
    before: list[str] = []
    for seq in range(1, 31):
        history.add(event(seq, f"{seq} {'y' * 20}"))
        output = history.output()
        assert output is not None
        items = msgspec.json.decode(output)
        assert items[: len(before)] == before
        before = items
    assert [item.split()[0] for item in before] == [str(seq) for seq in range(1, len(before) + 1)]
    assert 5 < len(before) < 10


def test_an_event_larger_than_the_limit_is_still_passed_on() -> None:
    history = History(100)
    history.add(event(1))
    history.add(event(2, "z" * 1000))
    assert seqs(history.after(1)[0]) == [2]


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 400)), max_size=80), st.integers(500, 2000))
def test_memory_is_bounded_and_order_kept(said: list[tuple[int, int]], limit_bytes: int) -> None:
    history = History(limit_bytes)
    highest = 0
    for seq, length in said:
        assert history.add(event(seq, "d" * length)) == (seq > highest)
        highest = max(highest, seq)
    kept, _ = history.after(0)
    assert seqs(kept) == sorted(set(seqs(kept)))
    assert history.last_seq == highest == (kept[-1].seq if kept else 0)
    assert len(kept) <= 1 or sum(len(one.data) for one in kept) <= limit_bytes


def test_output_logs_and_files_so_far() -> None:
    stored = StoredFile(
        key="outputs/p/k/0/a.png", name="a.png", content_type="image/png", length=1, sha256="0"
    )
    history = History(10_000)
    assert history.output() is None
    assert history.logs() == ""
    history.add(event(1, "loading\n", "logs"))
    history.add(event(2, {"n": 1}))
    history.add(event(3, {"tokens": 3}, "metrics"))
    history.add(event(4, "done ✓\n", "logs"))
    history.add(event(5, None, files=(stored,)))
    assert history.output() == b'[{"n":1},null]'
    assert history.logs() == "loading\ndone ✓\n"
    assert history.files() == (stored,)


def test_logs_that_are_no_text_are_passed_over() -> None:
    history = History(10_000)
    history.add(event(1, "before ", "logs"))
    history.add(event(2, 17, "logs"))
    history.add(event(3, "after", "logs"))
    assert history.logs() == "before after"
