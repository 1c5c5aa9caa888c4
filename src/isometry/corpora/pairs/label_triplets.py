"""Texts with labels -> a text, one that belongs with it, and some that do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from isometry.core.errors import InputError


@dataclass(frozen=True, slots=True)
class LabelTriplet:
    """A text among others.

    Attributes:
        anchor: What asks.
        positive: Of the same class: another text, or the name of the class.
        label: The class of both.
        negatives: Each of another class, or the name of another.
        negative_labels: The classes of the negatives.
    """

    anchor: str
    positive: str
    label: str
    negatives: tuple[str, ...]
    negative_labels: tuple[str, ...]


def label_triplets(
    texts: Sequence[str],
    labels: Sequence[str],
    positive: Literal["label", "example"] = "example",
    *,
    negatives: int = 1,
    seed: int = 0,
) -> list[LabelTriplet]:
    """Makes what a contrast learns from out of a classification (Lee et al. 2024, "NV-Embed").

    - `label`: the positive is the name of the class, the negatives are other names, as in the
      paper's first version.
    - `example`: the positive is another text of the class, the negatives are texts of other
      classes, as in its second version (section 4.2); texts are drawn alike, so large classes come
      more often.

    With few classes, many rows of a batch are of the same one: they are no negatives for it.

    Args:
        texts: The texts; one that stands twice in a class is never its own positive.
        labels: The class of each.
        positive: Which of the two.
        negatives: How many a text.
        seed: Of the draws.

    Returns:
        One a text, in their order; a text that is alone in its class is left out where the positive
        is an example.

    Raises:
        InputError: When there are too few classes, or no class has two texts.
        ValueError: When there are not as many labels as texts, no negatives are wanted, or the
            positive is neither.
    """
    if len(texts) != len(labels) or negatives < 1:
        raise ValueError(f"{len(texts)} texts, {len(labels)} labels, {negatives} negatives")
    if positive not in ("label", "example"):
        raise ValueError(f"the positive is a label or an example, not {positive!r}")
    members: dict[str, list[str]] = defaultdict(list)
    for text, label in dict.fromkeys(zip(texts, labels, strict=True)):
        members[label].append(text)
    names = list(members)
    needed = 2 if positive == "example" else negatives + 1
    if len(names) < needed:
        raise InputError(f"There are {len(names)} classes; it takes {needed}.")
    generator = np.random.default_rng(seed)
    triplets: list[LabelTriplet] = []
    for text, label in zip(texts, labels, strict=True):
        if positive == "label":
            others = [name for name in names if name != label]
            drawn = generator.choice(len(others), negatives, replace=False)
            against = tuple(others[number] for number in drawn)
            triplets.append(LabelTriplet(text, label, label, against, against))
            continue
        same = [other for other in members[label] if other != text]
        if same:
            found = same[int(generator.integers(len(same)))]
            rows = _of_other_classes(labels, label, negatives, generator)
            against = tuple(texts[row] for row in rows)
            classes = tuple(labels[row] for row in rows)
            triplets.append(LabelTriplet(text, found, label, against, classes))
    if not triplets:
        raise InputError("No class has two texts: there is no example to be the positive.")
    return triplets


def _of_other_classes(
    labels: Sequence[str], label: str, count: int, generator: np.random.Generator
) -> list[int]:
    """Numbers of texts of other classes; drawn until they fit, since most do."""
    drawn: list[int] = []
    while len(drawn) < count:
        row = int(generator.integers(len(labels)))
        if labels[row] != label:
            drawn.append(row)
    return drawn
