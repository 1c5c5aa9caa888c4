"""What several models learned on one base, compared: how long, how alike, how often opposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from isometry.merging.tensors import State, dot


@dataclass(frozen=True, eq=False)
class TaskVectors:
    """How the differences of models to their base lie to each other.

    Attributes:
        products: The inner product of each two; on the diagonal the squared norms.
        base_norm: The norm of the base.
        sign_conflict: Of the coordinates that two models or more changed, the share in which not
            all changes have one sign; 0 where there is no such coordinate. Independent changes of
            two models have a half, of three models three quarters.
    """

    products: Float[np.ndarray, "n n"]
    base_norm: float
    sign_conflict: float

    @property
    def norms(self) -> Float[np.ndarray, " n"]:
        """The length of each difference."""
        return np.sqrt(np.diag(self.products))

    @property
    def cosines(self) -> Float[np.ndarray, "n n"]:
        """The cosine of each two; 0 with a model that is the base."""
        lengths = np.where(self.norms > 0, self.norms, 1)
        return self.products / np.outer(lengths, lengths)


def task_vectors(base: State, models: Sequence[State]) -> TaskVectors:
    """Compares what models learned, tensor by tensor; tensors of whole numbers are no part of it.

    Task vectors of unrelated tasks are nearly orthogonal (Ilharco et al. 2023, "Editing Models
    with Task Arithmetic", figure 5), which makes their mean shorter than each of them. How often
    their signs conflict is what TIES sets out from (Yadav et al. 2023, section 3.2).

    Args:
        base: The state dict that the models were tuned from.
        models: State dicts with the same names and shapes.

    Raises:
        ValueError: When there is no model.
    """
    if not models:
        raise ValueError("nothing to compare")
    products = np.zeros((len(models), len(models)))
    squared, shared, opposed = 0.0, 0, 0
    for name, tensor in base.items():
        if not tensor.is_floating_point():
            continue
        wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
        squared += dot(wide, wide)
        changes = [model[name].to(wide.dtype) - wide for model in models]
        for one, change in enumerate(changes):
            for other in range(one + 1):
                products[one, other] += dot(change, changes[other])
        up = torch.stack([change > 0 for change in changes]).sum(dim=0)
        down = torch.stack([change < 0 for change in changes]).sum(dim=0)
        shared += int((up + down > 1).sum())
        opposed += int(((up > 0) & (down > 0)).sum())
    products += np.tril(products, -1).T
    return TaskVectors(products, squared**0.5, opposed / shared if shared else 0.0)
