from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from isometry.evaluation import significance
from isometry.evaluation.significance import (
    Interval,
    crossed_bootstrap,
    grouped_bootstrap,
    holm,
    paired_bootstrap,
    permutation_test,
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


@pytest.mark.parametrize("kind", ["grouped", "stratified", "crossed"])
def test_every_interval_follows_confidence_and_seed(kind: str) -> None:
    a, b = np.random.default_rng(1).random((2, 3, 40))

    def interval(confidence: float = 0.95, seed: int = 0) -> Interval:
        options = {"confidence": confidence, "seed": seed, "samples": 2000}
        if kind == "grouped":
            return grouped_bootstrap(a[0], b[0], np.arange(40) // 4, **options)
        if kind == "stratified":
            return stratified_bootstrap(list(a), list(b), **options)
        return crossed_bootstrap(a, b, **options)

    narrow, usual, wide = (interval(confidence) for confidence in (0.5, 0.95, 0.99))
    assert wide.low < usual.low < narrow.low < narrow.high < usual.high < wide.high
    assert interval() == usual != interval(seed=1)


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


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=20
    )
)
@settings(max_examples=60, deadline=None)
def test_by_group_no_interval_is_narrower_than_by_query(rows):
    a, b, groups = zip(*rows, strict=True)
    a, b = np.array(a), np.array(b)
    plain = paired_bootstrap(a, b, samples=300)
    found = grouped_bootstrap(a, b, groups, samples=300)
    assert found.low <= plain.low and plain.high <= found.high
    assert found.difference == plain.difference
    if len(set(groups)) == 1:
        assert found == plain
    # It is of no matter what groups are called.
    assert grouped_bootstrap(a, b, [f"page {each}" for each in groups], samples=300) == found


def test_what_is_alike_within_groups_makes_the_interval_as_wide_as_the_groups_differ():
    """Draws of 12 pages with 8 queries each: how often no difference is inside."""
    chance = np.random.default_rng(0)
    zeros, groups, inside = np.zeros(96), np.repeat(np.arange(12), 8), np.zeros(2)
    for _ in range(300):
        b = np.repeat(chance.normal(0, 0.3, 12), 8) + chance.normal(0, 0.1, 96)
        found = (
            paired_bootstrap(zeros, b, samples=300),
            grouped_bootstrap(zeros, b, groups, samples=300),
        )
        inside += [not interval.excludes_zero for interval in found]
    assert inside[0] / 300 < 0.7
    assert 0.91 < inside[1] / 300 < 0.99


def test_few_queries_of_a_page_each_are_as_few_as_groups() -> None:
    """Draws of ten queries: how often no difference is inside; of very many nothing is changed."""
    chance, zeros, inside = np.random.default_rng(4), np.zeros(10), np.zeros(2)
    for _ in range(600):
        b = chance.normal(0, 1, 10)
        found = (
            paired_bootstrap(zeros, b, samples=400),
            grouped_bootstrap(zeros, b, range(10), samples=400),
        )
        inside += [not interval.excludes_zero for interval in found]
    assert inside[0] / 600 < 0.93 < inside[1] / 600 < 0.98
    many = chance.normal(0, 1, 2000)
    wide = grouped_bootstrap(np.zeros(2000), many, range(2000))
    plain = paired_bootstrap(np.zeros(2000), many)
    assert (wide.low, wide.high) == pytest.approx((plain.low, plain.high), rel=0.01, abs=1e-4)


@pytest.mark.parametrize("confidence", [0.5, 0.99])
def test_the_ends_of_few_groups_are_moved_out_by_students_t(confidence: float) -> None:
    a, groups = np.zeros(40), np.arange(40) // 10
    b = np.repeat(np.array([0.1, -0.4, 0.9, 0.3]), 10)
    found = grouped_bootstrap(a, b, groups, confidence=confidence)
    plain = paired_bootstrap(a, b, confidence=confidence, groups=groups)
    level = (1 + confidence) / 2
    factor = stats.t.ppf(level, 3) / stats.norm.ppf(level) * (4 / 3) ** 0.5
    mean = b.mean()
    assert found.low == pytest.approx(mean - factor * (mean - plain.low))
    assert found.high == pytest.approx(mean + factor * (plain.high - mean))


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
    for groups in (["a"], ["a", "b"]):
        with pytest.raises(ValueError, match="3 queries, but"):
            grouped_bootstrap(np.zeros(3), np.zeros(3), groups)


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


def crossed(seeds: int, items: int, of_seeds: float, of_items: float, rest: float) -> np.ndarray:
    """Figures with effects of exactly these standard deviations, whatever the draw."""
    chance = np.random.default_rng(seeds + items)
    rows = stats.zscore(chance.normal(size=(seeds, 1))) * of_seeds
    columns = stats.zscore(chance.normal(size=(1, items)), axis=1) * of_items
    noise = chance.normal(size=(seeds, items))
    noise -= noise.mean(axis=0) + noise.mean(axis=1, keepdims=True) - noise.mean()
    return rows + columns + rest * noise / noise.std()


