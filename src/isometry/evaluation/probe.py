"""What frozen vectors tell of labels, learned from some rows and asked of others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int


def probe(
    vectors: Float[np.ndarray, "n d"],
    labels: Sequence[str],
    asked: Float[np.ndarray, "m d"],
    answers: Sequence[str],
    *,
    strength: float = 10.0,
) -> Bool[np.ndarray, " m"]:
    """Whether a logistic regression on frozen vectors tells each label that is asked for.

    Args:
        vectors: Of what it learns from.
        labels: Theirs.
        asked: The vectors of others.
        answers: The labels of these.
        strength: The inverse of the regularisation (scikit-learn's C). Unit vectors want little of
            it: hundreds of coordinates share a length of 1.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=1_000).fit(vectors, np.array(labels))
    return model.predict(asked) == np.array(answers)


def draw_examples(
    labels: Sequence[str], count: int, random: np.random.Generator
) -> Int[np.ndarray, " rows"]:
    """The rows of so many examples of each label, at random; all of those of a rarer one.

    Args:
        labels: Of all rows.
        count: How many of each.
        random: Of the draw.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        rows[label].append(row)
    return np.concatenate([random.permutation(rows[label])[:count] for label in sorted(rows)])
