from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from isometry.corpora.curation.dirichlet_lm import DirichletLM
from isometry.corpora.pairs.representative_words import RepresentativeWordPairs

LETTERS = DirichletLM.fit(["q y z q", "v v v", "v y", "v"], least=1, mu=2.0)


@pytest.fixture(scope="module")
def model(texts: list[str]) -> DirichletLM:
    return DirichletLM.fit(texts)


Drawn = list[tuple[str, list[str], list[str]]]


@pytest.fixture(scope="module")
def drawn(texts: list[str], model: DirichletLM) -> Drawn:
    """The pairs of 300 texts, each with its text."""
    maker, rng = RepresentativeWordPairs(model), random.Random(0)
    return [(text, *pair) for text in texts[:300] for pair in maker.sets(text, rng)]


def test_the_better_set_is_likelier_under_its_document(
    drawn: Drawn, texts: list[str], model: DirichletLM
) -> None:
    assert len(drawn) > 900
    assert max(Counter(text for text, _, _ in drawn).values()) == 5
    moved = 0
    for text, better, worse in drawn:
        assert len(better) == len(worse)
        assert model.logprob(better, text) > model.logprob(worse, text)
        # It is this document that decides: under others the order is often the other way round.
        moved += model.logprob(better, texts[0]) < model.logprob(worse, texts[0])
    assert moved > 0.15 * len(drawn)


def test_the_better_sets_hold_more_of_the_document(drawn: Drawn, model: DirichletLM) -> None:
    def shared(words: list[str], text: str) -> float:
        own = model.counts(text)
        return float(np.mean([word in own for word in words]))

    better = np.mean([shared(better, text) for text, better, _ in drawn])
    worse = np.mean([shared(worse, text) for text, _, worse in drawn])
    assert better > worse + 0.15


@pytest.mark.parametrize("mean", [0.5, 3.0, 40.0])
def test_lengths_are_a_poisson_draw_that_is_not_zero(mean: float) -> None:
    maker, rng = RepresentativeWordPairs(LETTERS, mean_length=mean), random.Random(0)
    drawn = Counter(maker.length(rng) for _ in range(20_000))
    assert min(drawn) >= 1
    for length in range(1, 60):
        logarithm = length * math.log(mean) - mean - math.lgamma(length + 1)
        expected = math.exp(logarithm) / -math.expm1(-mean)
        assert drawn[length] / 20_000 == pytest.approx(expected, abs=0.015)


def test_each_set_may_have_its_own_length() -> None:
    maker = RepresentativeWordPairs(LETTERS, per_document=200, same_length=False)
    sets = list(maker.sets("q y z q", random.Random(0)))
    lengths = np.array([(len(better), len(worse)) for better, worse in sets])
    assert (lengths[:, 0] != lengths[:, 1]).mean() > 0.5
    # The more words, the less likely.
    assert (lengths[:, 0] < lengths[:, 1]).sum() > 5 * (lengths[:, 0] > lengths[:, 1]).sum()


def test_frequent_words_are_drawn_less_often_by_word2vecs_rule() -> None:
    maker = RepresentativeWordPairs(LETTERS, 6_000, drop_ties=False, threshold=0.05)
    words = list(LETTERS.vocabulary)
    share = np.array([{"q": 2, "y": 2, "z": 1, "v": 5}[word] for word in words]) / 10
    keep = np.minimum(1, np.sqrt(0.05 / share) + 0.05 / share)
    np.testing.assert_allclose(maker.keep(words), keep, rtol=1e-12)
    assert keep.min() < 0.5
    assert RepresentativeWordPairs(LETTERS, threshold=1.0).keep(words).tolist() == [1.0] * 4
    drawn = Counter(
        word
        for pair in maker.sets("q y z q", random.Random(0))
        for words_of_one in pair
        for word in words_of_one
    )
    expected = LETTERS.probabilities(words, "q y z q") * keep
    found = np.array([drawn[word] for word in words]) / drawn.total()
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.015)


def test_the_filter_decides_what_is_drawn_and_not_what_it_is_worth() -> None:
    # v is the likelier word, and drawn less often.
    model = DirichletLM.fit(["u", *["v"] * 9], least=1, mu=1.0, background="tf")
    maker = RepresentativeWordPairs(model, 500, mean_length=0.1, threshold=1e-4)
    sets = [pair for pair in maker.sets("u v v", random.Random(0)) if len(pair[0]) == 1]
    drawn = model.probabilities(["u", "v"], "u v v") * maker.keep(["u", "v"])
    assert drawn[0] > drawn[1]
    assert len(sets) > 50
    assert all(better == ["v"] for better, _ in sets)


class Recorded(random.Random):
    """Keeps all that it has chosen."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.chosen: list[list[Any]] = []

    def choices(self, population: Any, weights: Any = None, *, cum_weights: Any = None, k: int = 1):
        drawn = super().choices(population, weights, cum_weights=cum_weights, k=k)
        self.chosen.append(drawn)
        return drawn


def test_equally_likely_sets_give_no_pair() -> None:
    # u and w have the same count everywhere: sets with as many of v as each other are ties.
    model = DirichletLM.fit(["u w v", "u w v v", "v"], least=1)
    maker = RepresentativeWordPairs(model, per_document=300)
    pairs = list(maker.sets("u w v v", random.Random(0)))
    assert 50 < len(pairs) < 250
    assert all(better.count("v") != worse.count("v") for better, worse in pairs)
    # The official code calls the second of equals the better one.
    rng = Recorded(0)
    kept = RepresentativeWordPairs(model, per_document=300, drop_ties=False)
    everything = list(kept.sets("u w v v", rng))
    assert len(everything) == 300
    words = model.vocabulary
    for number, (better, worse) in enumerate(everything):
        _, one, other = rng.chosen[3 * number : 3 * number + 3]
        first, second = ([words[i] for i in some] for some in (one, other))
        if first.count("v") == second.count("v"):
            assert (better, worse) == (second, first)


def test_a_large_vocabulary_is_cut_to_the_document_and_some(
    texts: list[str], model: DirichletLM
) -> None:
    narrow = RepresentativeWordPairs(model, per_document=400, vocabulary=30)
    text = max(texts[:50], key=len)
    wide = RepresentativeWordPairs(model, per_document=400, vocabulary=10**6)

    def kinds(maker: RepresentativeWordPairs) -> set[str]:
        pairs = maker.sets(text, random.Random(0))
        return {word for pair in pairs for words in pair for word in words}

    assert len(kinds(narrow)) <= max(30, len(model.counts(text)))
    assert len(kinds(wide)) > 2 * len(kinds(narrow))


def test_a_document_without_a_known_word_gives_nothing(model: DirichletLM) -> None:
    maker = RepresentativeWordPairs(model)
    for blank in ("", "qwxz qwxz", "the of and"):
        assert list(maker.sets(blank, random.Random(0))) == []


def test_the_same_seed_draws_the_same_pairs(texts: list[str], model: DirichletLM) -> None:
    maker = RepresentativeWordPairs(model)
    text = max(texts[:50], key=len)
    one, same, other = (list(maker.sets(text, random.Random(seed))) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(
    ("wrong", "zero"),
    [("per_document", 0), ("mean_length", 0.0), ("threshold", 0.0), ("vocabulary", 0)],
)
def test_numbers_must_be_positive(wrong: str, zero: float) -> None:
    for value in (zero, zero - 1):
        with pytest.raises(ValueError, match=f"{wrong} must be positive"):
            RepresentativeWordPairs(LETTERS, **{wrong: value})
