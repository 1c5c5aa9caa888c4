from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.core.errors import InputError
from isometry.evaluation import retrieval
from isometry.evaluation.retrieval import (
    METRICS,
    documents_of_passages,
    own_ranks,
    rank_documents,
    reciprocal_ranks,
    score_rankings,
)


def by_hand(queries, passages, owner, k, keep=None, exclude=None):
    """The same by plain Python, one query at a time."""
    numbers, scores = [], []
    for row, query in enumerate(queries):
        best: dict[int, float] = {}
        for passage, document in zip(passages, owner, strict=True):
            score = float(query @ passage)
            best[document] = max(score, best.get(document, -math.inf))
        left = [
            (-score, document)
            for document, score in best.items()
            if (keep is None or keep[document])
            and (exclude is None or document not in exclude[row])
        ]
        left = sorted(left)[:k] + [(math.inf, -1)] * max(0, k - len(left))
        numbers.append([document for _, document in left])
        scores.append([-score for score, _ in left])
    return numbers, scores


@st.composite
def searches(draw):
    # Small whole numbers: inner products are exact and ties are common.
    seed = draw(st.integers(0, 2**32 - 1))
    chance = np.random.default_rng(seed)
    documents = draw(st.integers(1, 12))
    passages = draw(st.integers(0, 30))
    queries = draw(st.integers(0, 5))
    return {
        "queries": chance.integers(-1, 2, (queries, 2)).astype(np.float32),
        "passages": chance.integers(-1, 2, (passages, 2)).astype(np.float32),
        "owner": chance.integers(0, documents, passages),
        "k": draw(st.integers(1, 15)),
        "keep": draw(st.sampled_from([None, chance.random(documents) < 0.6])),
        "exclude": draw(
            st.sampled_from(
                [None, [set(chance.integers(0, documents + 3, 3).tolist()) for _ in range(queries)]]
            )
        ),
    }


