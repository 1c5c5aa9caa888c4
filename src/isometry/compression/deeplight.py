"""The smallest numbers become zero during training, more and more of them (DeepLight)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from isometry.compression.codec import FreezableTable, normal
from isometry.compression.sparse_rows import SparseRows

_EVERY = 10
_DEVIATION = 1e-3  # from the final share, where the schedule counts as done


class DeepLight(FreezableTable):
    """A whole table that is pruned by magnitude during training.

    Deng et al. 2021, "DeepLight: Deep Lightweight Feature Interactions for Accelerating CTR
    Predictions in Ad Serving": at step t of pruning the share of zeros is
    share * (1 - 0.99^(t / period)), set anew every 10 steps. A number that was set to zero may grow
    again until the next time.

    The official code has a period of 100, and waits until the share is within a thousandth of its
    end, which takes 68,730 steps; here the period is such that it takes the steps that there are.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        budget: Of the frozen table, in bytes.
        warmup: Steps before pruning begins.
        steps: Steps of pruning.

    Raises:
        InputError: When the budget is below that of one number.
    """

    count: Tensor

    def __init__(self, n: int, dim: int, budget: int, *, warmup: int, steps: int) -> None:
        super().__init__(n, dim)
        self.budget = budget
        self.warmup = warmup
        self.period = steps * math.log(0.99) / math.log(_DEVIATION)
        self.share = 1 - SparseRows.room(n, dim, budget) / (n * dim)
        self.rows = normal(n, dim)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def zeros(self, step: int) -> float:
        """The share of zeros after so many steps of training."""
        pruned = max(0, step - self.warmup)
        return self.share * (1 - 0.99 ** (pruned / self.period))

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The rows; in training mode every call is a step."""
        if self.training:
            self.count += 1
            if self.count % _EVERY == 0:
                self._prune(self.zeros(int(self.count)))
        return functional.embedding(ids, self.rows)

    @torch.no_grad()
    def _prune(self, share: float) -> None:
        smallest = int(share * self.rows.numel())
        if smallest:
            threshold = self.rows.abs().flatten().kthvalue(smallest).values
            self.rows[self.rows.abs() <= threshold] = 0

    def freeze(self) -> SparseRows:
        """The largest numbers, as many as the budget allows."""
        return SparseRows.fit(self.rows.detach(), self.budget)
