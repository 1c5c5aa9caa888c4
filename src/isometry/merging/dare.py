"""DARE: drop most of what each model learned at random, and rescale the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from isometry.merging.task_arithmetic import weighted_sum
from isometry.merging.tensors import Weights, add_task_vectors
from isometry.merging.ties import elected_mean


def dare(
    base: Mapping[str, Tensor],
    models: Sequence[Mapping[str, Tensor]],
    weights: Weights | None = None,
    *,
    drop: float = 0.9,
    scale: float = 1.0,
    seed: int = 0,
    elect_signs: bool = False,
) -> Iterator[tuple[str, Tensor]]:
    """The base plus scale times the mean of the models' randomly thinned differences to it.

    Yu et al. (2024), "Language Models are Super Mario: Absorbing Abilities from Homologous Models
    as a Free Lunch", section 3: each coordinate of a difference is dropped with one probability,
    and the rest divided by what is left of 1, so that its mean over seeds is the difference.

    mergekit's `dare_linear` and `dare_ties` rescale, unless told otherwise, to the L1 norm that
    the difference had, which is near to it in large tensors; they do not divide by the weights'
    sum. This follows the paper and its code. Its masks depend on seed, model and name alone, and
    so neither on the order of the tensors nor on the merge that went before.

    Args:
        base: The state dict that the models were tuned from.
        models: State dicts with the same names and shapes.
        weights: One for each model, for all tensors or by a tensor's name; equal, with the sum 1,
            when not given.
        drop: The probability of dropping a coordinate, in [0, 1).
        scale: How far to go; 0 is the base.
        seed: Of the masks.
        elect_signs: Average per coordinate only those of the elected sign, as TIES does after its
            trimming.

    Yields:
        Name and tensor, in the base's order and in the type of the first model.

    Raises:
        ValueError: When the models do not fit together, weights are missing, or negative where
            signs are elected, or `drop` is not in [0, 1).
    """
    if not 0 <= drop < 1:
        raise ValueError(f"drop must be in [0, 1), not {drop}")

    def mix(name: str, difference: Callable[[int], Tensor], shares: Sequence[float]) -> Tensor:
        def thinned(model: int) -> Tensor:
            whole = difference(model)
            kept = random_mask(tuple(whole.shape), drop, seed, model, name)
            return whole.mul_(kept).div_(1 - drop)

        if elect_signs:
            return elected_mean(thinned, shares)
        return weighted_sum(name, thinned, shares)

    return add_task_vectors(base, models, weights, 1 / max(1, len(models)), scale, mix)


def random_mask(
    shape: tuple[int, ...], drop: float, seed: int, model: int, name: str
) -> Bool[Tensor, "*shape"]:
    """Where a model's difference in one tensor is kept: each place with probability 1 - drop.

    Args:
        shape: The tensor's.
        drop: The probability of False.
        seed: Of the merge.
        model: The model's number.
        name: The tensor's.
    """
    digest = hashlib.sha256(f"{seed}/{model}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return torch.rand(shape, generator=generator) >= drop
