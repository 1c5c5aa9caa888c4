"""How well the cosine of two vectors says what people say of the pair."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from isometry.core.errors import InputError


def pair_scores(
    a: Float[np.ndarray, "pairs dim"],
    b: Float[np.ndarray, "pairs dim"],
    gold: Float[np.ndarray, " pairs"],
) -> dict[str, float]:
    """Scores the cosines of pairs against what is known of them.

    `spearman` and `pearson` are correlations with the gold figures, from -1 to 1; 0 where all
    cosines are the same. Where the gold figures are 0 and 1 only, there are two more: `auc`, the
    chance that a pair of 1 has a larger cosine than a pair of 0 (ties count half), and `f1_max`,
    the best F1 of "1 from this cosine on" over all thresholds, which is chosen on these very pairs.

    Args:
        a: The first vector of each pair, of any length.
        b: The second.
        gold: What people say: a similarity, or 1 for pairs that belong together and 0 for others.

    Raises:
        InputError: When a vector is zero or not finite.
        ValueError: When shapes differ, or the gold figures are all the same or not finite.
    """
    from scipy.stats import pearsonr, spearmanr

    if a.ndim != 2 or a.shape != b.shape or gold.shape != a.shape[:1]:
        raise ValueError(f"Pairs and gold differ in shape: {a.shape}, {b.shape}, {gold.shape}.")
    if not np.isfinite(gold).all() or len(np.unique(gold)) < 2:
        raise ValueError("The gold figures need at least two different, finite values.")
    cosines = (_unit(a) * _unit(b)).sum(axis=1)
    if cosines.min() == cosines.max():
        scores = {"spearman": 0.0, "pearson": 0.0}
    else:
        ranked: Any = spearmanr(cosines, gold)
        linear: Any = pearsonr(cosines, gold)
        scores = {"spearman": float(ranked.statistic), "pearson": float(linear.statistic)}
    if set(np.unique(gold).tolist()) == {0, 1}:
        from sklearn.metrics import roc_auc_score

        f1, _ = _f1_from(cosines, gold)
        scores |= {"auc": float(roc_auc_score(gold, cosines)), "f1_max": float(f1.max())}
    return scores


def best_threshold(scores: Float[np.ndarray, " n"], gold: Shaped[np.ndarray, " n"]) -> float:
    """The score from which on to say 1 for the best F1; the highest of several.

    Args:
        scores: Higher where 1 is more probable; equal ones are not parted.
        gold: Whether each is 1; at least one of them.

    Raises:
        ValueError: When none is 1, so that every threshold is as good.
    """
    if not np.any(gold):
        raise ValueError("No pair is a positive one: there is nothing to choose a threshold by.")
    f1, thresholds = _f1_from(scores, gold)
    return float(thresholds[np.flatnonzero(f1 == f1.max())[-1]])


def _f1_from(
    scores: Float[np.ndarray, " n"], gold: Shaped[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " thresholds"], Float[np.ndarray, " thresholds"]]:
    """The F1 of "1 from this score on" for every score that there is, and these, ascending."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(gold, scores)
    # The last point stands for no score at all.
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    return f1[:-1], thresholds


def wins(
    positive: Float[np.ndarray, " positives"], negative: Float[np.ndarray, " negatives"]
) -> Float[np.ndarray, " positives"]:
    """For each positive score, the share of negative ones below it; equal ones count half.

    Their mean is the area under the curve of both, so they are its figures by item.
    """
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    return (below + np.searchsorted(ordered, positive, side="right")) / (2 * len(ordered))


def _unit(vectors: Float[np.ndarray, "pairs dim"]) -> Float[np.ndarray, "pairs dim"]:
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0)
    if bad.any():
        raise InputError(
            f"The vector of pair {int(np.flatnonzero(bad)[0])} is zero or not finite.",
            "The model overflowed or is damaged: encode in single precision.",
        )
    return vectors / lengths
