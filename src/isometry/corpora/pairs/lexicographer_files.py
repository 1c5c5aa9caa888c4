"""What a dictionary says of a thing, and which of its files it says it in: its topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import normalize
from isometry.corpora.pairs.definitions import Definition
from isometry.corpora.readers.concepts import split_gloss
from isometry.corpora.readers.wordnet import Synset


def lexicographer_files(synsets: Iterable[Synset]) -> list[Definition]:
    """The definitions of all parts of speech, whose entry is the number of a file, as text.

    WordNet has 45 files, such as those of animals and of feelings; adjectives and adverbs have four
    of them. The last letter of a key is the part of speech. A definition that several synsets share
    is left out, since it might stand on two sides of a split.

    Args:
        synsets: What `readers.wordnet` yields.

    Raises:
        InputError: When there is none.
    """
    rows = [
        Definition(split_gloss(synset.gloss)[0], str(synset.file), synset.key) for synset in synsets
    ]
    often = Counter(normalize(row.text) for row in rows)
    kept = [row for row in rows if row.text.strip() and often[normalize(row.text)] == 1]
    if not kept:
        raise InputError(f"None of {len(rows)} synsets has a definition of its own.")
    return kept
