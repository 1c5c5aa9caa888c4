from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.search.fusion import (
    USUAL_WEIGHT,
    choose_weight,
    reciprocal_rank_fusion,
    standard_score_fusion,
)

RANKING = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


def test_the_papers_formula_by_hand() -> None:
    fused = reciprocal_rank_fusion([["a", "x", "y"], ["z", "x", "a"]])
    assert dict(fused)["a"] == pytest.approx(1 / 61 + 1 / 63)
    assert dict(fused)["a"] == pytest.approx(0.032266, abs=1e-6)
    assert [document for document, _ in fused] == ["a", "x", "z", "y"]


def test_equal_scores_stand_in_the_order_of_ids() -> None:
    fused = reciprocal_rank_fusion([["b", "a"], ["a", "b"], ["d"], ["c"]])
    assert [document for document, _ in fused] == ["a", "b", "c", "d"]


@settings(deadline=None)
@given(RANKING, RANKING, st.floats(0.01, 1))
def test_a_ranking_of_weight_zero_might_as_well_not_be_there(
    one: list[str], other: list[str], weight: float
) -> None:
    fused = reciprocal_rank_fusion([one, other], [weight, 0.0])
    assert [document for document, _ in fused] == one


@settings(deadline=None)
@given(RANKING, RANKING, st.floats(0.01, 1), st.floats(0.01, 1))
def test_neither_the_order_of_rankings_nor_the_scale_of_weights_matters(
    one: list[str], other: list[str], w: float, v: float
) -> None:
    there = dict(reciprocal_rank_fusion([one, other], [w, v]))
    back = dict(reciprocal_rank_fusion([other, one], [8 * v, 8 * w]))
    assert back == pytest.approx({document: 8 * score for document, score in there.items()})
    assert set(there) == set(one) | set(other)


def test_as_many_weights_as_rankings() -> None:
    with pytest.raises(ValueError):
        reciprocal_rank_fusion([["a"], ["b"]], [1.0])


DENSE = [("a", 0.9), ("b", 0.5), ("c", 0.4)]
LEXICAL = [("c", 12.0), ("d", 6.0), ("a", 3.0)]


def test_scores_are_standardised_over_each_side_and_weighted() -> None:
    inner, bm25 = np.array([0.9, 0.5, 0.4]), np.array([12.0, 6.0, 3.0])
    inner, bm25 = (inner - inner.mean()) / inner.std(), (bm25 - bm25.mean()) / bm25.std()
    # What a side did not find takes its lowest score.
    expected = {
        "a": 0.7 * inner[0] + 0.3 * bm25[2],
        "b": 0.7 * inner[1] + 0.3 * bm25[2],
        "c": 0.7 * inner[2] + 0.3 * bm25[0],
        "d": 0.7 * inner[2] + 0.3 * bm25[1],
    }
    fused = standard_score_fusion(DENSE, LEXICAL, 0.7, depth=3)
    assert dict(fused) == pytest.approx(expected)
    assert [name for name, _ in fused] == sorted(expected, key=lambda name: -expected[name])


def test_the_scale_of_either_side_does_not_matter() -> None:
    stretched = [(name, 7 * score + 3) for name, score in LEXICAL]
    fused = standard_score_fusion(DENSE, LEXICAL, 0.4, depth=3)
    assert dict(standard_score_fusion(DENSE, stretched, 0.4, depth=3)) == pytest.approx(dict(fused))


def test_at_the_ends_one_side_decides_alone() -> None:
    assert [name for name, _ in standard_score_fusion(DENSE, LEXICAL, 1.0, 3)] == ["a", "b", "c"]
    assert [name for name, _ in standard_score_fusion(DENSE, LEXICAL, 0.0, 3)] == ["c", "d", "a"]
    assert standard_score_fusion([], [], 0.5, 3) == []


def test_a_single_hit_by_words_stands_out_and_flat_words_do_not_count() -> None:
    dense = [(f"d{i:02}", 0.5 - 0.001 * i) for i in range(100)]
    assert standard_score_fusion(dense, [("d99", 4.0)], 0.7, depth=100)[0][0] == "d99"
    flat = [(name, 2.0) for name, _ in reversed(dense)]
    assert [name for name, _ in standard_score_fusion(dense, flat, 0.1, depth=100)] == [
        name for name, _ in dense
    ]


def test_equal_fused_scores_are_ordered_by_id() -> None:
    dense, lexical = [("b", 1.0), ("a", 0.0)], [("a", 1.0), ("b", 0.0)]
    assert standard_score_fusion(dense, lexical, 0.5, depth=2) == [("a", 0.0), ("b", 0.0)]


def grid(*means: float, queries: int = 100) -> list[tuple[float, np.ndarray]]:
    return [(i / (len(means) - 1), np.full(queries, mean)) for i, mean in enumerate(means)]


def test_the_best_weight_is_pulled_towards_the_usual_one_as_the_formula_says() -> None:
    chosen, best = choose_weight(grid(0.1, 0.2, 0.3, 0.2, 0.9, queries=100), prior=300.0, usual=0.6)
    assert best == 1.0
    assert chosen == pytest.approx(0.6 + 0.4 * 100 / 400)


def test_many_queries_have_their_way_and_none_change_nothing() -> None:
    scores = grid(0.9, 0.2, 0.1, queries=100_000)
    assert choose_weight(scores, prior=1.0)[0] == pytest.approx(0, abs=1e-4)
    assert choose_weight(grid(0.9, 0.2, 0.1, queries=0), prior=1.0) == (USUAL_WEIGHT,) * 2


def test_equally_good_weights_resolve_towards_the_usual_one() -> None:
    assert choose_weight(grid(0.4, 0.7, 0.3, 0.7, 0.7), prior=50.0, usual=0.5)[1] == 0.25
    assert choose_weight(grid(0.4, 0.7, 0.7, 0.7, 0.4), prior=50.0, usual=0.5) == (0.5, 0.5)
    assert choose_weight(grid(0.4, 0.7, 0.3, 0.7, 0.7), prior=50.0, usual=1.0) == (1.0, 1.0)


def test_the_metric_is_averaged_over_queries() -> None:
    scores = [(0.0, np.array([1.0, 0.0, 0.0])), (1.0, np.array([0.5, 0.4, 0.4]))]
    assert choose_weight(scores, prior=1.0)[1] == 1.0


def test_weights_that_were_measured_on_different_queries_are_refused() -> None:
    with pytest.raises((ValueError, TypeError)):
        choose_weight([(0.0, np.zeros(3)), (1.0, np.zeros(4))], prior=1.0)
    with pytest.raises(ValueError):
        choose_weight([], prior=1.0)
