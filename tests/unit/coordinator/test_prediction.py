"""Every pair of a status and a happening, and the document's own encoding."""

import msgspec
import pytest

from coordinator.prediction import TERMINAL, TRANSITIONS, Document, Happening, Status, decode, encode

ENDS = {"succeeded": "succeeded", "failed": "failed", "canceled": "canceled"}
EXPECTED = {
    "starting": {
        "dispatched": "starting",
        "accepted": "processing",
        "returned": "starting",
        "lost": "starting",
        **ENDS,
    },
    "processing": {
        "dispatched": "processing",
        "accepted": "processing",
        "returned": "processing",
        "lost": "processing",
        **ENDS,
    },
    **{end: dict.fromkeys((*("dispatched", "accepted", "returned", "lost"), *ENDS), end) for end in ENDS},
}
PAIRS = [(status, happening) for status in Status for happening in Happening]


@pytest.mark.parametrize(("status", "happening"), PAIRS, ids=lambda value: str(value))
def test_each_pair(status: Status, happening: Happening) -> None:
    assert TRANSITIONS[status, happening].value == EXPECTED[status.value][happening.value]


def test_the_table_has_every_pair_and_no_other() -> None:
    assert set(TRANSITIONS) == set(PAIRS)


def test_what_is_terminal() -> None:
    assert {status for status in Status if status.terminal} == TERMINAL
    assert {status.value for status in TERMINAL} == set(ENDS)


def test_a_document_comes_back_as_it_was() -> None:
    document = Document(
        id="p",
        account="acme",
        token="tok",
        pool="default",
        model="acme/m",
        created_at=2**62,
        input=b'{"a": "\xc3\xa9"}',
        output=b"[1, 2]",
        metrics=b'{"predict_time":0.25}',
        input_files={"https://x/y": "uploads/1/y"},
        logs="line\n",
        sequence=7,
    )
    assert decode(encode(document)) == document


def test_what_a_newer_version_added_is_passed_over() -> None:
    document = Document(id="p", account="a", token="t", pool="d", model="a/m", created_at=1, input=b"{}")
    fields = msgspec.msgpack.decode(encode(document))
    assert decode(msgspec.msgpack.encode({**fields, "invented_later": [1]})) == document
