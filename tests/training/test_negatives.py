from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isometry.training.negatives import mine, unlabelled_answers

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
