from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.geometry.group_mean import group_mean


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(0, 30), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_every_group_is_the_mean_of_its_own_rows(g: int, more: int, d: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = generator.permutation(np.concatenate([np.arange(g), generator.integers(0, g, more)]))
    vectors = generator.normal(size=(len(groups), d))
    found = group_mean(vectors, groups)
    assert found.shape == (g, d)
    for group in range(g):
        np.testing.assert_allclose(found[group], vectors[groups == group].mean(axis=0), atol=1e-12)


def test_a_group_of_one_row_is_that_row() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    found = group_mean(vectors, np.array([2, 0, 1]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, vectors[[1, 2, 0]])


def test_lengths_count_and_are_not_restored() -> None:
    found = group_mean(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), np.array([0, 0, 1]))
    np.testing.assert_array_equal(found, [[0.5, 0.5], [0.0, 3.0]])


def test_single_precision_loses_nothing() -> None:
    vectors = np.array([[1e8], [1.0], [-1e8], [1.0]], dtype=np.float32)
    assert group_mean(vectors, np.zeros(4, dtype=np.int64)).item() == 0.5


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([0, 0, 2], "Group 1 has no row"),
        ([1, 1, 1], "Group 0 has no row"),
        ([0, -1, 1], "counted from 0"),
        ([], "0 rows"),
    ],
)
def test_groups_without_a_mean_are_refused(groups: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        group_mean(np.ones((len(groups), 2)), np.array(groups, dtype=np.int64))
