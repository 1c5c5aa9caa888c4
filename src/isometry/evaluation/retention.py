"""Whether a tuned encoder still knows what its base knew, by two probes out of WordNet.

Tuning on one corpus may cost general knowledge of words, and somebody has to decide how much of it
to give up. A figure that a decision was made on is too good afterwards, so there are two probes of
different kind, on different synsets: one to choose on, one to report.
"""

from __future__ import annotations

import csv
import lzma
from collections.abc import Callable, Sequence
from importlib.resources import files

import numpy as np
from jaxtyping import Float

from isometry.evaluation.retrieval import own_ranks

Encode = Callable[[Sequence[str]], Float[np.ndarray, "texts dim"]]


def gloss_retention(encode: Encode, limit: int | None = None) -> float:
    """How well the encoder finds a word by its definition, in points from 0 to 100.

    It stands for retrieval: a sentence as the query, a short name as the answer, and only the order
    of the nearest counts. Mean reciprocal rank within the first 10 by cosine, among all names of
    the probe. No gloss repeats its own word, so spelling alone does not help.

    Args:
        encode: Texts to vectors, of any length.
        limit: Use only the first so many pairs (both as queries and as names), for speed. Fewer
            names are easier, so compare figures of the same limit only.

    Raises:
        InputError: When the encoder returns numbers that are not finite.
    """
    rows = _read("glosses.tsv.xz")[:limit]
    glosses = _normalized(encode([row["gloss"] for row in rows]))
    names = _normalized(encode([row["lemmas"] for row in rows]))
    return 100 * float(own_ranks(glosses, names).mean())


def gloss_texts() -> list[str]:
    """Everything that `gloss_retention` encodes, so that its cost can be foreseen."""
    return [row[name] for name in ("gloss", "lemmas") for row in _read("glosses.tsv.xz")]


def relation_retention(encode: Encode) -> float:
    """How well cosine orders pairs of words by their relation: Spearman's correlation times 100.

    It stands for similarity: single words, and the whole range of the cosine counts, from synonyms
    (3) over a direct hypernym (2) and two words below the same hypernym (1) to unrelated words (0).
    An encoder that orders all pairs rightly reaches 97, since its cosines are not tied within a
    grade as the grades are. One that maps all words to the same vector gets 0.

    Args:
        encode: Texts to vectors, of any length.
    """
    from scipy.stats import spearmanr

    rows = _read("relations.tsv.xz")
    words = list(dict.fromkeys(word for row in rows for word in (row["first"], row["second"])))
    vectors = dict(zip(words, _normalized(encode(words)), strict=True))
    cosines = [float(vectors[row["first"]] @ vectors[row["second"]]) for row in rows]
    if min(cosines) == max(cosines):
        return 0.0
    found = spearmanr(cosines, [int(row["grade"]) for row in rows])
    return 100 * float(found.statistic)  # pyright: ignore[reportAttributeAccessIssue]


def _read(name: str) -> list[dict[str, str]]:
    packed = (files("isometry.evaluation") / "probes" / name).read_bytes()
    lines = lzma.decompress(packed).decode("utf-8").splitlines()
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def _normalized(vectors: Float[np.ndarray, "texts dim"]) -> Float[np.ndarray, "texts dim"]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
