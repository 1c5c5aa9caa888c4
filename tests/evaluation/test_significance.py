from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.evaluation import significance
from isometry.evaluation.significance import (
    Interval,
    paired_bootstrap,
    stratified_bootstrap,
)

FIGURES = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)


@settings(deadline=None)
@given(a=FIGURES)
def test_a_system_does_not_differ_from_itself(a):
    assert paired_bootstrap(a, a, samples=50) == Interval(0.0, 0.0, 0.0)
    assert not paired_bootstrap(a, a, samples=50).excludes_zero


@settings(deadline=None)
@given(a=FIGURES, shift=st.floats(-1, 1))
def test_a_constant_shift_has_no_spread(a, shift):
    found = paired_bootstrap(a, a + shift, samples=50)
    assert (found.difference, found.low, found.high) == pytest.approx((shift,) * 3, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(a=FIGURES, seed=st.integers(0, 1000))
def test_swapping_the_systems_negates(a, seed):
    b = np.random.default_rng(seed).permutation(a)
    there = paired_bootstrap(a, b, samples=101, seed=seed)
    back = paired_bootstrap(b, a, samples=101, seed=seed)
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-there.difference, -there.high, -there.low), abs=1e-12
    )
    assert there.low <= there.high


def test_pairs_are_kept_together():
    chance = np.random.default_rng(0)
    a = chance.random(200)  # queries differ much, systems little
    found = paired_bootstrap(a, a + 0.02 + 0.01 * chance.standard_normal(200))
    assert found.excludes_zero
    assert found.high - found.low < 0.004


def test_more_confidence_makes_a_wider_interval():
    chance = np.random.default_rng(1)
    a, b = chance.random((2, 40))
    narrow, wide = (paired_bootstrap(a, b, confidence=each) for each in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_same_seed_gives_the_same_interval_in_blocks_of_any_size(monkeypatch):
    a, b = np.random.default_rng(2).random((2, 37))
    whole = paired_bootstrap(a, b, samples=500, seed=4)
    monkeypatch.setattr(significance, "_DRAWS_AT_ONCE", 37 * 9)
    assert paired_bootstrap(a, b, samples=500, seed=4) == whole
    assert paired_bootstrap(a, b, samples=500, seed=5) != whole


def test_copies_of_a_query_in_one_group_add_no_certainty():
    a, b = np.random.default_rng(3).random((2, 25))
    single = paired_bootstrap(a, b)
    copied = [np.repeat(each, 4) for each in (a, b)]
    clustered = paired_bootstrap(*copied, groups=[str(i) for i in np.repeat(np.arange(25), 4)])
    assert (clustered.difference, clustered.low, clustered.high) == pytest.approx(
        (single.difference, single.low, single.high)
    )
    naive = paired_bootstrap(*copied)
    assert naive.high - naive.low < 0.6 * (single.high - single.low)


def test_groups_of_different_size_keep_the_mean_over_queries():
    a, b = np.zeros(7), np.array([1.0, 1, 1, 1, 1, 0, 0])
    found = paired_bootstrap(a, b, groups=["long"] * 5 + ["short"] * 2)
    assert (found.difference, found.low, found.high) == pytest.approx((5 / 7, 0, 1))


@pytest.mark.parametrize(
    ("a", "b"),
    [([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0]), ([[1.0]], [[1.0]])],
)
def test_figures_that_cannot_be_paired_are_refused(a, b):
    with pytest.raises(ValueError, match="figure"):
        paired_bootstrap(np.array(a), np.array(b))


def test_groups_must_be_as_many_as_queries():
    with pytest.raises(ValueError, match="2 queries, but 1 groups"):
        paired_bootstrap(np.zeros(2), np.zeros(2), groups=["a"])


def test_one_collection_is_the_paired_bootstrap_and_each_counts_the_same() -> None:
    chance = np.random.default_rng(1)
    a, b = chance.random(40), chance.random(40)
    alone, plain = stratified_bootstrap([a], [b]), paired_bootstrap(a, b)
    assert alone.difference == pytest.approx(plain.difference)
    assert (alone.low, alone.high) == pytest.approx((plain.low, plain.high))
    many = chance.random(4000)
    pooled = stratified_bootstrap([a, many], [b, many + 0.1])
    assert pooled.difference == pytest.approx((plain.difference + 0.1) / 2)
    # A constant gain has no spread: the other collection's interval, halved, is all there is.
    assert pooled.high - pooled.low == pytest.approx((plain.high - plain.low) / 2)


def test_the_stratified_interval_has_the_textbook_width() -> None:
    chance = np.random.default_rng(2)
    parts = [chance.normal(0.1, 1.0, 400), chance.normal(-0.1, 3.0, 100)]
    found = stratified_bootstrap([np.zeros(400), np.zeros(100)], parts, samples=20_000)
    deviation = np.sqrt(sum(part.var() / len(part) for part in parts)) / 2
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.03)


def test_collections_must_be_the_same_ones() -> None:
    with pytest.raises(ValueError):
        stratified_bootstrap([], [])
    with pytest.raises(ValueError):
        stratified_bootstrap([np.zeros(3)], [np.zeros(3), np.zeros(3)])
    with pytest.raises(ValueError):
        stratified_bootstrap([np.zeros(3)], [np.zeros(4)])
