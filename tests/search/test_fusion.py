from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.search.fusion import choose_weight, reciprocal_rank_fusion

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


def grid(*means: float, queries: int = 100) -> list[tuple[float, np.ndarray]]:
    return [(i / (len(means) - 1), np.full(queries, mean)) for i, mean in enumerate(means)]


def test_the_best_weight_is_pulled_towards_equal_as_the_formula_says() -> None:
    chosen, best = choose_weight(grid(0.1, 0.2, 0.3, 0.2, 0.9, queries=100), prior=300.0)
    assert best == 1.0
    assert chosen == pytest.approx(0.5 + 0.5 * 100 / 400)


def test_many_queries_have_their_way_and_none_change_nothing() -> None:
    scores = grid(0.9, 0.2, 0.1, queries=100_000)
    assert choose_weight(scores, prior=1.0)[0] == pytest.approx(0, abs=1e-4)
    assert choose_weight(grid(0.9, 0.2, 0.1, queries=0), prior=1.0) == (0.5, 0.5)


def test_equally_good_weights_resolve_towards_equal() -> None:
    assert choose_weight(grid(0.4, 0.7, 0.3, 0.7, 0.7), prior=50.0)[1] == 0.25
    assert choose_weight(grid(0.4, 0.7, 0.7, 0.7, 0.4), prior=50.0) == (0.5, 0.5)
    assert choose_weight(grid(0.4, 0.7, 0.3, 0.7, 0.7), prior=50.0, equal=1.0) == (1.0, 1.0)


def test_the_metric_is_averaged_over_queries() -> None:
    scores = [(0.0, np.array([1.0, 0.0, 0.0])), (1.0, np.array([0.5, 0.4, 0.4]))]
    assert choose_weight(scores, prior=1.0)[1] == 1.0


def test_weights_that_were_measured_on_different_queries_are_refused() -> None:
    with pytest.raises((ValueError, TypeError)):
        choose_weight([(0.0, np.zeros(3)), (1.0, np.zeros(4))], prior=1.0)
    with pytest.raises(ValueError):
        choose_weight([], prior=1.0)
