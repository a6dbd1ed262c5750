"""What run times say of the next run, and of when one that waits begins."""

import heapq
import random

import pytest

from coordinator.scheduling.forecast import KEPT, Forecast, eta

V1, V2 = "1" * 64, "2" * 64


def taught(*runs: tuple[str, str, str, float]) -> Forecast:
    forecast = Forecast()
    for run in runs:
        forecast.record(*run)
    return forecast


class TestCost:
    def test_nothing_is_known_of_a_model_that_never_ran(self) -> None:
        assert Forecast().predicted(V1, "t", "u") is None
        assert Forecast().spread() is None

    def test_the_closest_match_that_has_enough_runs(self) -> None:
        forecast = taught(*[(V1, "t", "u", 1.0)] * 3, *[(V1, "t", "w", 5.0)] * 4, *[(V1, "s", "", 20.0)] * 9)
        assert forecast.predicted(V1, "t", "u") == 1.0
        assert forecast.predicted(V1, "t", "new") == 5.0, "its token's"
        assert forecast.predicted(V1, "new", "") == 20.0, "its version's"
        assert forecast.predicted(V2, "new", "") == 20.0, "its model's"
        assert forecast.predicted("", "t", "u") == 1.0, "of whatever version"

    def test_two_runs_are_not_enough(self) -> None:
        forecast = taught(*[(V1, "t", "u", 100.0)] * 2, *[(V1, "t", "w", 1.0)] * 9)
        assert forecast.predicted(V1, "t", "u") == 1.0

    def test_old_runs_are_forgotten(self) -> None:
        forecast = taught(*[(V1, "t", "u", 100.0)] * 40, *[(V1, "t", "u", 1.0)] * 40)
        assert forecast.predicted(V1, "t", "u") == 1.0

    def test_it_is_written_down_and_read_within_bounds(self) -> None:
        forecast = taught(*((V1, f"t{n % 7}", "", float(n)) for n in range(2 * KEPT)))
        again = Forecast()
        again.load(forecast.dump())
        assert again.predicted(V1, "t3", "") == forecast.predicted(V1, "t3", "")
        assert again.spread() == forecast.spread()
        assert len(forecast.dump()) < 200 * KEPT


class TestEta:
    def test_without_a_slot_nobody_knows(self) -> None:
        spread = taught((V1, "t", "", 1.0)).spread()
        assert spread is not None
        assert eta(0, [], 0, spread) is None

    def test_a_free_slot_is_now(self) -> None:
        spread = taught(*[(V1, "t", "", 10.0)] * 5).spread()
        assert spread is not None
        found = eta(0, [3.0], 1, spread)
        assert found is not None
        assert (found.p50, found.p90) == (0.0, 0.0)

    def test_the_next_one_waits_for_what_is_left(self) -> None:
        spread = taught(*[(V1, "t", "", 10.0)] * 5).spread()
        assert spread is not None
        found = eta(0, [3.0, 8.0], 0, spread)
        assert found is not None
        assert found.p50 == pytest.approx(2.0)

    @pytest.mark.parametrize(("ahead", "slots"), [(0, 1), (3, 2), (20, 4), (400, 3), (400, 32)])
    def test_it_is_near_what_happens(self, ahead: int, slots: int) -> None:
        """Half and nine tenths of a thousand queues, played through, begin by then: give or take."""
        dice = random.Random(7)
        draw = lambda: dice.lognormvariate(2.0, 0.5)  # noqa: E731
        spread = taught(*((V1, "t", "", draw()) for _ in range(KEPT))).spread()
        assert spread is not None
        begun = []
        elapsed: list[float] = []
        for _ in range(1000):
            free = []
            elapsed = []
            for _ in range(slots):
                length = draw()
                been = dice.random() * length
                elapsed.append(been)
                free.append(length - been)
            heapq.heapify(free)
            for _ in range(ahead):
                heapq.heapreplace(free, free[0] + draw())
            begun.append(free[0])
        begun.sort()
        found = eta(ahead, elapsed, 0, spread)
        assert found is not None
        longest = spread.p90
        assert abs(found.p50 - begun[500]) <= 0.35 * begun[500] + longest
        assert begun[500] <= found.p90 <= 1.6 * begun[900] + longest
