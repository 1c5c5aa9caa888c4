"""Which concepts of a hierarchy are worth a dimension, and what they are called."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from isometry.core.progress import say
from isometry.corpora.pairs.related_glosses import Gloss, GlossPair, glosses_of
from isometry.corpora.readers.concepts import Concepts


@dataclass(frozen=True)
class ConceptVocabulary:
    """Named concepts that glosses fall under.

    Attributes:
        keys: Of the concepts, in the order of their numbers.
        names: Theirs, all different.
        texts: Names and definition of each.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...]

    def tags(self, gloss: Gloss) -> tuple[int, ...]:
        """The numbers of the concepts that a gloss falls under; its own synset is not above it."""
        own = set(gloss.above[1:])
        return tuple(number for number, key in enumerate(self.keys) if key in own)

    def marks(self, glosses: Sequence[Gloss]) -> Float[np.ndarray, "glosses k"]:
        """1 where a gloss falls under a concept."""
        marks = np.zeros((len(glosses), len(self.keys)), dtype=np.float32)
        for row, gloss in enumerate(glosses):
            marks[row, list(self.tags(gloss))] = 1
        return marks


def frequent_concepts(
    concepts: Concepts, pairs: Sequence[GlossPair], *, count: int, least: int, most: float
) -> ConceptVocabulary:
    """Lexicographer files and frequent hypernyms; of those with the same glosses, the nearest one.

    Files come first, in the order of the source, then hypernyms by how many glosses fall under
    them. A file that no gloss falls under is left out, with a message.

    Args:
        concepts: WordNet.
        pairs: The glosses that are trained on.
        count: How many hypernyms at most.
        least: How many glosses a hypernym needs.
        most: The share of them that it may have.
    """
    members: dict[str, set[int]] = defaultdict(set)
    place: dict[str, int] = {}
    glosses = glosses_of(pairs)
    for number, gloss in enumerate(glosses):
        for steps, key in enumerate(gloss.above[1:]):
            members[key].add(number)
            place[key] = steps
    files = dict.fromkeys(key for _, key in concepts.pairs("category") if key.startswith("noun."))
    if empty := [key for key in files if key not in members]:
        say(f"No training gloss falls under {', '.join(empty)}: left out.")
    nearest: dict[frozenset[int], str] = {}
    for key in sorted(members, key=lambda key: (place[key], key)):
        if key not in files and least <= len(members[key]) <= most * len(glosses):
            nearest.setdefault(frozenset(members[key]), key)
    hypernyms = sorted(nearest.values(), key=lambda key: (-len(members[key]), key))
    keys = [key for key in files if key in members] + hypernyms[:count]
    words, definitions = concepts.by_concept("name", "synonym"), concepts.by_concept("definition")
    named = Counter(words[key][0] for key in keys)
    return ConceptVocabulary(
        tuple(keys),
        # The same word for several: the key tells them apart.
        tuple(
            words[key][0] if named[words[key][0]] == 1 else f"{words[key][0]} ({key})"
            for key in keys
        ),
        tuple("; ".join([", ".join(words[key]), *definitions.get(key, ())]) for key in keys),
    )