@pytest.mark.parametrize(
    ("of_seeds", "of_items", "rest"), [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 3.0, 1.0)]
)
def test_the_crossed_interval_has_the_width_of_its_theory(
    of_seeds: float, of_items: float, rest: float
) -> None:
    seeds, items = 30, 50
    b = crossed(seeds, items, of_seeds, of_items, rest)
    found = crossed_bootstrap(np.zeros_like(b), b, samples=40_000)
    # The variance of a sample's mean over draws of seeds and items (Owen 2007): the rest counts
    # for each of them and for their crossing.
    variance = of_seeds**2 / seeds + of_items**2 / items + rest**2 / (seeds * items)
    assert found.difference == pytest.approx(0, abs=1e-12)
    assert found.high - found.low == pytest.approx(2 * 1.96 * variance**0.5, rel=0.03)


def test_with_one_seed_it_is_the_paired_bootstrap() -> None:
    a, b = np.random.default_rng(4).random((2, 1, 60))
    assert crossed_bootstrap(a, b, seed=3) == paired_bootstrap(a[0], b[0], seed=3)
    # Copies of the seed are no other seeds: only the items have a spread.
    copies = crossed_bootstrap(*(np.repeat(each, 5, axis=0) for each in (a, b)))
    alone = paired_bootstrap(a[0], b[0])
    width = alone.high - alone.low
    assert copies.difference == pytest.approx(alone.difference)
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high), abs=0.05 * width)


def test_with_one_item_it_is_students_paired_interval_over_seeds() -> None:
    a, b = np.random.default_rng(5).random((2, 4, 1))
    found = crossed_bootstrap(a, b, confidence=0.9)
    theirs = stats.ttest_rel(b[:, 0], a[:, 0]).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert found.difference == pytest.approx(np.mean(b - a))


def test_pairs_of_a_seed_and_an_item_are_kept_together() -> None:
    chance = np.random.default_rng(6)
    a = chance.normal(size=(5, 1)) + chance.normal(size=(1, 100))
    found = crossed_bootstrap(a, a + 0.02 + 0.001 * chance.standard_normal(a.shape))
    assert 0.018 < found.low < found.high < 0.022


def test_the_crossed_interval_does_not_depend_on_the_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = np.random.default_rng(7).random((2, 3, 37))
    whole = crossed_bootstrap(a, b, samples=500, seed=4)
    monkeypatch.setattr(significance, "_DRAWS_AT_ONCE", 37 * 9)
    blocks = crossed_bootstrap(a, b, samples=500, seed=4)
    assert (blocks.low, blocks.high) == pytest.approx((whole.low, whole.high), rel=1e-12)
    assert crossed_bootstrap(a, b, samples=500, seed=5) != whole


@pytest.mark.parametrize(
    "shapes", [((1, 1), (1, 1)), ((2, 3), (3, 2)), ((6,), (6,)), ((0, 3),) * 2]
)
def test_tables_without_a_spread_or_a_pairing_are_refused(
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    with pytest.raises(ValueError, match="two or more figures"):
        crossed_bootstrap(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_a_crossed_figure_must_be_finite() -> None:
    with pytest.raises(ValueError, match="not finite"):
        crossed_bootstrap(np.zeros((2, 2)), np.array([[0, 1], [np.nan, 0]]))


def test_the_permutation_test_counts_sign_patterns() -> None:
    b = np.array([3.0, 1.0, 2.0, -1.0])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1)
    share = np.mean(np.abs(b @ signs) >= abs(b.sum()) - 1e-9)
    assert permutation_test(np.zeros(4), b) == pytest.approx(share) == 6 / 16
    assert permutation_test(b, np.zeros(4)) == pytest.approx(share)
    # n queries with the same gain: two patterns of 2**n are as extreme.
    assert permutation_test(np.zeros(9), np.full(9, 0.1)) == pytest.approx(2 / 2**9)
    assert permutation_test(np.zeros(1), np.ones(1)) == 1
    assert permutation_test(b, b) == 1


def test_drawn_patterns_agree_with_all_of_them_and_repeat() -> None:
    a, b = np.random.default_rng(8).random((2, 13))
    exact = permutation_test(a, b, samples=2**13)
    drawn = permutation_test(a, b, samples=2**13 - 1)
    assert 0.05 < exact < 0.95 and drawn != exact
    assert drawn == pytest.approx(exact, abs=0.02)
    assert permutation_test(a, b, samples=2**13 - 1) == drawn
    assert permutation_test(a, b, samples=2**13 - 1, seed=1) != drawn
    # It never says that chance is impossible.
    assert 0 < permutation_test(np.zeros(40), np.ones(40), samples=99) <= 0.02


def test_the_permutation_test_keeps_pairs_together() -> None:
    chance = np.random.default_rng(9)
    a = chance.random(100)
    b = a + 0.02 + 0.01 * chance.standard_normal(100)
    assert permutation_test(a, b, samples=1000) < 0.01
    assert permutation_test(a, chance.permutation(b), samples=1000) > 0.05


def test_holms_steps_by_hand() -> None:
    # 0.01 * 4; 0.02 * 3; 0.03 * 2 is the one before it, 0.06; 0.7 * 1.
    found = holm(np.array([0.03, 0.7, 0.01, 0.02]))
    np.testing.assert_allclose(found, [0.06, 0.7, 0.04, 0.06])
    np.testing.assert_allclose(holm(np.array([0.4, 0.5, 0.6])), [1, 1, 1])
    assert holm(np.array([])).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8).map(np.array), st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(
    p_values: np.ndarray, level: float
) -> None:
    rejected: set[int] = set()
    for step, test in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[test] * (len(p_values) - step) > level:
            break
        rejected.add(int(test))
    assert set(np.flatnonzero(holm(p_values) <= level)) == rejected
    assert (holm(p_values) >= p_values).all()
    assert (holm(p_values) <= np.minimum(1, p_values * len(p_values))).all()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_what_is_no_p_value_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="p-value"):
        holm(np.array([0.5, wrong]))


