"""What the server is told of an attempt, in order, as often as it takes; and outputs as JSON."""

import asyncio

import msgspec
import pytest

from coordinator.protocol.messages import Finished
from gpu_agent.event_log import BATCH_BYTES, EventLog, last_part
from gpu_agent.output import BadOutput, fill, join, to_json
from gpu_agent.report import Report


class Wire:
    """A channel that notes what was sent while it is open."""

    number = 3

    def __init__(self) -> None:
        self.open = True
        self.congested = False
        self.sent: list = []
        self.arrived = asyncio.Event()

    def send(self, message):
        if self.open:
            self.sent.append(message)
            self.arrived.set()
        return self.open

    def events(self):
        return [event for message in self.sent if hasattr(message, "events") for event in message.events]

    def said(self):
        return [(event.seq, event.kind, msgspec.json.decode(event.data)) for event in self.events()]


RESULT = Finished(channel=0, prediction="p", attempt=1, secret="s", status="succeeded")


def report(wire, log_bytes=1000):
    return Report(wire, ("p", 1), log_bytes)


async def test_what_was_sent_is_sent_again_as_one_message():
    wire = Wire()
    one = report(wire)
    for _ in range(4):
        one.add_output(b'"%s"' % (b"x" * (BATCH_BYTES // 2 - 10)), ())
        one.flush()
    wire.congested = True
    one.add_output(b'"not yet sent"', ())
    one.flush()
    sent = len(wire.sent)
    one.resend(2)
    (message,) = wire.sent[sent:]
    assert [event.seq for event in message.events] == [2, 3]
    for nothing in (5, 9):
        one.resend(nothing)
    one.suspend()
    one.resend(1)
    assert len(wire.sent) == sent + 1
    wire.congested = False
    one.keep(5)
    assert [event.seq for event in wire.sent[-1].events] == [5], "what comes next is as it was"


async def test_order_is_kept_and_the_result_comes_last():
    wire = Wire()
    one = report(wire)
    one.add_logs("a")
    one.add_output(b"1", ())
    one.add_logs("b\n")
    one.add_logs("c\n")
    one.add_output(b'"x"', ())
    one.add_metrics(b'{"n":1}')
    one.finish(RESULT)
    assert wire.said() == [
        (1, "logs", "a"),
        (2, "output", 1),
        (3, "logs", "b\nc\n"),
        (4, "output", "x"),
        (5, "metrics", {"n": 1}),
    ]
    assert wire.sent[-1].channel == 3
    assert wire.sent[-1].status == "succeeded"


async def test_logs_are_gathered_and_flushed_by_themselves():
    wire = Wire()
    one = report(wire)
    one.add_logs("first\n")
    one.flush()
    one.add_logs("second\n")
    one.add_logs("third\n")
    one.flush()
    assert wire.said() == [(1, "logs", "first\n")]
    wire.arrived.clear()
    await asyncio.wait_for(wire.arrived.wait(), 5)
    assert wire.said()[1] == (2, "logs", "second\nthird\n")


async def test_after_a_cut_events_come_again_from_the_one_asked_for():
    wire = Wire()
    one = report(wire)
    for number in range(5):
        one.add_output(str(number).encode(), ())
    one.flush()
    one.suspend()
    one.add_output(b"5", ())
    one.flush()
    assert len(wire.events()) == 5
    wire.sent.clear()
    one.keep(4)
    assert [event.seq for event in wire.events()] == [4, 5, 6]
    one.finish(RESULT)
    one.flush()
    assert [type(message).__name__ for message in wire.sent] == ["Progress", "Finished"]
    wire.sent.clear()
    one.keep(7)
    assert [type(message).__name__ for message in wire.sent] == ["Finished"]


async def test_a_congested_or_closed_connection_holds_all_back():
    wire = Wire()
    one = report(wire)
    wire.congested = True
    one.add_output(b"1", ())
    one.finish(RESULT)
    assert wire.sent == []
    wire.congested = False
    wire.open = False
    one.flush()
    wire.open = True
    one.flush()
    assert [type(message).__name__ for message in wire.sent] == ["Progress", "Finished"]


def test_old_log_text_gives_way_but_keeps_its_number():
    log = EventLog(log_bytes=30)
    log.add_output(b"1", ())
    for number in range(10):
        log.add_logs(f"line {number}")
    events = log.batch(1)
    assert [event.seq for event in events] == list(range(1, 12))
    assert bytes(events[1].data) == b'""'
    assert msgspec.json.decode(events[-1].data) == "line 9"


def test_batches_are_bounded():
    log = EventLog(0)
    big = b'"' + b"x" * (BATCH_BYTES // 2) + b'"'
    for _ in range(5):
        log.add_output(big, ())
    sizes = []
    seq = 1
    while batch := log.batch(seq):
        sizes.append(len(batch))
        seq = batch[-1].seq + 1
    assert sum(sizes) == 5
    assert max(sizes) <= 2
    log.add_output(b'"' + b"x" * BATCH_BYTES * 3 + b'"', ())
    assert len(log.batch(6)) == 1


def test_logs_in_the_result_are_bounded_and_marked():
    assert last_part("short", 100) == "short"
    cut = last_part("é" * 1000, 200)
    assert len(cut.encode()) <= 200
    assert cut.startswith("[")
    assert cut.endswith("é")
    assert last_part("a\udc80b", 100) == "a?b"


def test_files_get_their_place():
    value = {"a/b": [None, {"c": None}], "d": None}
    output = to_json(value)
    filled = fill(output, {"/a~1b/0": "k0", "/a~1b/1/c": "k1", "/d": "k2"})
    assert msgspec.json.decode(filled) == {
        "a/b": ["cogflare://blob/k0", {"c": "cogflare://blob/k1"}],
        "d": "cogflare://blob/k2",
    }
    assert fill(b"null", {"": "k"}) == b'"cogflare://blob/k"'
    assert fill(b"[1]", {}) == b"[1]"
    assert join([b"1", b'"x"']) == b'[1,"x"]'
    for pointer in ("/nowhere/deep", "/d/0"):
        with pytest.raises(BadOutput):
            fill(output, {pointer: "k"})
    for bad in ("\udc80", {1, 2}.__iter__(), object()):
        with pytest.raises(BadOutput):
            to_json(bad)
