"""Task arithmetic: the base and a multiple of what each model learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from isometry.merging.tensors import Weights, add_task_vectors


def task_arithmetic(
    base: Mapping[str, Tensor],
    models: Sequence[Mapping[str, Tensor]],
    weights: Weights | None = None,
    *,
    scale: float = 0.3,
) -> Iterator[tuple[str, Tensor]]:
    """The base plus scale times the weighted sum of the models' differences to it.

    Ilharco et al. (2023), "Editing Models with Task Arithmetic", section 2: the sum of task
    vectors, times one scale that is chosen on held-out data, often 0.3 to 0.5. What no model
    changed stays as it is to the bit. Equal to mergekit's `task_arithmetic` with the same weights
    and `lambda` for the scale, which there is 1 unless given.

    Args:
        base: The state dict that the models were tuned from.
        models: State dicts with the same names and shapes.
        weights: One for each model, for all tensors or by a tensor's name; 1 each when not given.
            A negative one unlearns.
        scale: How far to go; 0 is the base.

    Yields:
        Name and tensor, in the base's order and in the type of the first model.

    Raises:
        ValueError: When the models do not fit together, or weights are missing.
    """
    return add_task_vectors(base, models, weights, 1.0, scale, weighted_sum)


def weighted_sum(name: str, difference: Callable[[int], Tensor], shares: Sequence[float]) -> Tensor:
    """The weighted sum of the models' differences in one tensor."""
    total = torch.zeros_like(difference(0))
    for model, share in enumerate(shares):
        total.add_(difference(model), alpha=share)
    return total
