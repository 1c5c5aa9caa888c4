"""Cosines that follow distances: multi-similarity at one threshold, or at one for each distance."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional


class GradedSimilarity(nn.Module):
    """At every level, what is as near is drawn above a threshold, and what is farther below it.

    At a level, items at most so far apart are positives and all others negatives, and the loss of
    an anchor is that of multi-similarity (Wang et al. 2019, "Multi-Similarity Loss with General
    Pair Weighting for Deep Metric Learning", equation 15):
    `log(1 + sum_P exp(-alpha (s - t))) / alpha + log(1 + sum_N exp(beta (s - t))) / beta`. Falling
    thresholds keep the cosines of each distance in a band of their own.

    With the one level 0 it is multi-similarity itself, as SapBERT and CODER train it. Several
    levels are our reading of "Hierarchical Pretraining for Biomedical Term Embeddings" (Cai et al.
    2023): it changes a contrastive loss to learn from hierarchies, but how could not be read.

    Args:
        levels: Distances, from the smallest.
        thresholds: The cosine that parts a level's positives from its negatives; falling.
        weights: How much each level counts; all the same when not given.
        alpha: How sharply the least similar positives count most.
        beta: How sharply the most similar negatives count most.
        margin: Where given, only hard pairs count: negatives that come within it of the least
            similar positive, and positives within it of the most similar negative (equations 10
            and 11, their epsilon).

    Raises:
        ValueError: When levels do not rise, thresholds do not fall, a weight is not positive, or
            numbers do not match.
    """

    def __init__(
        self,
        levels: Sequence[int] = (0,),
        thresholds: Sequence[float] = (0.5,),
        weights: Sequence[float] = (),
        *,
        alpha: float = 2.0,
        beta: float = 50.0,
        margin: float | None = None,
    ) -> None:
        super().__init__()
        weights = tuple(weights) or (1.0,) * len(levels)
        if not len(levels) == len(thresholds) == len(weights) > 0:
            raise ValueError(
                f"{len(levels)} levels need as many thresholds and weights, not"
                f" {len(thresholds)} and {len(weights)}"
            )
        if levels[0] < 0 or any(one >= other for one, other in pairwise(levels)):
            raise ValueError(f"levels must rise from 0 on: {tuple(levels)}")
        if any(one <= other for one, other in pairwise(thresholds)):
            raise ValueError(f"thresholds must fall: {tuple(thresholds)}")
        if min(weights) <= 0:
            raise ValueError(f"weights must be positive, not {weights}")
        if min(alpha, beta) <= 0:
            raise ValueError(f"alpha and beta must be positive, not {alpha} and {beta}")
        self.levels = tuple(levels)
        self.thresholds = tuple(thresholds)
        self.weights = weights
        self.alpha = alpha
        self.beta = beta
        self.margin = margin
        self._warned = False

    def forward(
        self, vectors: Float[Tensor, "n d"], distances: Int[Tensor, "n n"]
    ) -> Float[Tensor, ""]:
        """The mean over anchors, of the weighted mean over levels.

        A level at which no item has a positive is left out.

        Args:
            vectors: Of any length; cosines are compared.
            distances: Between items, 0 for the same thing; -1 where it is unknown, which makes a
                pair neither positive nor negative. The diagonal is ignored.

        Raises:
            ValueError: When distances differ by direction, or no level has a positive.
        """
        if not torch.equal(distances, distances.T):
            raise ValueError("distances must be the same in both directions")
        unit = functional.normalize(vectors, dim=-1)
        cosines = unit @ unit.T
        known = distances >= 0
        known.fill_diagonal_(False)
        total, weight = cosines.new_zeros(()), 0.0
        for level, threshold, share in zip(self.levels, self.thresholds, self.weights, strict=True):
            near = known & (distances <= level)
            if not bool(near.any()):
                self._warn(level)
                continue
            total = total + share * self._level(cosines, near, known & ~near, threshold)
            weight += share
        if not weight:
            raise ValueError("no two items of the batch are near enough for any level")
        return total / weight

    def _level(
        self,
        cosines: Float[Tensor, "n n"],
        positive: Bool[Tensor, "n n"],
        negative: Bool[Tensor, "n n"],
        threshold: float,
    ) -> Float[Tensor, ""]:
        if self.margin is not None:
            least = cosines.masked_fill(~positive, math.inf).amin(dim=1, keepdim=True)
            most = cosines.masked_fill(~negative, -math.inf).amax(dim=1, keepdim=True)
            positive = positive & (cosines - self.margin < most)
            negative = negative & (cosines + self.margin > least)
        above = _log_one_plus(self.alpha * (threshold - cosines), positive) / self.alpha
        below = _log_one_plus(self.beta * (cosines - threshold), negative) / self.beta
        return (above + below).mean()

    def _warn(self, level: int) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"A batch has no pair at distance {level} or nearer: the level is left out of it.",
                stacklevel=3,
            )


def _log_one_plus(values: Float[Tensor, "n n"], counted: Bool[Tensor, "n n"]) -> Tensor:
    """`log(1 + sum exp)` of a row's counted values, without overflow."""
    kept = values.masked_fill(~counted, -math.inf)
    return torch.logsumexp(torch.cat([torch.zeros_like(kept[:, :1]), kept], dim=1), dim=1)
