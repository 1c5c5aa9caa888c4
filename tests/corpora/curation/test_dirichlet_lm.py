from __future__ import annotations

import math
import random
from collections import Counter
from typing import Literal

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.corpora.curation.dirichlet_lm import DirichletLM

# The page's constants: prop.md, "Correctness check".
COUNTS = {"x": 2, "y": 2, "z": 1, "v": 5}
DOCUMENT = "x y z x"


def by_hand(mu: float = 4.0, background: Literal["df", "tf"] = "df") -> DirichletLM:
    return DirichletLM(COUNTS, COUNTS, mu, background)


@pytest.fixture(scope="module")
def real(texts: list[str]) -> DirichletLM:
    """Docstrings of the standard library, with everything as PROP's official code has it."""
    return DirichletLM.fit(texts)


def test_the_smoothing_by_hand() -> None:
    model = by_hand()
    found = model.probabilities(["x", "y", "z", "v"], DOCUMENT)
    np.testing.assert_allclose(found, [0.35, 0.225, 0.175, 0.25], rtol=1e-12)
    assert model.logprob(["x", "y"], DOCUMENT) == pytest.approx(-2.541477, abs=1e-6)
    assert model.logprob(["z", "v"], DOCUMENT) == pytest.approx(-3.129264, abs=1e-6)
    # A set is a bag: a word that stands twice counts twice.
    assert model.logprob(["x", "x"], DOCUMENT) == pytest.approx(2 * math.log(0.35))


def test_the_background_is_a_share_of_documents_or_of_words() -> None:
    texts = ["red red red blue", "blue green", "the green blue"]
    counted = {"red": (3, 1), "blue": (3, 3), "green": (2, 2)}
    for background, column in (("tf", 0), ("df", 1)):
        model = DirichletLM.fit(texts, background=background, least=1, mu=1e9)
        assert dict(model.corpus_frequency) == {word: both[0] for word, both in counted.items()}
        assert dict(model.document_frequency) == {word: both[1] for word, both in counted.items()}
        total = sum(both[column] for both in counted.values())
        np.testing.assert_allclose(
            model.probabilities(list(counted), "red"),
            [both[column] / total for both in counted.values()],
            rtol=1e-6,
        )


def test_mu_is_the_mean_length_without_stop_words_and_rare_words() -> None:
    texts = ["the night and the day", "night night rare", "", "of the"]
    assert DirichletLM.fit(texts, least=1).mu == 5 / 4
    # "day" and "rare" fall out of the vocabulary, and of the length.
    assert DirichletLM.fit(texts, least=2).mu == 3 / 4
    assert DirichletLM.fit(texts, least=1, stop_words=()).mu == 10 / 4
    assert DirichletLM.fit(texts, least=1, stop_words=["NIGHT"], mu=7.0).mu == 7


@pytest.mark.parametrize("background", ["df", "tf"])
def test_the_probabilities_of_any_document_sum_to_one(
    texts: list[str], background: Literal["df", "tf"]
) -> None:
    model = DirichletLM.fit(texts, background=background)
    for document in (texts[0], max(texts, key=len), "", "words that no docstring has: qwxz"):
        assert model.probabilities(model.vocabulary, document).sum() == pytest.approx(1)


def test_without_smoothing_only_the_documents_own_words_are_left() -> None:
    found = by_hand(0.0).probabilities(["x", "y", "z", "v"], DOCUMENT)
    assert found.tolist() == [0.5, 0.25, 0.25, 0.0]
    near = by_hand(1e-9).probabilities(["x", "y", "z", "v"], DOCUMENT)
    np.testing.assert_allclose(near, found, atol=1e-8)
    assert set(by_hand(0.0).sample(DOCUMENT, 500, random.Random(0))) == set("xyz")


def test_with_endless_smoothing_the_document_does_not_matter() -> None:
    model = by_hand(1e12)
    for document in (DOCUMENT, "v", "z z z z z z z z"):
        found = model.probabilities(["x", "y", "z", "v"], document)
        np.testing.assert_allclose(found, [0.2, 0.2, 0.1, 0.5], rtol=1e-9)
        assert model.logprob(["v"], document) > model.logprob(["x"], document)


