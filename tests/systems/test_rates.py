from __future__ import annotations

import math

import pytest

from isometry.systems.rates import best_rate


@pytest.mark.parametrize(
    ("peak", "tried"),
    [
        # The best has a neighbour on either side.
        (5e-5, [2e-5, 1e-4, 5e-5]),
        # As far out as the best from its neighbour, until the next one is worse.
        (1e-4, [2e-5, 1e-4, 5e-5, 2e-4]),
        (2e-4, [2e-5, 1e-4, 5e-5, 2e-4, 4e-4]),
        (1e-5, [2e-5, 1e-4, 5e-5, 8e-6, 3.2e-6]),
        # There is an end to it.
        (1.0, [2e-5, 1e-4, 5e-5, 2e-4, 4e-4, 8e-4]),
        (0.0, [2e-5, 1e-4, 5e-5, 8e-6, 3.2e-6, 1.3e-6]),
    ],
)
def test_rates_beyond_a_grid_are_tried_where_its_end_is_the_best(
    peak: float, tried: list[float]
) -> None:
    asked: list[float] = []

    def score(rate: float) -> float:
        asked.append(rate)
        return -abs(math.log(rate) - math.log(max(peak, 1e-9)))

    best = best_rate((2e-5, 1e-4, 5e-5), score)
    assert asked == tried and best == min(tried, key=lambda rate: abs(rate - peak))


def test_of_two_that_reach_the_same_the_first_is_taken_and_of_one_nothing_is_asked() -> None:
    assert best_rate((3.0, 1.0, 2.0), lambda rate: float(rate > 1.5)) == 3.0
    assert best_rate((3.0,), lambda rate: 1 / 0) == 3.0
