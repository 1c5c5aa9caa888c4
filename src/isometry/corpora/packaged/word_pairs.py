"""Pairs of English words with what people say of them: SimLex-999 and WordSim-353.

Source: `gensim/test/test_data` of the package gensim 4.4.0 (PyPI); it is read, never imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.corpora.packaged.locate import data_path

_FILES = {"simlex-999": "simlex999.txt", "wordsim-353": "wordsim353.tsv"}


@dataclass(frozen=True)
class WordPairs:
    """Pairs of words, and people's mean judgement of each.

    Attributes:
        first: The first word of each pair, as it is written in the file.
        second: The second.
        gold: The mean judgement, from 0 to 10.
    """

    first: list[str]
    second: list[str]
    gold: Float[np.ndarray, " pairs"]


def word_pairs(name: Literal["simlex-999", "wordsim-353"]) -> WordPairs:
    """The word pairs of one collection, in the order of its file.

    - SimLex-999 (Hill, Reichart and Korhonen 2015, Computational Linguistics 41): 999 pairs of
      1,028 words in lower case, 111 of adjectives, then 666 of nouns, then 222 of verbs. Similar
      is what could stand in for the other; what is only related, such as an opposite, scores low.
      Its authors offer it for download and name no licence.
    - WordSim-353 (Finkelstein et al. 2002, ACM TOIS 20): 353 pairs of 437 words, names and
      abbreviations among them; "money" and "bank" or "cash" come twice, and "tiger" with itself.
      Related words score high. Creative Commons Attribution 4.0.

    Raises:
        InputError: When the data is not on this machine, or is not what it should be.
        ValueError: When there is no such collection.
    """
    if name not in _FILES:
        raise ValueError(f"There are no word pairs '{name}'.")
    path = data_path("gensim") / _FILES[name]
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
        return WordPairs(
            [first for first, _, _ in rows],
            [second for _, second, _ in rows],
            np.array([float(gold) for _, _, gold in rows]),
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path.name} of the package 'gensim' cannot be read as word pairs: {error}.",
            "Fetch it again with: python scripts/fetch_data.py gensim",
        ) from error
