from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isometry.training.negatives import (
    ambiguous,
    clearly_worse,
    denoise,
    first_negatives,
    mine,
    teacher_negatives,
    unlabelled_answers,
)

CANDIDATES = np.array([[10, 11, 12, 13, 14]])
SCORES = np.array([[0.70, 0.95, 0.765, 0.90, 0.30]])


def rows(positive: float, k: int = 3, margin: float = 0.1) -> list[int]:
    return mine(CANDIDATES, SCORES, np.array([positive]), k=k, margin=margin).rows[0].tolist()


def test_the_hardest_that_are_clearly_worse_than_the_positive_are_taken() -> None:
    # 0.9 * 0.85 = 0.765: the share of the positive's score, and the limit itself passes.
    assert rows(0.85) == [12, 10, 14]
    # The absolute difference 0.85 - 0.1 would not let 0.765 pass.
    assert rows(0.8499) == [10, 14, -1]
    assert rows(2.0) == [11, 13, 12]
    assert rows(0.1) == [-1, -1, -1]
    assert rows(0.9, margin=0.0) == [13, 12, 10]


def test_the_limit_of_a_negative_score_lies_below_it() -> None:
    scores = np.array([[-0.45, -0.5, -0.54, -0.55, -0.6]])
    mined = mine(CANDIDATES, scores, np.array([-0.5]), k=5, margin=0.1)
    assert mined.rows[0].tolist() == [13, 14, -1, -1, -1]
    assert mined.filtered == 3


def test_the_filter_rate_is_the_share_of_what_was_looked_at() -> None:
    mined = mine(CANDIDATES, SCORES, np.array([0.85]), k=1, margin=0.1)
    # 0.95 and 0.90 are filtered, 0.765 is taken, the rest is not looked at.
    assert (mined.considered, mined.filtered) == (3, 2)
    assert mined.filter_rate == pytest.approx(2 / 3)
    mined = mine(CANDIDATES, SCORES, np.array([0.85]), k=4, margin=0.1)
    assert (mined.considered, mined.filtered) == (5, 2)


def test_nothing_to_look_at_filters_nothing() -> None:
    mined = mine(
        np.full((2, 3), -1), np.full((2, 3), np.nan), np.array([0.5, 0.5]), k=2, margin=0.05
    )
    assert (mined.considered, mined.filtered, mined.filter_rate) == (0, 0, 0.0)
    assert mined.rows.tolist() == [[-1, -1]] * 2
    none = mine(np.zeros((0, 3), np.int64), np.zeros((0, 3)), np.zeros(0), k=2)
    assert none.rows.shape == (0, 2) and none.filter_rate == 0


def test_a_document_that_two_rankers_found_counts_once_at_its_best() -> None:
    candidates = np.array([[7, 8, 7, -1, 8, 9]])
    scores = np.array([[0.2, 0.4, 0.3, 0.99, 0.9, 0.1]])
    mined = mine(candidates, scores, np.array([0.5]), k=3, margin=0.1)
    # 8 is too good at its best, so its lower score does not bring it in.
    assert mined.rows[0].tolist() == [7, 9, -1]
    assert (mined.considered, mined.filtered) == (3, 1)


def test_every_query_has_its_own_limit() -> None:
    candidates, scores = np.repeat(CANDIDATES, 2, axis=0), np.repeat(SCORES, 2, axis=0)
    mined = mine(candidates, scores, np.array([2.0, 0.5]), k=2, margin=0.1)
    assert mined.rows.tolist() == [[11, 13], [14, -1]]


@given(
    st.data(),
    st.integers(0, 4),
    st.integers(1, 8),
    st.integers(1, 5),
    st.floats(0, 1),
)
@settings(deadline=None)
def test_it_is_what_looking_at_each_document_alone_gives(
    data: st.DataObject, queries: int, width: int, k: int, margin: float
) -> None:
    shape = (queries, width)
    values = st.floats(-1, 1, allow_subnormal=False)
    candidates = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(-1, 9)))
    scores = data.draw(hnp.arrays(np.float64, shape, elements=values, unique=True))
    positive = data.draw(hnp.arrays(np.float64, queries, elements=values))
    mined = mine(candidates, scores, positive, k=k, margin=margin)
    for query in range(queries):
        best: dict[int, float] = {}
        for document, score in zip(candidates[query], scores[query], strict=True):
            if document >= 0:
                best[document] = max(best.get(document, -9.0), score)
        limit = positive[query] - margin * abs(positive[query])
        passing = sorted((d for d in best if best[d] <= limit), key=lambda d: -best[d])
        expected = [*passing[:k], *[-1] * max(0, k - len(passing))]
        assert mined.rows[query].tolist() == expected
    assert 0 <= mined.filtered <= mined.considered


