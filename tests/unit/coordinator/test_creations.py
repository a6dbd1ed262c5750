"""Which creations the index may lack: the watermark never passes one that it does not have."""

from hypothesis import given
from hypothesis import strategies as st

from coordinator.creations import Creations


def test_the_watermark_stops_before_the_first_that_is_not_indexed() -> None:
    creations = Creations()
    for place in (1, 2, 3, 4):
        creations.told(f"p{place}", place)
    assert (creations.watermark, len(creations)) == (0, 4)
    creations.indexed("p2")
    assert creations.watermark == 0
    creations.indexed("p1")
    assert creations.watermark == 2
    creations.indexed("p4")
    creations.indexed("p3")
    creations.indexed("never told")
    assert (creations.watermark, len(creations)) == (4, 0)


def test_after_a_load_what_is_above_the_watermark_is_told_again_by_pages() -> None:
    creations = Creations()
    creations.load(10, 30)
    assert creations.page == (10, 30)
    assert creations.must_be_told_again(11)
    assert not creations.must_be_told_again(10)
    assert not creations.must_be_told_again(31)
    creations.told("p12", 12)
    creations.told("p20", 20)
    creations.paged(20)
    assert creations.page == (20, 30)
    assert creations.watermark == 10 + 1
    creations.indexed("p12")
    creations.indexed("p20")
    assert creations.watermark == 20
    creations.told("new", 31)
    creations.indexed("new")
    assert creations.watermark == 20
    creations.paged(None)
    assert (creations.page, creations.watermark) == (None, 31)


def test_when_nothing_is_above_the_watermark_there_is_nothing_to_tell() -> None:
    creations = Creations()
    creations.load(10, 7)
    assert (creations.page, creations.watermark) == (None, 10)


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans())))
def test_whatever_the_order(steps: list[tuple[int, bool]]) -> None:
    creations = Creations()
    told: set[int] = set()
    indexed: set[int] = set()
    for number, tell in steps:
        if tell:
            place = len(told) + 1
            creations.told(f"p{place}", place)
            told.add(place)
        elif number in told:
            creations.indexed(f"p{number}")
            indexed.add(number)
        missing = told - indexed
        assert creations.watermark == (min(missing) - 1 if missing else len(told))
        assert len(creations) == len(missing)
