"""The WordNet that is on this machine: its synsets, and what they are as concepts."""

from __future__ import annotations

from isometry.corpora.readers.concepts import Concepts, wordnet_concepts
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.wordnet import Synset, open_wordnet


def wordnet() -> Concepts:
    """All of the WordNet that is on this machine; see `wordnet_concepts`.

    Raises:
        InputError: When there is none.
    """
    return wordnet_concepts(open_wordnet("", name="wordnet:", limit=None))


def wordnet_synsets() -> list[Synset]:
    """The same as it is written, nouns first.

    Raises:
        InputError: When there is none.
    """
    return list(open_wordnet("", name="wordnet:", limit=None).synsets(ReadingReport()))
