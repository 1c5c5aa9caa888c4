"""Glosses of nouns that are related, in pairs of which no two share a synset."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from isometry.core.files import hash_value
from isometry.corpora.curation.dedup import normalize
from isometry.corpora.hierarchy import Hierarchy
from isometry.corpora.readers.concepts import Concepts

_UP = ("is_a", "instance_of")
_DOWN = ("hyponym", "instance")


@dataclass(frozen=True)
class Gloss:
    """What a dictionary says of a synset, and what the synset falls under.

    Attributes:
        text: Without examples.
        above: The keys of the synset, of all above it and of its lexicographer file; the synset
            itself first.
    """

    text: str
    above: tuple[str, ...]


@dataclass(frozen=True)
class GlossPair:
    """Glosses of two synsets that are related.

    Attributes:
        query: One.
        document: The other.
    """

    query: Gloss
    document: Gloss


def glosses_of(pairs: Iterable[GlossPair]) -> list[Gloss]:
    """Both sides of every pair, one after the other."""
    return [gloss for pair in pairs for gloss in (pair.query, pair.document)]


def related_glosses(concepts: Concepts, most: int) -> list[GlossPair]:
    """Nouns in pairs, in random order: linked by any pointer but up and down, else siblings.

    Every synset stands in one pair at most. A gloss that several synsets have is left out.

    Args:
        concepts: WordNet.
        most: How many pairs are returned at most.
    """
    definitions = {
        key: texts[0]
        for key, texts in concepts.by_concept("definition").items()
        if key.endswith("-n")
    }
    said = Counter(normalize(text) for text in definitions.values())
    # A random order that depends on nothing but the keys.
    order = sorted(
        (key for key, text in definitions.items() if said[normalize(text)] == 1), key=hash_value
    )
    place = {key: number for number, key in enumerate(order)}
    hierarchy = Hierarchy(
        pair for pair in concepts.pairs(*_UP) if pair[0] in definitions and pair[1] in definitions
    )
    linked: dict[str, list[str]] = defaultdict(list)
    category: dict[str, str] = {}
    for edge in concepts.edges:
        if edge.relation == "category":
            category[edge.source] = edge.target
        elif edge.relation not in _UP + _DOWN and edge.source in place and edge.target in place:
            linked[edge.source].append(edge.target)
    siblings: dict[str, list[str]] = defaultdict(list)
    for key in order:
        if key in hierarchy and (parents := hierarchy.parents[key]):
            siblings[parents[0]].append(key)
    partners: dict[str, str] = {}
    for key in order:
        _match(key, sorted(linked[key], key=place.__getitem__), partners)
    for own in siblings.values():
        left = [key for key in own if key not in partners]
        for one, other in zip(left[::2], left[1::2], strict=False):
            _match(one, [other], partners)

    def gloss(key: str) -> Gloss:
        above = hierarchy.ancestors(key) if key in hierarchy else {}
        return Gloss(definitions[key], (key, *above, category[key]))

    first = [key for key in order if key in partners and place[key] < place[partners[key]]]
    return [GlossPair(gloss(key), gloss(partners[key])) for key in first[:most]]


def _match(key: str, candidates: Sequence[str], partners: dict[str, str]) -> None:
    """Pairs a key with the first candidate that is free, if both are."""
    if key in partners:
        return
    for other in candidates:
        if other != key and other not in partners:
            partners[key], partners[other] = other, key
            return
