"""Adjectives with what is like them and what is their opposite, by what WordNet says."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import Components, normalize
from isometry.corpora.readers.concepts import split_gloss
from isometry.corpora.readers.wordnet import Synset

_SIMILAR, _ANTONYM = "&", "!"


@dataclass(frozen=True, slots=True)
class AntonymTriplet:
    """Three definitions: words in common say little here, for opposites share them.

    Attributes:
        text: Of the adjective.
        similar: Of one that is similar to it.
        antonym: Of its opposite.
        keys: The synsets of the three.
        group: What a split never divides: all that is linked by similarity or opposition.
    """

    text: str
    similar: str
    antonym: str
    keys: tuple[str, str, str]
    group: str


def antonym_triplets(synsets: Iterable[Synset]) -> list[AntonymTriplet]:
    """One triplet for every adjective of WordNet that has both a similar one and an antonym.

    Of several similar ones it has the one that a hash chooses. A definition that two adjectives
    share is not used.

    Args:
        synsets: What a WordNet has; those of other parts of speech are passed over.

    Returns:
        The triplets in an order that depends on nothing but the keys.

    Raises:
        InputError: When there is none.
    """
    adjectives = {synset.key: synset for synset in synsets if synset.key.endswith("-a")}
    said = {key: split_gloss(synset.gloss)[0] for key, synset in adjectives.items()}
    often = Counter(map(normalize, said.values()))
    fair = [key for key, text in said.items() if text and often[normalize(text)] == 1]
    row = {key: number for number, key in enumerate(fair)}
    linked = Components(len(fair))
    found: dict[tuple[str, str], list[str]] = {}
    for key in fair:
        for symbol, other in adjectives[key].pointers:
            if symbol in (_SIMILAR, _ANTONYM) and other in row:
                linked.join(row[key], row[other])
                found.setdefault((key, symbol), []).append(other)
    triplets: list[AntonymTriplet] = []
    for key in sorted(fair, key=_place):
        if (key, _SIMILAR) in found and (key, _ANTONYM) in found:
            near = min(found[key, _SIMILAR], key=lambda other: _place(f"{key} {other}"))
            far = found[key, _ANTONYM][0]
            group = fair[linked.find(row[key])]
            triplets.append(
                AntonymTriplet(said[key], said[near], said[far], (key, near, far), group)
            )
    if not triplets:
        raise InputError(
            "No adjective has both a similar one and an antonym.",
            "Read WordNet's data.adj, as the source wordnet: does.",
        )
    return triplets


def _place(name: str) -> bytes:
    """Where a name falls in an order that nothing else decides."""
    return hashlib.sha256(name.encode()).digest()