def test_unlabelled_answers_are_what_the_teacher_likes_better_among_those_met() -> None:
    queries = np.eye(3, dtype=np.float32)
    documents = np.array([[0.5, 0.9, 0.0], [0.6, 0.4, 0.0], [0.5, 0.0, 0.1]], dtype=np.float32)
    # Query 0: document 1 beats its own, 2 only equals it. Query 1: document 0 does. Query 2: none.
    assert unlabelled_answers([[0, 1, 2]], queries, documents) == [{1}, {0}, set()]
    # Rows are compared with those that they meet, in any of their batches.
    assert unlabelled_answers([[0, 2], [2, 1]], queries, documents) == [set(), set(), set()]
    assert unlabelled_answers([[2, 1], [1, 0]], queries, documents) == [{1}, {0}, set()]


def test_ambiguous_negatives_are_drawn_by_their_weights() -> None:
    n, a, b = 20_000, 30.0, -0.1
    steps = np.array([-0.4, -0.2, -0.1, 0.0, 0.15])
    positive = np.linspace(-1, 1, n)  # every query has its own scale
    candidates = np.tile(np.array([5, 6, 7, 8, 9]), (n, 1))
    drawn = ambiguous(candidates, positive[:, None] + steps, positive, k=1, a=a, b=b, seed=0)
    weights = np.exp(-a * (steps - b) ** 2)
    expected = weights / weights.sum()
    # The largest is at s = s+ + b: document 7.
    assert expected.argmax() == 2
    found = np.bincount(drawn[:, 0], minlength=10)[5:] / n
    np.testing.assert_allclose(found, expected, atol=4 * 0.5 / n**0.5)


def test_the_second_draw_is_by_the_weights_that_are_left() -> None:
    n, a = 20_000, 2.0
    scores = np.tile(np.array([0.0, 0.5, 1.0]), (n, 1))
    drawn = ambiguous(np.tile(np.arange(3), (n, 1)), scores, np.zeros(n), k=2, a=a, b=0.0, seed=1)
    weights = np.exp(-a * scores[0] ** 2)
    for first in range(3):
        seconds = drawn[drawn[:, 0] == first, 1]
        left = np.where(np.arange(3) == first, 0, weights)
        found = np.bincount(seconds, minlength=3) / len(seconds)
        np.testing.assert_allclose(found, left / left.sum(), atol=2.5 / len(seconds) ** 0.5)


def test_a_sharp_peak_draws_the_nearest_and_a_flat_one_anything() -> None:
    positive = np.full(200, 0.85)
    candidates, scores = np.repeat(CANDIDATES, 200, axis=0), np.repeat(SCORES, 200, axis=0)
    # Without the logarithm such weights would all be zero.
    sharp = ambiguous(candidates, scores, positive, k=5, a=1e9, b=0.0, seed=0)
    assert sharp.tolist() == [[13, 12, 11, 10, 14]] * 200
    flat = ambiguous(candidates, scores, positive, k=1, a=0.0, b=0.0, seed=0)
    assert set(flat[:, 0]) == {10, 11, 12, 13, 14}


