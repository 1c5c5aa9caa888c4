"""A search by both sides, over few passages in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from isometry.search.fusion import standard_score_fusion
from isometry.search.hybrid import HybridSearch, Mode, Result
from isometry.search.lancedb import Hit
from isometry.search.view import Found

# Two passages of the first document: vectors find the one, words the other.
ROWS = [("a", 0), ("a", 1), ("b", 0), ("c", 0)]
BY_VECTORS = [(0, 0.9), (2, 0.5), (3, 0.1)]
BY_WORDS = [(3, 8.0), (1, 5.0)]
DENSE, LEXICAL = [("a", 0.9), ("b", 0.5), ("c", 0.1)], [("c", 8.0), ("a", 5.0)]
VECTOR = np.ones(2, dtype=np.float32)


class Few:
    """Passages that write down what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    @contextmanager
    def snapshot(self) -> Iterator[Few]:
        yield self

    def _first(self, side: str, found: list[tuple[int, float]], k: int) -> Found:
        self.asked.append((side, k))
        numbers, scores = zip(*found[:k], strict=True)
        return np.array(numbers), np.array(scores)

    def rank_dense(self, vector: np.ndarray, k: int) -> Found:
        return self._first("dense", BY_VECTORS, k)

    def rank_lexical(self, query: str, k: int) -> Found:
        return self._first("lexical", BY_WORDS, k)

    def names(self, numbers: np.ndarray) -> list[str]:
        return [ROWS[number][0] for number in numbers]

    def fetch(self, found: Found) -> list[Hit]:
        return [
            Hit(document, score, position, 10 * position, 10 * position + 9, document.upper(),
                f"{document}{position}")
            for (document, position), score in (
                (ROWS[number], score)
                for number, score in zip(found[0].tolist(), found[1].tolist(), strict=True)
            )
        ]  # fmt: skip

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        return np.tile(VECTOR, (len(numbers), 1))

    def word_scores(self, words: Sequence[str], numbers: np.ndarray) -> np.ndarray:
        return np.zeros((len(numbers), len(words)))


def search(
    k: int, mode: Mode = "hybrid", *, depth: int = 3, weight: float = 0.6
) -> tuple[list[Result], Few]:
    few, vector = Few(), None if mode == "lexical" else VECTOR
    found = HybridSearch.run(few, "words", vector, k, mode, depth=depth, dense_weight=weight)
    return found.results(), few


def test_documents_stand_where_both_sides_together_put_them() -> None:
    for weight in (0.2, 0.6, 1.0):
        for k in (1, 2, 3):
            results, _ = search(k, weight=weight)
            expected = standard_score_fusion(DENSE, LEXICAL, weight, 3)[:k]
            assert [(each.document, each.score) for each in results] == expected


def test_the_passage_of_the_vectors_is_shown_where_both_found_the_document() -> None:
    shown = {each.document: each for each in search(3)[0]}
    assert {name: each.text for name, each in shown.items()} == {"a": "a0", "b": "b0", "c": "c0"}
    assert (shown["a"].title, shown["a"].start, shown["a"].end) == ("A", 0, 9)
    by_words = {each.document: each for each in search(3, "lexical")[0]}
    assert (by_words["a"].text, by_words["a"].start) == ("a1", 10)


def test_ranks_are_those_of_each_side_from_one() -> None:
    ranks = {each.document: (each.dense_rank, each.lexical_rank) for each in search(3)[0]}
    assert ranks == {"a": (1, 2), "b": (2, None), "c": (3, 1)}
    alone = [
        (each.document, each.dense_rank, each.lexical_rank) for each in search(2, "lexical")[0]
    ]
    assert alone == [("c", None, 1), ("a", None, 2)]


@pytest.mark.parametrize(
    ("mode", "k", "asked"),
    [
        ("hybrid", 1, [("dense", 3), ("lexical", 3)]),
        # As many as are wanted, where that is more than are fused.
        ("hybrid", 5, [("dense", 5), ("lexical", 5)]),
        ("dense", 2, [("dense", 2)]),
        ("lexical", 2, [("lexical", 2)]),
    ],
)
def test_each_side_is_asked_for_what_is_fused_and_one_alone_for_what_is_shown(
    mode: Mode, k: int, asked: list[tuple[str, int]]
) -> None:
    results, few = search(k, mode)
    assert few.asked == asked
    assert len(results) == min(
        k, len({"hybrid": ROWS[1:], "dense": DENSE, "lexical": LEXICAL}[mode])
    )


def test_more_results_begin_as_fewer_do() -> None:
    # Fused are two of each side; the third by vectors comes behind them, unless it was fused.
    fused = standard_score_fusion(DENSE[:2], LEXICAL[:2], 0.6, 2)
    assert [(each.document, each.score) for each in search(2, depth=2)[0]] == fused[:2]
    assert [(each.document, each.score) for each in search(9, depth=2)[0]] == fused
    # Fused is the first of each: the others follow by their better rank, vectors first.
    fused = standard_score_fusion(DENSE[:1], LEXICAL[:1], 0.6, 1)
    results, _ = search(9, depth=1)
    found = [(each.document, each.score) for each in results]
    assert found[:2] == fused and found[2:] == [("b", fused[-1][1] - 1)]
    assert (results[2].dense_rank, results[2].lexical_rank) == (2, None)
    for k in (1, 2, 3):
        assert [(each.document, each.score) for each in search(k, depth=1)[0]] == found[:k]
    # A side that does not count finds nothing.
    alone = [each.document for each in search(9, depth=1, weight=0.0)[0]]
    assert alone == ["c", "a"]


def test_one_side_alone_keeps_its_scores() -> None:
    for mode, expected in (("dense", DENSE), ("lexical", LEXICAL)):
        results, _ = search(3, mode, weight=0.1)  # type: ignore[arg-type]
        assert [(each.document, each.score) for each in results] == expected


def test_what_stands_behind_comes_by_its_better_rank_and_says_whose_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (
        ("ROWS", [(name, 0) for name in "abcde"]),
        ("BY_VECTORS", [(0, 0.9), (1, 0.5), (2, 0.1)]),
        ("BY_WORDS", [(3, 9.0), (4, 8.0), (1, 7.0)]),
    ):
        monkeypatch.setitem(globals(), name, value)
    few = Few()
    found = HybridSearch.run(few, "words", VECTOR, 9, "hybrid", depth=1, dense_weight=0.6)
    explained = found.explained(lambda names: np.ones((len(names), 2), dtype=np.float32))
    behind = [(result.document, *parts) for result, parts in explained[2:]]
    assert [(document, part.side, part.name) for document, part in behind] == [
        ("b", "dense", "rank 2, behind what is fused"),
        ("e", "lexical", "rank 2, behind what is fused"),
        ("c", "dense", "rank 3, behind what is fused"),
    ]
