"""When a terminal webhook is tried again, and what is remembered of it."""

import itertools

from msgspec.structs import replace

from coordinator.letters import (
    LOG_LENGTH,
    LONGEST_WAIT_S,
    Letter,
    Try,
    decode,
    encode,
    next_try,
    state_of,
    tried,
)

DAY_US = 86_400 * 1_000_000
LETTER = Letter(id="p", account="acme", url="http://a.test/", host="a.test:80", expires_at=DAY_US)


def tries(chance: float) -> list[int]:
    """The times at which a letter is tried that is always in vain."""
    found, letter, now = [], LETTER, 0
    while True:
        found.append(now)
        letter = tried(letter, Try(at=now, error="no"))
        at = next_try(letter, now, chance)
        if at is None:
            return found
        now = at


def test_it_is_tried_for_a_day_and_less_often_each_time() -> None:
    times = tries(0.5)
    waits = [(b - a) / 1e6 for a, b in itertools.pairwise(times)]
    assert waits[:4] == [2, 4, 8, 16]
    assert waits == sorted(waits)
    assert max(waits) == LONGEST_WAIT_S
    assert DAY_US - LONGEST_WAIT_S * 1e6 <= times[-1] < DAY_US


def test_waits_are_spread() -> None:
    assert tries(0.0)[1] == 1_600_000
    assert tries(1.0)[1] == 2_400_000


def test_the_last_tries_are_remembered() -> None:
    letter = LETTER
    for n in range(LOG_LENGTH + 5):
        letter = tried(letter, Try(at=n, status=500, error="the answer was 500"))
    letter = decode(encode(letter))
    assert [one.at for one in letter.log] == list(range(5, LOG_LENGTH + 5))
    assert letter.tries == LOG_LENGTH + 5
    assert not letter.delivered


def test_states() -> None:
    delivered = replace(LETTER, delivered=True)
    assert state_of(LETTER, None, None) == "waiting"
    assert state_of(LETTER, 5, None) == "pending"
    assert state_of(LETTER, None, 5) == "failed"
    assert state_of(delivered, None, 5) == "delivered"
