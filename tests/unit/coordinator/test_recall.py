"""One batch of what was forgotten, asked for once, for whoever is at that place."""

import msgspec

from coordinator.calls import SocketAddress
from coordinator.protocol.messages import Event
from coordinator.recall import Recall

HERE, THERE = SocketAddress("gateway", "1"), SocketAddress("gateway", "2")


def events(*seqs: int, data: bytes = b'"x"') -> list[Event]:
    return [Event(seq=seq, kind="output", data=msgspec.Raw(data)) for seq in seqs]


def seqs(found: tuple[Event, ...]) -> list[int]:
    return [event.seq for event in found]


def test_one_question_is_under_way_at_a_time() -> None:
    recall = Recall()
    assert recall.asks(HERE, 3)
    assert not recall.asks(HERE, 8)
    assert recall.asks(THERE, 3), "the session that was asked is gone"
    recall.give_up()
    assert recall.asks(THERE, 8)


def test_the_answer_is_for_everybody_within_it() -> None:
    recall = Recall()
    recall.asks(HERE, 3)
    assert not recall.take(4, events(4)), "something else that is sent again"
    assert recall.take(3, events(4, 5, 6)), "3 is not to be shown"
    assert seqs(recall.after(2)) == [4, 5, 6]
    assert seqs(recall.after(4)) == [5, 6]
    assert recall.after(1) == recall.after(6) == ()
    assert not recall.take(3, events(3)), "nobody has asked any more"


def test_more_than_a_batch_is_not_kept() -> None:
    recall = Recall()
    recall.asks(HERE, 1)
    recall.take(1, events(1, 2, 3, data=b'"%s"' % (b"x" * 600_000)))
    assert seqs(recall.after(0)) == [1]