@settings(deadline=None)
@given(search=searches(), scores_at_once=st.sampled_from([1, 40, 1 << 20]))
def test_ranks_as_one_query_at_a_time_does(search, scores_at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_SCORES_AT_ONCE", scores_at_once)
        numbers, scores = rank_documents(**search)
    expected_numbers, expected_scores = by_hand(**search)
    assert numbers.shape == scores.shape == (len(search["queries"]), search["k"])
    assert numbers.tolist() == expected_numbers
    assert scores.tolist() == expected_scores


def test_equal_scores_at_the_cut_are_taken_in_document_order():
    passages = np.ones((1000, 3), dtype=np.float32)
    numbers, _ = rank_documents(np.ones((2, 3), np.float32), passages, np.arange(1000)[::-1], k=7)
    assert numbers.tolist() == [list(range(7))] * 2


def test_half_precision_is_summed_in_single():
    passages = np.full((1, 4096), 1, dtype=np.float16)
    _, scores = rank_documents(np.full((1, 4096), 40, np.float16), passages, np.array([0]), k=1)
    assert scores.tolist() == [[40 * 4096]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_names_the_side_that_is_not_finite(bad):
    good, damaged = np.ones((2, 3)), np.array([[1.0, bad, 0.0], [1.0, 1.0, 1.0]])
    with pytest.raises(InputError, match="query vectors"):
        rank_documents(damaged, good, np.arange(2), k=1)
    with pytest.raises(InputError, match="passage vectors"):
        rank_documents(good, damaged, np.arange(2), k=1)


def test_names_both_dimensions_when_they_differ():
    with pytest.raises(InputError, match=r"query vectors have 3 .* passage vectors 4"):
        rank_documents(np.ones((1, 3)), np.ones((1, 4)), np.array([0]), k=1)


def test_lengths_that_do_not_fit_are_refused():
    vectors = np.ones((2, 3))
    with pytest.raises(ValueError, match="2 passages, but 3 owners"):
        rank_documents(vectors, vectors, np.arange(3), k=1)
    with pytest.raises(ValueError, match="2 queries, but 1 exclusions"):
        rank_documents(vectors, vectors, np.arange(2), k=1, exclude=[{0}])


def test_figures_of_a_ranking_worked_out_by_hand():
    figures = score_rankings([["x", "b", "a", "y"]], [{"a": 3, "b": 1, "c": 2, "x": 0}])
    gained = 1 / math.log2(3) + 3 / math.log2(4)
    ideal = 3 + 2 / math.log2(3) + 1 / math.log2(4)
    assert figures["ndcg@10"] == pytest.approx([gained / ideal])
    assert figures["recall@1"].tolist() == [0]
    assert figures["recall@10"] == pytest.approx([2 / 3])
    assert figures["mrr@10"].tolist() == [0.5]
    assert tuple(figures) == METRICS


def test_a_first_hit_at_rank_four_counts_a_quarter():
    assert score_rankings(np.arange(12)[None], [{3: 1}])["mrr@10"].tolist() == [0.25]


def test_a_first_hit_at_rank_eleven_counts_for_recall_at_100_only():
    figures = score_rankings(np.arange(12)[None], [{10: 1}])
    assert {name: value.item() for name, value in figures.items()} == {
        "ndcg@10": 0, "recall@1": 0, "recall@10": 0, "recall@100": 1, "mrr@10": 0,
    }  # fmt: skip


def test_a_perfect_graded_ranking_gets_one_everywhere_but_where_it_does_not_fit():
    judged = {number: 1 + number % 3 for number in range(20)}
    best = sorted(judged, key=lambda number: -judged[number])
    figures = score_rankings([best], [judged])
    assert figures["ndcg@10"] == pytest.approx([1])
    assert figures["recall@1"] == pytest.approx([1 / 20])
    assert figures["recall@100"].tolist() == figures["mrr@10"].tolist() == [1]


def test_padding_changes_nothing():
    padded = np.array([[4, 2, -1, -1], [7, 3, 1, 0]])
    judged = [{2: 2, 9: 1}, {0: 1}]
    with_padding = score_rankings(padded, judged)
    without = score_rankings([[4, 2], [7, 3, 1, 0]], judged)
    for name in METRICS:
        assert with_padding[name].tolist() == without[name].tolist()


def test_a_query_without_a_relevant_document_is_refused():
    with pytest.raises(ValueError, match="Query 1 has no relevant document"):
        score_rankings([[1], [1]], [{1: 1}, {1: 0}])


@pytest.mark.parametrize("metric", ["map@10", "ndcg", "recall@0", "mrr@ten"])
def test_an_unknown_metric_is_refused(metric):
    with pytest.raises(ValueError, match=metric):
        score_rankings([[1]], [{1: 1}], [metric])


def test_a_pair_counts_by_how_many_answers_are_above_its_own():
    queries = np.eye(4, dtype=np.float32)
    # Column 0: its own answer is second. Column 2: third, after two that are equal to it.
    answers = np.array([[2, 0, 5, 0], [3, 1, 5, 0], [0, 0, 5, 0], [0, 0, 0, 1]], dtype=np.float32)
    np.testing.assert_allclose(own_ranks(queries, answers), [1 / 2, 1, 1 / 3, 1])
    np.testing.assert_allclose(own_ranks(queries, answers, 2), [1 / 2, 1, 0, 1])
    # The other way round it is another question.
    np.testing.assert_allclose(own_ranks(answers, queries), [1 / 2, 1 / 3, 1, 1])


def test_only_queries_with_an_answer_among_the_documents_count():
    queries = np.array([[1, 0], [0, 1], [1, 1], [1, 0]], dtype=np.float32)
    documents = np.array([[3, 1], [2, 2], [1, 3]], dtype=np.float32)
    numbers = np.array([4, 7, 9])
    answers = [(7,), (1, 2), (9, 4, 1), (9,)]
    # The second has none. The best of the third's is first of three that are equal.
    np.testing.assert_allclose(
        reciprocal_ranks(queries, documents, numbers, answers, 10), [1 / 2, 1, 1 / 3]
    )
    np.testing.assert_allclose(
        reciprocal_ranks(queries, documents, numbers, answers, 2), [1 / 2, 1, 0]
    )


def test_a_document_stands_where_its_best_passage_does() -> None:
    rows = np.array([[4, 0, 5, 1, -1], [2, 3, 0, 1, 5]])
    scores = np.array([[9.0, 8.0, 7.0, 6.0, -np.inf], [5.0, 4.0, 3.0, 2.0, 1.0]])
    order, best = documents_of_passages(rows, scores, np.array([0, 0, 1, 1, 2, 2]))
    assert order.tolist() == [[2, 0, -1, -1, -1], [1, 0, 2, -1, -1]]
    assert best.tolist() == [[9, 8, 0, 0, 0], [5, 3, 1, 0, 0]]


def test_a_judgement_below_zero_is_no_gain_and_no_loss() -> None:
    # TREC's junk pages are judged -2.
    for metric in METRICS:
        found = score_rankings([["junk", "a"]], [{"junk": -2, "a": 1}], [metric])[metric]
        assert found == score_rankings([["other", "a"]], [{"a": 1}], [metric])[metric]


def test_recall_alone_is_of_all_that_is_relevant() -> None:
    judged = dict.fromkeys(range(20), 1)
    for metric, share in (("recall@1", 1 / 20), ("recall@10", 10 / 20)):
        assert score_rankings([range(20)], [judged], [metric])[metric].tolist() == [share]


def test_a_query_without_any_judgement_is_named() -> None:
    with pytest.raises(ValueError, match="Query 0 has no relevant document"):
        score_rankings([[1]], [{}])
    with pytest.raises(ValueError, match="1 rankings, but 2 judgements"):
        score_rankings([[1]], [{1: 1}, {1: 1}])
    assert score_rankings([[1]], [{1: 1}], []) == {}


def test_wider_queries_are_named_too() -> None:
    with pytest.raises(InputError, match=r"query vectors have 4 .* passage vectors 3"):
        rank_documents(np.ones((1, 4)), np.ones((1, 3)), np.array([0]), k=1)


@pytest.mark.parametrize("single", ["queries", "passages", None])
def test_double_precision_on_either_side_is_kept(single: str | None) -> None:
    # In single precision both passages would score the same.
    sides = {"queries": np.ones((1, 2)), "passages": np.array([[1, 0.0], [1, 1e-4]])}
    sides["passages"][1] *= 1 + 1e-9 if single != "passages" else 1
    if single is not None:
        sides[single] = sides[single].astype(np.float32)
    numbers, scores = rank_documents(**sides, owner=np.arange(2), k=2)
    assert scores.dtype == np.float64 and numbers.tolist() == [[1, 0]]


def test_an_answer_at_rank_ten_is_found_and_one_at_twelve_with_a_deeper_k() -> None:
    queries = np.zeros((12, 12))
    queries[0] = np.arange(12, 0, -1)
    # The own answer of the first is at the place that is asked for.
    for place, k, expected in ((10, None, 1 / 10), (11, None, 0), (12, 12, 1 / 12)):
        answers = np.eye(12)
        answers[[0, place - 1]] = answers[[place - 1, 0]]
        found = own_ranks(queries, answers) if k is None else own_ranks(queries, answers, k)
        assert found[0] == pytest.approx(expected)
