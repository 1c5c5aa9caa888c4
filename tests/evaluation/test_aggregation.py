from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.evaluation.aggregation import gain_ratio, group_means, macro_mean, worst_group

VALUES = np.array([0.2, 0.9, 0.4, 0.7, 0.8])
GROUPS = ["b", "a", "b", "a", "a"]


def test_groups_count_the_same_whatever_their_size() -> None:
    assert group_means(VALUES, GROUPS) == pytest.approx({"b": 0.3, "a": 0.8})
    assert list(group_means(VALUES, GROUPS)) == ["b", "a"]
    assert macro_mean(VALUES, GROUPS) == pytest.approx(0.55)
    assert macro_mean(VALUES, GROUPS) != pytest.approx(VALUES.mean())
    # Copies of a group's items add nothing to it.
    copied = macro_mean(np.append(VALUES, [0.2, 0.4] * 3), [*GROUPS, *["b"] * 6])
    assert copied == pytest.approx(0.55)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20).map(np.array))
def test_single_items_and_one_group_give_the_plain_mean(values: np.ndarray) -> None:
    assert macro_mean(values, range(len(values))) == pytest.approx(values.mean())
    assert macro_mean(values, [0] * len(values)) == pytest.approx(values.mean())


def test_the_worst_group_is_the_one_with_the_lowest_mean() -> None:
    # "a" holds the lowest single figure, "b" the lowest mean.
    values, groups = np.array([0.0, 0.3, 1.0, 0.3]), ["a", "b", "a", "b"]
    assert worst_group(values, groups) == ("b", pytest.approx(0.3))
    assert worst_group(np.array([0.5, 0.5]), [2, 1])[0] == 2


def test_the_gain_is_a_share_of_what_was_to_be_gained() -> None:
    assert gain_ratio(0.6, 0.5, 0.9) == pytest.approx(0.25)
    assert gain_ratio(0.5, 0.5, 0.9) == 0 and gain_ratio(0.9, 0.5, 0.9) == 1
    assert gain_ratio(0.4, 0.5, 0.9) == pytest.approx(-0.25)
    assert gain_ratio(1.1, 0.5, 0.9) == pytest.approx(1.5)


def test_what_has_no_mean_or_no_room_is_refused() -> None:
    for values, groups in (([], []), ([1.0], ["a", "b"])):
        with pytest.raises(ValueError, match="As many figures as groups"):
            macro_mean(np.array(values), groups)
    with pytest.raises(ValueError, match="not finite"):
        worst_group(np.array([1.0, np.inf]), ["a", "b"])
    for ceiling in (0.5, 0.4, np.nan):
        with pytest.raises(ValueError, match="Nothing lies between"):
            gain_ratio(0.6, 0.5, ceiling)
