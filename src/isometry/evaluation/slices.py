"""A mean looked at in parts: for which queries a system is good."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from isometry.evaluation.significance import Interval, paired_bootstrap

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Slice:
    """The items with one label.

    Attributes:
        label: What they have in common.
        mean: Of their figures.
        count: How many they are.
        interval: Of the mean, over other items like these; None for a single one.
    """

    label: str
    mean: float
    count: int
    interval: Interval | None


def by_slice(
    values: Float[np.ndarray, " n"],
    labels: Sequence[str],
    *,
    samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Slice]:
    """The mean of each label's items, with its bootstrap interval, ordered by label.

    To compare two systems, give the differences of their figures.

    Args:
        values: One figure an item.
        labels: One label an item.
        samples: How many samples to draw.
        confidence: The share of the samples' means inside the interval, from 0 to 1.
        seed: Of the random draws.

    Raises:
        ValueError: When there is no item, the lengths differ, or a figure is not finite.
    """
    if len(values) != len(labels):
        raise ValueError(f"{len(values)} figures, but {len(labels)} labels.")
    if not len(values):
        raise ValueError("There is no figure to look at.")
    found: list[Slice] = []
    for label in sorted(set(labels)):
        own = values[[other == label for other in labels]]
        # A mean is a difference from zero.
        interval = paired_bootstrap(
            np.zeros(len(own)), own, samples=samples, confidence=confidence, seed=seed
        )
        found.append(
            Slice(label, interval.difference, len(own), interval if len(own) > 1 else None)
        )
    return found


def query_length_slice(query: str) -> str:
    """How many words a query has: "1 to 3 words", "4 to 9 words", "over 9 words" or "no word"."""
    words = len(_WORD.findall(query))
    if words == 0:
        return "no word"
    if words <= 3:
        return "1 to 3 words"
    return "4 to 9 words" if words <= 9 else "over 9 words"


def overlap_slice(query: str, document: str) -> str:
    """Which share of a query's words stands in its document, in quarters: "25 to 49%".

    The last is "75 to 100%". See `lexical_overlap`.
    """
    share = lexical_overlap(query, document)
    return ("0 to 24%", "25 to 49%", "50 to 74%", "75 to 100%")[min(3, int(4 * share))]


def lexical_overlap(query: str, document: str) -> float:
    """The share of a query's different words that stand in a document; 0 for none.

    Words are runs of letters, digits and underscores, without regard to case. Nothing is stemmed,
    so inflected words do not match.
    """
    words = set(_WORD.findall(query.casefold()))
    shared = words.intersection(_WORD.findall(document.casefold()))
    return len(shared) / len(words) if words else 0.0
