from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.report.svg import name_ticks, nice_ticks

numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 4))


@given(low=numbers, high=numbers, count=st.integers(2, 10))
def test_ticks_are_round_and_cover_the_range(low: float, high: float, count: int) -> None:
    low, high = min(low, high), max(low, high)
    ticks = nice_ticks(low, high, count)
    step = ticks[1] - ticks[0]
    slack = 1e-6 * step
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert all(math.isclose(b - a, step, rel_tol=1e-6) for a, b in pairwise(ticks))
    factor = step / 10 ** math.floor(math.log10(step) + 1e-6)
    assert min(abs(factor - nice) for nice in (1, 2, 5)) < 1e-4
    assert 2 <= len(ticks) <= 2 * count + 1
    if high > low:  # none could be left out
        assert ticks[1] > low - slack
        assert ticks[-2] < high + slack


@given(value=numbers)
def test_a_single_value_stands_between_two_ticks(value: float) -> None:
    ticks = nice_ticks(value, value)
    assert ticks[0] < value < ticks[-1]


@pytest.mark.parametrize(
    ("ticks", "names"),
    [
        ([0.0, 0.2, 0.4], ["0.0", "0.2", "0.4"]),
        ([-10.0, 0.0, 10.0], ["\u221210", "0", "10"]),
        ([0.0, 2000.0], ["0", "2,000"]),
        ([32, 64, 128], ["32", "64", "128"]),
        (nice_ticks(0.1, 0.35, 6), ["0.10", "0.15", "0.20", "0.25", "0.30", "0.35"]),
    ],
)
def test_ticks_have_as_many_decimals_as_they_need(ticks: list[float], names: list[str]) -> None:
    assert name_ticks(ticks) == names


@given(low=numbers, high=numbers)
def test_no_two_ticks_have_the_same_name(low: float, high: float) -> None:
    names = name_ticks(nice_ticks(min(low, high), max(low, high)))
    assert len(set(names)) == len(names)