def test_every_word_from_the_least_frequency_on_has_a_probability(
    texts: list[str], real: DirichletLM
) -> None:
    # The official code lacks words that stand 10 to 99 times, though it draws them.
    frequencies = real.corpus_frequency.values()
    assert min(frequencies) == 10
    assert sum(10 <= number < 100 for number in frequencies) > 100
    assert real.probabilities(real.vocabulary, texts[5]).min() > 0
    assert real.frequencies(real.vocabulary).sum() == pytest.approx(1)
    assert real.logprob(real.vocabulary, texts[5]) < 0


def test_a_word_without_a_probability_is_named(texts: list[str], real: DirichletLM) -> None:
    with pytest.raises(InputError, match="'qwxz' has probability 0"):
        real.logprob([*real.vocabulary[:3], "qwxz"], "a qwxz is rare")
    with pytest.raises(InputError, match="'v' has probability 0"):
        by_hand(0.0).logprob(["x", "v", "y"], DOCUMENT)


def test_draws_follow_the_document_and_the_background() -> None:
    model = DirichletLM.fit(["x y z x", "v v v", "v y", "v"], least=1, mu=2.0)
    document = "z z z x unknown"
    drawn = Counter(model.sample(document, 20_000, random.Random(0)))
    expected = model.probabilities(model.vocabulary, document)
    found = np.array([drawn[word] for word in model.vocabulary]) / 20_000
    np.testing.assert_allclose(found, expected, atol=4 * 0.5 / math.sqrt(20_000))
    assert model.sample(document, 9, random.Random(1)) == model.sample(
        document, 9, random.Random(1)
    )


def test_one_draws_from_the_document_and_from_its_collections_common_words(
    texts: list[str], real: DirichletLM
) -> None:
    document = max(texts[:200], key=len)
    own = set(real.counts(document))
    assert 10 < len(own) < 200
    seen: Counter[str] = Counter()
    for seed in range(40):
        drawn = real.sampling_vocabulary(document, 200, random.Random(seed))
        assert len(drawn) == len(set(drawn)) <= 200
        assert own < set(drawn)
        seen.update(set(drawn) - own)
    ranked = sorted(set(real.vocabulary) - own, key=lambda w: -real.document_frequency[w])
    common, rare = ranked[:50], ranked[-50:]
    assert sum(seen[w] for w in common) > 3 * sum(seen[w] for w in rare)
    # A document of many words is never cut; a small vocabulary is taken whole.
    assert own <= set(real.sampling_vocabulary(document, 5, random.Random(0)))
    whole = real.sampling_vocabulary(document, len(real.vocabulary), random.Random(0))
    assert tuple(whole) == real.vocabulary


def test_words_of_other_languages_count() -> None:
    model = DirichletLM.fit(["Größe größe ΝΎΧΤΑ", "нічь 夜間"], least=1)
    assert set(model.vocabulary) == {"grösse", "νύχτα", "нічь", "夜", "間"}
    assert model.counts("GRÖSSE, größe!")["grösse"] == 2


def test_stop_words_are_scikit_learns_unless_others_are_given() -> None:
    assert DirichletLM.fit(["The sun AND the moon"], least=1).vocabulary == ("sun", "moon")
    assert "the" in DirichletLM.fit(["The sun"], least=1, stop_words=[]).vocabulary


def test_nothing_to_count_is_an_error(real: DirichletLM) -> None:
    for nothing in ([], ["the of and", ""], ["once only"]):
        with pytest.raises(InputError, match="10 times or more"):
            DirichletLM.fit(nothing)
    for use in (
        lambda: by_hand(0.0).probabilities(["x"], "q"),
        lambda: by_hand(0.0).logprob(["x"], ""),
        lambda: by_hand(0.0).sample("q", 1, random.Random(0)),
    ):
        with pytest.raises(InputError, match="No word is left"):
            use()
    for mu in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="mu must be"):
            by_hand(mu)
    with pytest.raises(ValueError, match="same words"):
        DirichletLM(COUNTS, {"x": 1}, 1.0)
