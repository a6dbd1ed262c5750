"""The ids of events: what is one, what is none, and that each brings its reader back to where it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.places import START, Place, read_place

counts = st.integers(0, 10**15 - 1)
places = st.builds(Place, st.integers(0, 10**9 - 1), counts, counts, counts, st.booleans())


@given(places)
def test_an_id_says_where_its_reader_is(place: Place) -> None:
    assert read_place(place.id) == place
    assert place.id.isascii()
    assert not set(place.id) & set("\0\r\n ")


@pytest.mark.parametrize(
    ("id", "place"),
    [
        ("", START),
        ("1:5", Place(1, 5, 5)),
        ("2:7.3", Place(2, 7, 3)),
        ("2:7.3.120", Place(2, 7, 3, 120)),
        ("0:0/end", Place(0, 0, 0, ended=True)),
    ],
)
def test_what_ids_mean(id: str, place: Place) -> None:
    assert read_place(id) == place


@pytest.mark.parametrize(
    "id",
    ["x", "1", "1:", ":1", "1:2:3", "1:2.", "1:2.3.", "1:2.3.4.5", "-1:2", " 1:2", "1:2\n", "1:2/", "1:2/END",
     "9" * 10 + ":1", "1:" + "9" * 16, "\u0661:\u0662", "1:2\0", "1690212292:0", "null"],
)  # fmt: skip
def test_what_is_no_id_of_ours(id: str) -> None:
    assert read_place(id) is None


@given(st.text(st.characters(codec="latin-1"), max_size=40) | st.from_regex(r"[0-9:./end]{0,24}"))
def test_any_text_is_an_id_or_none(text: str) -> None:
    place = read_place(text)
    assert place is None or read_place(place.id) == place
