"""Word similarity for an encoder of sentences: a word is what its definitions say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isometry.corpora.curation.dedup import normalize
from isometry.corpora.packaged.word_pairs import WordPairs
from isometry.encoders.entry_vectors import Encode, entry_vectors
from isometry.evaluation.pair_scores import pair_scores


@dataclass(frozen=True)
class DefinedWords:
    """Pairs of words that have definitions.

    Attributes:
        pairs: The pairs, by the name of their collection; words are normalized.
        senses: The definitions of each of these words.
    """

    pairs: dict[str, WordPairs]
    senses: dict[str, list[str]]


def defined_words(
    collections: Mapping[str, WordPairs],
    senses: Mapping[str, Sequence[str]],
    limit: int | None = None,
) -> DefinedWords:
    """The pairs of which a dictionary defines both words.

    Args:
        collections: Pairs with people's judgements, by name.
        senses: Normalized entries with their definitions.
        limit: How many pairs of each collection at most, from the first.
    """
    found: dict[str, WordPairs] = {}
    for name, pairs in collections.items():
        sides = [[normalize(word) for word in side] for side in (pairs.first, pairs.second)]
        both = [row for row, own in enumerate(zip(*sides, strict=True)) if senses.keys() >= {*own}]
        first, second = ([side[row] for row in both[:limit]] for side in sides)
        found[name] = WordPairs(first, second, pairs.gold[both[:limit]])
    named = {word for pairs in found.values() for word in (*pairs.first, *pairs.second)}
    return DefinedWords(found, {word: list(senses[word]) for word in sorted(named)})


def word_similarity(encode: Encode, words: DefinedWords) -> dict[str, float]:
    """The Spearman correlation of cosines and judgements, for each collection.

    Args:
        encode: Makes vectors of definitions.
        words: The pairs, and what defines their words.
    """
    number = {word: row for row, word in enumerate(words.senses)}
    owner = np.array([number[word] for word, own in words.senses.items() for _ in own])
    texts = [text for own in words.senses.values() for text in own]
    vectors = entry_vectors(encode, texts, owner)
    return {
        name: pair_scores(
            vectors[[number[word] for word in pairs.first]],
            vectors[[number[word] for word in pairs.second]],
            pairs.gold,
        )["spearman"]
        for name, pairs in words.pairs.items()
    }
