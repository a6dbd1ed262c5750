"""Randomness is handed out once, and all of it."""

import re

from coordinator.randomness import Randomness


def test_nothing_comes_twice_over_the_borders_of_its_pieces() -> None:
    randomness = Randomness()
    taken = [randomness.take(24) for _ in range(1000)]
    assert len(set(taken)) == 1000
    assert {len(each) for each in taken} == {24}


def test_bits_fill_their_range() -> None:
    randomness = Randomness()
    numbers = [randomness.bits(82) for _ in range(200)]
    assert max(number.bit_length() for number in numbers) == 82
    every = 0
    for number in numbers:
        every |= number
    assert every == (1 << 82) - 1


def test_tokens_may_stand_in_a_url() -> None:
    randomness = Randomness()
    tokens = {randomness.token() for _ in range(500)}
    assert len(tokens) == 500
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{24}", token) for token in tokens)