def test_two_groups_are_no_certainty_of_one() -> None:
    a, groups = np.zeros(40), np.arange(40) // 20
    b = np.where(groups == 0, 0.1, 0.5) + np.random.default_rng(0).normal(0, 0.01, 40)
    plain, found = paired_bootstrap(a, b), grouped_bootstrap(a, b, groups)
    assert found.high - found.low > 5 * (plain.high - plain.low)


def test_a_drawn_group_counts_with_all_its_queries() -> None:
    # Six draws of a long group of ones and two short ones of zeros: the mean over the queries
    # drawn is 10 / 12 where each group came once, that over groups a third.
    groups = ["long"] * 10 + ["short", "shorter"]
    b = np.array([1.0] * 10 + [0.0, 0.0])
    found = paired_bootstrap(np.zeros(12), b, groups=groups, confidence=0.2)
    # Of 27 equally likely draws 8 have no long group, 12 one and 6 two: the median has one.
    assert found.low == found.high == pytest.approx(10 / 12)


def test_by_query_and_by_group_are_drawn_with_the_same_options() -> None:
    chance = np.random.default_rng(0)
    # Groups that are alike: what counts is the interval by query.
    b = np.tile(chance.normal(size=10), 20)
    a, groups = np.zeros(200), np.repeat(np.arange(20), 10)
    options = {"samples": 400, "confidence": 0.5, "seed": 7}
    plain = paired_bootstrap(a, b, **options)
    found = grouped_bootstrap(a, b, groups, **options)
    assert (found.low, found.high) == (plain.low, plain.high)


def test_by_group_as_many_samples_are_drawn_as_asked() -> None:
    a, b = np.zeros(20), np.repeat(np.array([0.1, -0.4, 0.9, 0.3]), 5)
    found = grouped_bootstrap(a, b, np.arange(20) // 5, samples=1)
    by_group = paired_bootstrap(a, b, samples=1, groups=np.arange(20) // 5)
    factor = stats.t.ppf(0.975, 3) / stats.norm.ppf(0.975) * (4 / 3) ** 0.5
    by_query = paired_bootstrap(a, b, samples=1)
    moved = b.mean() + factor * (by_group.high - b.mean())
    assert found.high == pytest.approx(max(by_query.high, moved))


def test_one_seed_keeps_samples_and_confidence() -> None:
    a, b = np.random.default_rng(4).random((2, 1, 60))
    for options in ({"samples": 50}, {"confidence": 0.5}):
        assert crossed_bootstrap(a, b, **options) == paired_bootstrap(a[0], b[0], **options)


@pytest.mark.parametrize("shape", [(2, 1), (1, 2)])
def test_two_figures_are_enough_for_a_spread(shape: tuple[int, int]) -> None:
    found = crossed_bootstrap(np.zeros(shape), np.array([1.0, 3.0]).reshape(shape))
    assert found.difference == 2 and found.low < 2 < found.high


@pytest.mark.parametrize("wrong", [np.inf, -np.inf])
def test_an_endless_figure_is_refused(wrong: float) -> None:
    for a, b in ((0.0, wrong), (wrong, 0.0)):
        with pytest.raises(ValueError, match="not finite"):
            paired_bootstrap(np.array([a, 0.0]), np.array([b, 0.0]))


def test_differences_are_taken_in_double_precision() -> None:
    a, b = np.array([1.0], np.float32), np.array([1e-9], np.float32)
    assert paired_bootstrap(a, b, samples=5).difference == pytest.approx(1e-9 - 1, abs=1e-12)
