"""TIES: trim what each model changed little, elect a sign, and average those that agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from isometry.merging.tensors import Weights, add_task_vectors


def ties(
    base: Mapping[str, Tensor],
    models: Sequence[Mapping[str, Tensor]],
    weights: Weights | None = None,
    *,
    keep: float = 0.2,
    scale: float = 1.0,
) -> Iterator[tuple[str, Tensor]]:
    """The base plus scale times the trimmed, sign-elected mean of the models' differences to it.

    Yadav et al. (2023), "TIES-Merging: Resolving Interference When Merging Models", section 4: per
    model the largest differences are kept; per coordinate the sign of their sum is elected, and
    those of that sign are averaged. Coordinates where they cancel exactly stay the base's.

    The paper trims a whole model by one threshold; this does each tensor by its own, as mergekit
    does, so that one tensor at a time is enough. The authors' code keeps one coordinate more, and
    gives exact cancellations the commonest sign; mergekit gives them the positive one, and of
    equally large differences at the threshold it keeps some, this and the authors all.

    Args:
        base: The state dict that the models were tuned from.
        models: State dicts with the same names and shapes.
        weights: One for each model, none negative, for all tensors or by a tensor's name; equal
            when not given. A model of more weight counts more in the election and in the mean;
            only their ratios matter.
        keep: The fraction of each tensor's differences that is kept, in (0, 1]; one at least.
        scale: How far to go; 0 is the base.

    Yields:
        Name and tensor, in the base's order and in the type of the first model.

    Raises:
        ValueError: When the models do not fit together, weights are missing or negative, or `keep`
            is not in (0, 1].
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be in (0, 1], not {keep}")

    def mix(name: str, difference: Callable[[int], Tensor], shares: Sequence[float]) -> Tensor:
        least = [_threshold(difference(model), keep) for model in range(len(models))]

        def trimmed(model: int) -> Tensor:
            whole = difference(model)
            return whole.masked_fill_(whole.abs() < least[model], 0)

        return elected_mean(trimmed, shares)

    return add_task_vectors(base, models, weights, 1.0, scale, mix)


def elected_mean(difference: Callable[[int], Tensor], shares: Sequence[float]) -> Tensor:
    """Per coordinate the weighted mean of those differences that have the sign of their sum.

    Args:
        difference: Gives a model's difference anew at each call, by the model's number.
        shares: The weight of each model; none negative.

    Raises:
        ValueError: When a weight is negative.
    """
    if any(share < 0 for share in shares):
        raise ValueError(f"an elected mean has no negative weights: {list(shares)}")
    total = torch.zeros_like(difference(0))
    for model, share in enumerate(shares):
        total.add_(difference(model), alpha=share)
    sign = total.sign().to(torch.int8)
    weight = torch.zeros_like(total)
    total.zero_()
    for model, share in enumerate(shares):
        part = difference(model)
        agrees = part.sign().to(torch.int8) == sign
        total.add_(part.mul_(agrees), alpha=share)
        weight.add_(agrees, alpha=share)
    return total.div_(weight.masked_fill_(weight == 0, 1))


def _threshold(difference: Tensor, keep: float) -> float:
    """The smallest of the magnitudes that are kept."""
    sizes = difference.abs_().reshape(-1).numpy()
    if sizes.size == 0:
        return 0.0
    place = sizes.size - max(1, int(keep * sizes.size))
    # In place: the difference is this function's own.
    sizes.partition(place)
    return float(np.asarray(sizes)[place])
