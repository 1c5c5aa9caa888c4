"""Any contrast over prefixes of the vectors, so that a cut vector is usable too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Cut:
    """One prefix that is trained: vectors of this layer, cut to the first dimensions.

    Attributes:
        layer: Index along the first axis of the stacked vectors; -1 is the last.
        dim: How many dimensions are kept.
        weight: The weight of this prefix in the mean.
    """

    layer: int
    dim: int
    weight: float = 1.0


@runtime_checkable
class Plan(Protocol):
    """Says which prefixes a step trains."""

    def cuts(self, layers: int, dim: int) -> Sequence[Cut]:
        """The prefixes of this step, for so many layers and dimensions."""
        ...


@dataclass(frozen=True)
class MRL:
    """The last layer at a fixed list of widths (Kusupati et al. 2022, equation 1).

    Attributes:
        dims: The widths; at least one.
        weights: Their weights; equal when not given.
    """

    dims: tuple[int, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.dims or min(self.dims) < 1:
            raise ValueError(f"dims must be positive and at least one, not {self.dims}")
        if self.weights is not None and len(self.weights) != len(self.dims):
            raise ValueError("dims and weights differ in length")

    def cuts(self, layers: int, dim: int) -> Sequence[Cut]:
        """The same prefixes at every step; a width beyond the vectors' is an error."""
        if max(self.dims) > dim:
            raise ValueError(f"a prefix of {max(self.dims)} dimensions out of {dim}")
        weights = self.weights or (1.0,) * len(self.dims)
        return [Cut(-1, width, weight) for width, weight in zip(self.dims, weights, strict=True)]


class Matryoshka(nn.Module):
    """The weighted mean of a base contrast over (layer, width) prefixes.

    The base normalises, so a prefix is cut first and normalised after. With a plan of one full
    prefix the loss equals the base's.

    Args:
        base: The contrast, for instance `InfoNCE`.
        plan: Which prefixes each step trains.
    """

    def __init__(self, base: nn.Module, plan: Plan) -> None:
        super().__init__()
        self.base = base
        self.plan = plan

    def forward(
        self,
        a: Float[Tensor, "layers n d"],
        b: Float[Tensor, "layers n d"],
        negatives: Float[Tensor, "layers n k d"] | None = None,
        same: Bool[Tensor, "n m"] | None = None,
        log_q: Float[Tensor, " m"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss; the further arguments are those of `InfoNCE.forward`."""
        cuts = self.plan.cuts(a.shape[0], a.shape[-1])
        losses = [
            cut.weight
            * self.base(
                a[cut.layer, ..., : cut.dim],
                b[cut.layer, ..., : cut.dim],
                None if negatives is None else negatives[cut.layer, ..., : cut.dim],
                same,
                log_q,
            )
            for cut in cuts
        ]
        return torch.stack(losses).sum() / sum(cut.weight for cut in cuts)
