"""What a token and its account have had today, and what is ahead of them."""

from coordinator.metering import DAY_US, Amounts
from coordinator.today import Expected, Owner, Today

TOKEN, ACCOUNT = Owner("token", "t"), Owner("account", "acme")
MODEL = "acme/m"


class Clock:
    def __init__(self) -> None:
        self.at = 5 * DAY_US + 1

    def __call__(self) -> int:
        return self.at


def count(today: Today, **sums: float) -> None:
    amounts = Amounts(**sums)  # type: ignore[arg-type]
    today.count(5, "acme", "t", amounts)
    today.learn(MODEL, amounts)


def test_what_is_created_counts_at_once_and_once() -> None:
    today = Today(Clock())
    assert today.take("1", "acme", "t", MODEL)
    assert not today.take("1", "acme", "t", MODEL)
    assert today.used(TOKEN).created == today.used(ACCOUNT).created == 1
    count(today, created=1)
    today.indexed(["1"], [])
    assert today.used(TOKEN).created == 1
    today.indexed(["1"], [])
    today.give_back("1")
    assert today.used(TOKEN).created == 1


def test_what_others_created_counts_when_the_index_has_it() -> None:
    today = Today(Clock())
    count(today, created=2)
    today.indexed(["1", "2"], [])
    assert today.used(TOKEN).created == today.used(ACCOUNT).created == 2
    assert today.used(Owner("token", "other")) == Amounts()


def test_what_was_refused_is_given_back() -> None:
    today = Today(Clock())
    count(today, succeeded=1, run_s=3.0)
    today.take("1", "acme", "t", MODEL)
    today.give_back("1")
    today.give_back("1")
    assert today.used(TOKEN).created == 0
    assert today.expected(TOKEN) == Expected(0.0, 0.0)


def test_what_is_ahead_takes_the_average_of_its_model_until_it_ends() -> None:
    today = Today(Clock())
    for id in ("1", "2"):
        today.take(id, "acme", "t", MODEL)
    assert today.expected(TOKEN) == Expected(0.0, 0.0)  # nobody knows yet
    count(today, succeeded=2, failed=2, run_s=8.0, spend=2.0, overflow_spend=2.0)
    assert today.expected(TOKEN) == today.expected(ACCOUNT) == Expected(4.0, 2.0)
    today.indexed(["1", "2"], ["1"])
    assert today.expected(TOKEN) == Expected(2.0, 1.0)
    today.indexed([], ["2", "3"])
    assert today.expected(TOKEN) == Expected(0.0, 0.0)


def test_a_new_day_begins_at_nothing_but_for_what_still_waits() -> None:
    clock = Clock()
    today = Today(clock)
    count(today, created=1, succeeded=1, run_s=2.0)
    today.take("1", "acme", "t", MODEL)
    today.take("never told", "acme", "t", MODEL)
    today.indexed(["1"], [])
    clock.at += DAY_US
    assert today.used(TOKEN) == Amounts()
    assert today.expected(TOKEN).run_s == 2.0
    count(today, created=1)  # of yesterday, told late
    assert today.day == 6
    assert today.used(TOKEN) == Amounts()
    today.indexed(["never told"], ["1"])
    assert today.used(TOKEN) == Amounts()
    assert today.expected(TOKEN).run_s == 0.0
