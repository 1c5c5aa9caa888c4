from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.encoders.cross_encoder import CrossEncoder
from isometry.encoders.text import TextEncoder
from isometry.search.fusion import standard_score_fusion
from isometry.search.reranking import rerank

TEXTS = {name: name * 3 for name in "abcdef"}
FIRST = [("a", 12.0), ("b", 9.0), ("c", 7.0), ("d", 2.0), ("e", 1.0), ("f", 1.0)]


def wants(pairs: list[tuple[str, str]]) -> np.ndarray:
    """A scorer for queries such as "c>a>b": below 0, as many cross-encoders score."""
    return np.array([-5.0 - query.split(">").index(text[0]) for query, text in pairs])


def names(ranking: list[tuple[str, float]]) -> list[str]:
    return [name for name, _ in ranking]


def test_the_first_are_put_in_order_and_the_rest_stays_behind_in_its_order() -> None:
    (ranking,) = rerank(["c>a>b>f>e>d"], [FIRST], TEXTS, wants, depth=3)
    assert names(ranking) == ["c", "a", "b", "d", "e", "f"]
    assert ranking[:3] == [("c", -5.0), ("a", -6.0), ("b", -7.0)]
    # The scores of the rest are another stage's: they are moved below, and keep their distances.
    assert [score for _, score in ranking[3:]] == [-8.0, -9.0, -9.0]
    assert names(sorted(ranking, key=lambda item: (-item[1], item[0]))) == names(ranking)


@pytest.mark.parametrize("depth", [6, 7, 1000])
def test_a_depth_beyond_the_ranking_orders_all_of_it(depth: int) -> None:
    (ranking,) = rerank(["f>e>d>c>b>a"], [FIRST], TEXTS, wants, depth=depth)
    assert names(ranking) == list("fedcba")


def test_each_query_gets_its_own_scores_in_one_call() -> None:
    calls: list[list[tuple[str, str]]] = []

    def watched(pairs: list[tuple[str, str]]) -> np.ndarray:
        calls.append(pairs)
        return wants(pairs)

    queries = ["b>a>c", "a>b>c>d", "d>e"]
    rankings = [FIRST[:3], [], FIRST[3:5]]
    found = rerank(queries, rankings, TEXTS, watched, depth=2)
    assert [names(ranking) for ranking in found] == [["b", "a", "c"], [], ["d", "e"]]
    assert calls == [
        [("b>a>c", "aaa"), ("b>a>c", "bbb"), ("d>e", "ddd"), ("d>e", "eee")],
    ]
    assert rerank(["q"], [[]], {}, watched) == [[]]
    assert len(calls) == 1


def test_a_scorer_without_an_opinion_changes_nothing() -> None:
    first = [("c", 3.0), ("a", 2.0), ("b", 1.0)]
    for weight in (1.0, 0.3, 0.0):
        (ranking,) = rerank(["q"], [first], TEXTS, lambda p: np.zeros(len(p)), weight=weight)
        assert names(ranking) == ["c", "a", "b"]


def test_the_weight_mixes_standard_scores_of_the_first() -> None:
    for weight in (0.0, 0.35, 0.8):
        (ranking,) = rerank(["c>d>b>a"], [FIRST], TEXTS, wants, depth=4, weight=weight)
        one = np.array([-8.0, -7.0, -5.0, -6.0])
        other = np.array([12.0, 9.0, 7.0, 2.0])
        one, other = (one - one.mean()) / one.std(), (other - other.mean()) / other.std()
        expected = dict(zip("abcd", weight * one + (1 - weight) * other, strict=True))
        assert dict(ranking[:4]) == pytest.approx(expected)
        assert names(ranking) == [*sorted(expected, key=lambda name: -expected[name]), "e", "f"]
        own = list(zip("abcd", one.tolist(), strict=True))
        assert dict(ranking[:4]) == pytest.approx(
            dict(standard_score_fusion(own, FIRST[:4], weight, depth=4))
        )
    # The whole weight on the scorer: its order, and its own scores.
    (alone,) = rerank(["c>d>b>a"], [FIRST], TEXTS, wants, depth=4)
    assert alone[:4] == [("c", -5.0), ("d", -6.0), ("b", -7.0), ("a", -8.0)]


def test_a_text_is_needed_down_to_the_depth_only() -> None:
    known = {name: TEXTS[name] for name in "ab"}
    (ranking,) = rerank(["b>a"], [FIRST], known, wants, depth=2)
    assert names(ranking) == ["b", "a", "c", "d", "e", "f"]
    with pytest.raises(InputError, match="'c' is missing"):
        rerank(["b>a>c"], [FIRST], known, wants, depth=3)


def test_what_cannot_be_meant_is_refused() -> None:
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="depth must be positive"):
            rerank(["a"], [FIRST], TEXTS, wants, depth=wrong)
    for weight in (-0.1, 1.1):
        with pytest.raises(ValueError, match="weight must lie"):
            rerank(["a"], [FIRST], TEXTS, wants, weight=weight)
    with pytest.raises(ValueError):
        rerank(["a", "b"], [FIRST], TEXTS, wants)
    with pytest.raises(ValueError, match="for 6 pairs"):
        rerank(["a"], [FIRST], TEXTS, lambda pairs: np.zeros(5))
    with pytest.raises(InputError, match="NaN or infinity for 'why' and 'bbb'"):
        rerank(["why"], [FIRST], TEXTS, lambda p: np.array([0.0, np.nan, 1, 1, 1, 1]))


def test_a_cross_encoder_is_a_scorer(tiny_folder: Path, pairs: list[tuple[str, str]]) -> None:
    encoder = CrossEncoder.from_encoder(TextEncoder.load(tiny_folder), 0)
    texts = {str(i): code for i, (_, code) in enumerate(pairs[:6])}
    first = [(name, 1.0 - int(name) / 10) for name in texts]
    query = pairs[3][0]
    (ranking,) = rerank([query], [first], texts, encoder.score, depth=4)
    scores = {name: float(encoder.score([(query, texts[name])])[0]) for name in list(texts)[:4]}
    assert names(ranking) == [*sorted(scores, key=lambda name: -scores[name]), "4", "5"]
    assert dict(ranking[:4]) == pytest.approx(scores, abs=1e-5)
