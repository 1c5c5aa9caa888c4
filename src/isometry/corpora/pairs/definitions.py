"""What a dictionary says of a thing, and what the thing is called."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import normalize, says
from isometry.corpora.documents import Document
from isometry.corpora.splits import SIZES


@dataclass(frozen=True, slots=True)
class Definition:
    """A gloss and its entry.

    Attributes:
        text: The gloss, without example sentences.
        entry: The lemmas with commas between.
        key: The synset's id.
    """

    text: str
    entry: str
    key: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many synsets make no fair pair; each is counted once, by the first that holds.

    Attributes:
        ambiguous: Another synset has the same entry.
        repeated: Another synset has the same gloss.
        leaking: The gloss has one of the lemmas as whole words, so that spelling answers.
    """

    ambiguous: int
    repeated: int
    leaking: int


def definitions(documents: Iterable[Document]) -> tuple[list[Definition], Dropped]:
    """The nouns of WordNet as pairs of a gloss and the lemmas that it defines.

    A synset stays only where its gloss has one right answer that its words do not give away. Case
    does not count, nor punctuation between the words of a lemma.

    It takes apart what `readers.wordnet` joined: the title is the lemmas, and examples follow the
    gloss. `readers.concepts` gives names and glosses as rows of their own, with their relations.

    Args:
        documents: What `readers.wordnet` yields; other parts of speech are passed over. Nouns come
            first, so a reader need not go on behind them.

    Returns:
        The definitions, in the order of the documents, and how many were dropped.

    Raises:
        InputError: When there is no noun that can be used.
    """
    nouns = [
        Definition(document.text.partition('; "')[0].strip(), document.title, document.id)
        for document in documents
        if document.id.endswith("-n")
    ]
    entries = Counter(normalize(noun.entry) for noun in nouns)
    glosses = Counter(normalize(noun.text) for noun in nouns)
    kept: list[Definition] = []
    ambiguous = repeated = leaking = 0
    for noun in nouns:
        if entries[normalize(noun.entry)] > 1:
            ambiguous += 1
        elif glosses[normalize(noun.text)] > 1:
            repeated += 1
        elif any(says(noun.text, lemma) for lemma in noun.entry.split(", ")):
            leaking += 1
        else:
            kept.append(noun)
    if not kept:
        raise InputError(
            f"None of {len(nouns)} noun synsets makes a definition.",
            "Read WordNet's data.noun, as the source wordnet: does.",
        )
    return kept, Dropped(ambiguous, repeated, leaking)


def split_definitions(
    rows: Sequence[Definition], sizes: Mapping[str, float] = SIZES, seed: int = 0
) -> dict[str, list[Definition]]:
    """Gives every synset a side, and every side an order, by a hash of its key.

    The side depends on nothing but key, sizes and seed: studies that keep different synsets never
    train on what another one tests. The first rows of a side are a fair sample of it.

    Args:
        rows: The definitions.
        sizes: The share of each side; scaled to a sum of 1.
        seed: Another one gives other sides.
    """
    if not sizes or min(sizes.values()) <= 0:
        raise ValueError(f"Every side needs a size above 0: {dict(sizes)}.")
    sides: dict[str, list[Definition]] = {side: [] for side in sizes}
    names = list(sizes)
    *ends, total = accumulate(sizes.values())
    for place, row in sorted(((_place(seed, row.key), row) for row in rows), key=itemgetter(0)):
        sides[names[bisect_right(ends, place * total)]].append(row)
    return sides


def _place(seed: int, key: str) -> float:
    """Where the key falls between 0 and 1."""
    return int(hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()[:13], 16) / 16**13
