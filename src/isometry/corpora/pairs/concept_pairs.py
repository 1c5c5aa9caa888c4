"""Two names of one concept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import normalize
from isometry.corpora.readers.concepts import Concepts


@dataclass(frozen=True, slots=True)
class ConceptPair:
    """A name and a synonym.

    Attributes:
        concept: The key of what both mean.
        name: What the source calls it first.
        synonym: Another name.
    """

    concept: str
    name: str
    synonym: str


def concept_names(
    concepts: Concepts, among: Collection[str] | None = None
) -> dict[str, tuple[str, ...]]:
    """The names of each concept, its own name first, each once and none of several concepts.

    A name that two concepts have would be trained as a negative of itself. Case and runs of blanks
    make no difference.

    Args:
        concepts: Names and exact synonyms.
        among: Concepts that may be named; all when not given. A name that one of the others has
            too is left out all the same.

    Raises:
        InputError: When no concept has a name of its own.
    """
    first, others = concepts.by_concept("name"), concepts.by_concept("synonym")
    said: dict[str, dict[str, str]] = {}
    owners: dict[str, set[str]] = defaultdict(set)
    for concept in first | others:
        own = said.setdefault(concept, {})
        for text in (*first.get(concept, ()), *others.get(concept, ())):
            own.setdefault(normalize(text), text)
            owners[normalize(text)].add(concept)
    found: dict[str, tuple[str, ...]] = {}
    for concept, own in said.items():
        names = tuple(text for key, text in own.items() if len(owners[key]) == 1)
        if names and (among is None or concept in among):
            found[concept] = names
    if not found:
        raise InputError("No concept has a name that no other one has.")
    return found


def concept_pairs(names: dict[str, tuple[str, ...]]) -> list[ConceptPair]:
    """A concept's first name with each of its others.

    Args:
        names: What `concept_names` gives.

    Raises:
        InputError: When every concept has one name only.
    """
    pairs = [
        ConceptPair(concept, first, other)
        for concept, (first, *others) in names.items()
        for other in others
    ]
    if not pairs:
        raise InputError("No concept has a synonym.", "Give a source with synonyms.")
    return pairs
