from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import spearmanr

from isometry.corpora.packaged.word_pairs import WordPairs
from isometry.evaluation.word_tests import defined_words, word_similarity

PAIRS = {
    "few": WordPairs(
        ["Cat", "old", "sea", "cat", "dog"],
        ["dog", "new", "dog", "sea", "Old"],
        np.array([9.0, 1.0, 2.0, 3.0, 4.0]),
    ),
    "one more": WordPairs(["sea", "cat"], ["dog", "dog"], np.array([1.0, 2.0])),
}
SENSES = {
    "cat": ["a pet that purrs", "a woman"],
    "dog": ["a pet that barks"],
    "sea": ["much water"],
    "old": ["of age"],
    "rest": ["unused"],
}


def test_both_words_of_a_pair_need_a_definition() -> None:
    words = defined_words(PAIRS, SENSES)
    few = words.pairs["few"]
    assert list(zip(few.first, few.second, few.gold.tolist(), strict=True)) == [
        ("cat", "dog", 9), ("sea", "dog", 2), ("cat", "sea", 3), ("dog", "old", 4),
    ]  # fmt: skip
    assert words.pairs["one more"].gold.tolist() == [1, 2]
    assert words.senses == {word: own for word, own in sorted(SENSES.items()) if word != "rest"}


def test_a_limit_takes_the_first_pairs_that_are_defined() -> None:
    words = defined_words(PAIRS, SENSES, 2)
    assert words.pairs["few"].second == ["dog", "dog"]
    assert words.pairs["few"].gold.tolist() == [9, 2]
    assert list(words.senses) == ["cat", "dog", "sea"]


def test_a_word_is_the_mean_of_what_is_said_of_it() -> None:
    random = np.random.default_rng(0)
    vectors = {text: random.normal(size=6) for own in SENSES.values() for text in own}

    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.stack([vectors[text] for text in texts])

    words = defined_words(PAIRS, SENSES)
    found = word_similarity(encode, words)
    assert list(found) == ["few", "one more"]
    means = {word: np.mean([vectors[text] for text in own], axis=0) for word, own in SENSES.items()}
    few = words.pairs["few"]
    cosines = [
        means[a] @ means[b] / np.linalg.norm(means[a]) / np.linalg.norm(means[b])
        for a, b in zip(few.first, few.second, strict=True)
    ]
    assert found["few"] == pytest.approx(spearmanr(cosines, few.gold)[0])


def test_words_are_sought_as_entries_are_normalized() -> None:
    pairs = {"one": WordPairs([" ice  Cream"], ["sea"], np.array([1.0]))}
    senses = {"ice cream": ["a sweet"], "sea": ["much water"]}
    assert defined_words(pairs, senses).pairs["one"].first == ["ice cream"]
