"""WordNet as concepts: synsets with their words and glosses, their relations, and their files."""

from __future__ import annotations

from isometry.corpora.readers.concepts import Concepts, wordnet_concepts
from isometry.corpora.readers.wordnet import open_wordnet


def wordnet() -> Concepts:
    """All of the WordNet that is on this machine; see `wordnet_concepts`.

    Raises:
        InputError: When there is none.
    """
    return wordnet_concepts(open_wordnet("", name="wordnet:", limit=None))
