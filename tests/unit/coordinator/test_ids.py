"""Prediction ids route, and made-up ones are turned away."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.ids import ALPHABET, LENGTH, MAX_NUMBER, RANDOM_BITS, Ids

KEY = b"k" * 32


@given(st.integers(0, MAX_NUMBER))
def test_an_id_says_which_object_owns_it(number: int) -> None:
    ids = Ids(KEY)
    made = ids.make(number)
    assert len(made) == LENGTH == 26
    assert set(made) <= set(ALPHABET)
    assert ids.number(made) == number


def test_ids_do_not_repeat() -> None:
    ids = Ids(KEY)
    assert len({ids.make(7) for _ in range(2000)}) == 2000
    assert RANDOM_BITS >= 80


def test_the_id_of_a_cause_is_always_the_same_one() -> None:
    ids = Ids(KEY)
    one = ids.belonging_to("cause", 7)
    assert (ids.belonging_to("cause", 7), ids.number(one)) == (one, 7)
    others = {ids.belonging_to("another", 7), ids.belonging_to("cause", 8), ids.make(7)}
    assert one not in others
    assert ids.number(Ids(b"x" * 32).belonging_to("cause", 7)) is None


def test_any_single_character_changed_is_refused() -> None:
    ids, chance = Ids(KEY), random.Random(1)
    wrongly_taken = tried = 0
    for _ in range(40):
        made = ids.make(chance.randrange(MAX_NUMBER))
        for place in range(LENGTH):
            for other in chance.sample(ALPHABET.replace(made[place], ""), 6):
                tried += 1
                wrongly_taken += ids.number(made[:place] + other + made[place + 1 :]) is not None
    # Each has a chance of one in a million.
    assert tried == 40 * 26 * 6
    assert wrongly_taken <= 1


def test_the_key_of_another_server_is_refused() -> None:
    ours, theirs = Ids(KEY), Ids(b"x" * 32)
    assert sum(ours.number(theirs.make(5)) is not None for _ in range(1000)) <= 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 25,
        "a" * 27,
        "I" * 26,
        "l" * 26,
        "U" * 26,
        " " * 26,
        "é" * 26,
        "../../../../etc/passwd/../..",
        "-" * 26,
    ],
)
def test_what_is_no_id(text: str) -> None:
    assert Ids(KEY).number(text) is None


def test_upper_case_is_another_text() -> None:
    made = Ids(KEY, lambda bits: (1 << bits) - 1).make(MAX_NUMBER)
    assert made.upper() != made
    assert Ids(KEY).number(made.upper()) is None


@pytest.mark.parametrize("number", [-1, MAX_NUMBER + 1])
def test_numbers_that_do_not_fit(number: int) -> None:
    with pytest.raises(ValueError, match="object number"):
        Ids(KEY).make(number)


def test_randomness_is_what_was_injected() -> None:
    assert Ids(KEY, lambda bits: 5).make(1) == Ids(KEY, lambda bits: 5).make(1)
