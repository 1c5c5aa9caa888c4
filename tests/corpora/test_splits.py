from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.core.errors import InputError
from isometry.corpora.splits import SIZES, independent_parts, leakage, split

ROWS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=4, max_size=40).filter(
    lambda rows: len({group for group, _ in rows}) >= 4
)


def components(groups: list[str], clusters: np.ndarray) -> list[set[int]]:
    """Of the rows, by merging sets until none overlap; rows 0 and 1 are one."""
    found = [{0, 1}]
    for keys in (groups, clusters.tolist()):
        found += [{row for row, own in enumerate(keys) if own == key} for key in set(keys)]
    merged: list[set[int]] = []
    for rows in found:
        for other in [each for each in merged if each & rows]:
            merged.remove(other)
            rows = rows | other
        merged.append(rows)
    return merged


@settings(max_examples=200)
@given(ROWS, st.randoms(use_true_random=False), st.integers(0, 3))
def test_permuting_the_rows_permutes_the_sides_and_nothing_is_divided(rows, rng, seed) -> None:
    groups = [f"page{group}" for group, _ in rows]
    clusters = np.array([cluster for _, cluster in rows])
    order = list(range(len(rows)))
    rng.shuffle(order)
    together = (order.index(0), order.index(1))
    try:
        sides = split(groups, clusters, seed=seed, mergeable=[(0, 1)])
    except InputError as error:
        assert "independent group" in error.message
        return
    shuffled = split([groups[i] for i in order], clusters[order], SIZES, seed, [together])
    assert shuffled == [sides[i] for i in order]
    assert sides[0] == sides[1]
    parts = independent_parts(groups, clusters, [(0, 1)])
    joined = [
        parts[i] == parts[j]
        for i in order
        for j in order
        if groups[i] == groups[j] or clusters[i] == clusters[j] or {i, j} == {0, 1}
    ]
    assert all(joined)
    for part in set(parts.tolist()):
        assert len({sides[row] for row in np.flatnonzero(parts == part)}) == 1
    # No part can be divided: its rows hang together by groups, clusters and pairs.
    assert len(set(parts.tolist())) == len(components(groups, clusters))
    assert set(sides) == set(SIZES)
    texts = ["some text"] * len(rows)
    assert leakage(sides, groups, clusters, texts, {}) == {
        "shared_groups": 0,
        "near_duplicates_across": 0,
        "queries_inside_other_side": 0,
    }


def test_many_small_groups_come_near_the_sizes() -> None:
    groups = [str(i // 3) for i in range(900)]
    counts = Counter(split(groups, np.arange(900)))
    for side, size in SIZES.items():
        assert counts[side] == pytest.approx(900 * size, abs=3)


def test_a_group_of_nearly_everything_trains_and_the_rest_is_shared_in_proportion() -> None:
    groups = ["huge"] * 900 + [str(i) for i in range(80)]
    sides = split(groups, np.arange(980))
    counts = Counter(sides)
    assert set(sides[:900]) == {"train"}
    assert counts["train"] == 900
    assert counts["test"] == 50
    assert counts["validation"] == 30
    small = {"train": 0.1, "test": 0.9}
    assert set(split(groups, np.arange(980), small)[:900]) == {"train"}


def test_as_many_groups_as_sides_give_each_side_one() -> None:
    groups = ["a"] * 34 + ["b"] * 33 + ["c"] * 33
    assert len(set(split(groups, np.arange(100)))) == 3


def test_duplicates_tie_pages_together_through_chains() -> None:
    groups = ["a", "a", "b", "b", "c", "d", "e"]
    clusters = np.array([0, 1, 1, 2, 2, 3, 4])  # a-b by 1, b-c by 2
    sides = split(groups, clusters)
    assert set(sides[:5]) == {"train"}


def test_too_few_independent_groups_say_how_many_there_are_and_how_many_are_needed() -> None:
    with pytest.raises(InputError, match=r"Only 2 independent .* 3 are needed"):
        split(["a", "b", "c"], np.array([0, 0, 1]))
    with pytest.raises(InputError, match="Only 0"):
        split([], np.array([], dtype=np.int64))


def test_the_seed_changes_the_sides() -> None:
    groups = [str(i) for i in range(60)]
    assert split(groups, np.arange(60), seed=1) != split(groups, np.arange(60), seed=2)
    assert split(groups, np.arange(60), seed=1) == split(groups, np.arange(60), seed=1)


def test_leakage_counts_each_kind_and_a_query_inside_its_own_side_is_none() -> None:
    sides = ["train", "train", "test", "test"]
    texts = ["alpha beta gamma delta", "x", "epsilon zeta eta theta", "y"]
    found = leakage(
        sides,
        ["p", "q", "q", "r"],
        np.array([0, 1, 2, 0]),
        texts,
        {"train": [texts[0], "zeta eta theta"], "test": ["Alpha, beta gamma delta!", texts[2]]},
    )
    assert found == {
        "shared_groups": 1,
        "near_duplicates_across": 1,
        "queries_inside_other_side": 1,
    }