def test_ambiguous_draws_repeat_with_their_seed() -> None:
    candidates, scores = np.repeat(CANDIDATES, 20, axis=0), np.repeat(SCORES, 20, axis=0)
    draws = [
        ambiguous(candidates, scores, np.full(20, 0.8), k=3, a=1.0, b=0.0, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    assert len({tuple(row) for row in draws[0]}) > 1
    assert all(len(set(row)) == 3 for row in draws[0].tolist())


def test_padding_and_copies_are_never_drawn() -> None:
    candidates = np.array([[7, 8, 7, -1, 8, 9], [-1, -1, -1, 3, -1, -1], [-1] * 6])
    scores = np.array(
        [[0.0, 0.4, 0.5, np.nan, 0.9, 0.1], [np.nan] * 3 + [0.2] + [np.inf] * 2, [0] * 6]
    )
    positive = np.array([0.5, 0.2, np.nan])
    drawn = ambiguous(candidates, scores, positive, k=8, a=1e9, b=0.0, seed=0)
    # 7 and 8 stand at their best: 0.5 and 0.9.
    assert drawn.tolist() == [[7, 8, 9] + [-1] * 5, [3] + [-1] * 7, [-1] * 8]


def test_what_a_cross_encoder_is_sure_about_is_kept() -> None:
    candidates = np.array([[1, 2, 3, 4, 5, 6], [7, 8, -1, -1, 7, -1]])
    scores = np.array([[0.05, 0.95, 0.1, 0.9, 0.0, 1.0], [0.5, 0.02, np.nan, 7.0, 0.03, np.nan]])
    found = denoise(candidates, scores)
    # 0.1 and 0.9 themselves are not sure enough; 7 stands twice and is unsure at its best.
    assert found.negatives.tolist() == [[1, 5, -1, -1, -1, -1], [8, -1, -1, -1, -1, -1]]
    assert found.positives.tolist() == [[2, 6, -1, -1, -1, -1], [-1] * 6]
    strict = denoise(candidates, scores, negative_below=0.03, positive_above=0.97)
    assert strict.negatives[:, 0].tolist() == [5, 8] and strict.positives[0, 0] == 6
    everything = denoise(candidates, scores, negative_below=0.5, positive_above=0.5)
    assert everything.negatives[0, :3].tolist() == [1, 3, 5]
    assert everything.positives[0, :3].tolist() == [2, 4, 6]


def test_a_positive_among_its_own_negatives_is_refused() -> None:
    candidates, scores = np.array([[1, 2], [3, 4]]), np.array([[0.0, 0.5], [0.95, 1.0]])
    fine: list[set[int]] = [{3, 4}, {1, 2, -5}]
    ambiguous(candidates, scores, np.zeros(2), k=1, a=1.0, b=0.0, seed=0, answers=fine)
    denoise(candidates, scores, answers=fine)
    with pytest.raises(ValueError, match="2 queries, but the answers of 1"):
        denoise(candidates, scores, answers=fine[:1])
    for answers in ([{9}, {4}], [[2], []]):
        with pytest.raises(ValueError, match="is a positive of query"):
            denoise(candidates, scores, answers=answers)
        with pytest.raises(ValueError, match="is a positive of query"):
            ambiguous(candidates, scores, np.zeros(2), k=1, a=1.0, b=0.0, seed=0, answers=answers)


def test_scores_of_another_kind_are_refused() -> None:
    candidates = np.array([[1, 2]])
    for wrong in (4.2, -0.1, np.nan):
        with pytest.raises(ValueError, match="no probability"):
            denoise(candidates, np.array([[0.5, wrong]]))
    with pytest.raises(ValueError, match="both sides"):
        denoise(candidates, np.array([[0.5, 0.5]]), negative_below=0.9, positive_above=0.1)
    for score, positive in ((np.nan, 0.0), (0.0, np.inf)):
        with pytest.raises(ValueError, match="not finite"):
            ambiguous(
                candidates,
                np.array([[0.5, score]]),
                np.array([positive]),
                k=1,
                a=1.0,
                b=0.0,
                seed=0,
            )
    with pytest.raises(ValueError, match="negative"):
        ambiguous(candidates, np.array([[0.5, 0.5]]), np.zeros(1), k=1, a=-1.0, b=0.0, seed=0)


def test_a_teachers_negatives_are_the_hardest_of_others_and_chance_fills_up() -> None:
    angles = np.array([0.0, 0.5, 0.6, 0.65, 3.0])
    answers = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # The first finds three others nearer than its own; the rest find their own first.
    turned = np.array([0.7, *angles[1:]])
    queries = np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)
    found = teacher_negatives(queries, answers, 2, np.random.default_rng(0))
    assert found[0, 0] == 4 and found[0, 1] in (1, 2, 3)
    # What is within a twentieth of its own is left out.
    assert found[1:4].tolist() == [[0, 4]] * 3 and found[4].tolist() == [3, 2]
    many = teacher_negatives(queries, answers, 4, np.random.default_rng(0))
    for row, own in enumerate(many.tolist()):
        assert sorted([row, *own]) == list(range(5))
    drawn = [
        teacher_negatives(queries, answers, 3, np.random.default_rng(seed))[2].tolist()
        for seed in range(30)
    ]
    assert {tuple(own[:2]) for own in drawn} == {(0, 4)} and {own[2] for own in drawn} == {1, 3}
    with pytest.raises(ValueError, match="none has 5 others"):
        teacher_negatives(queries, answers, 5, np.random.default_rng(0))


def test_what_is_clearly_worse_is_what_mining_keeps() -> None:
    scores = np.random.default_rng(0).normal(size=(20, 30))
    candidates = np.tile(np.arange(30), (20, 1))
    positive = np.linspace(-2, 2, 20)
    for margin in (0.0, 0.05, 0.4):
        clear = clearly_worse(scores, positive, margin)
        kept = mine(candidates, scores, positive, k=30, margin=margin).rows
        assert [set(row[row >= 0]) for row in kept] == [set(np.flatnonzero(row)) for row in clear]
    assert (clearly_worse(scores, positive) == clearly_worse(scores, positive, 0.05)).all()
    # The limit itself passes.
    assert clearly_worse(np.array([[0.5, 0.75], [-1.5, -1.25]]), np.array([1.0, -1.0]), 0.5).all(
        axis=0
    ).tolist() == [True, False]


def test_negatives_are_the_first_candidates_filled_up_with_others() -> None:
    candidates = np.array([[-1, 3, 2, 1], [-1, -1, -1, -1], [0, -1, 3, -1], [1, 2, -1, 0]])
    found = first_negatives(candidates, 3, np.random.default_rng(0))
    assert found[0].tolist() == [3, 2, 1]
    assert sorted(found[1].tolist()) == [0, 2, 3]
    assert found[2].tolist() == [0, 3, 1]
    assert found[3].tolist() == [1, 2, 0]
    assert (first_negatives(candidates, 3, np.random.default_rng(0)) == found).all()
    # Who has none gets what chance gives, not what stands first.
    none = first_negatives(np.full((50, 1), -1), 2, np.random.default_rng(0))
    assert len(np.unique(none)) > 20
