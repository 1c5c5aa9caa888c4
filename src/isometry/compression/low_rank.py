"""A short vector for each id, and one matrix that makes it long (SVD)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from isometry.compression.budget_solver import solve
from isometry.compression.codec import Codec, checked_table, normal


class LowRank(Codec):
    """The product of an id's row and a matrix.

    For a table that is given, the best one of its rank (Eckart and Young 1936). To be trained, it
    is a field of mixed dimensions; see `mixed_dimension`.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        rank: The length of a row.
    """

    def __init__(self, n: int, dim: int, rank: int) -> None:
        super().__init__(n, dim)
        self.rank = rank
        self.rows = normal(n, rank)
        self.projection = normal(rank, dim, deviation=rank**-0.5)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        return {"n": self.n, "dim": self.dim, "rank": self.rank}

    @classmethod
    def fit(cls, table: Float[Tensor, "n dim"], budget: int, seed: int = 0) -> LowRank:
        """The highest rank that keeps a budget, by a randomized decomposition (Halko et al. 2011).

        Args:
            table: What is stored.
            budget: In bytes.
            seed: Of the decomposition.
        """
        from sklearn.utils.extmath import randomized_svd

        table = checked_table(table)
        n, dim = table.shape
        ranks = range(1, min(n, dim) + 1)
        codec = cls(n, dim, solve(lambda rank: cls(n, dim, rank), ranks, budget))
        left, values, right = randomized_svd(table.numpy(), codec.rank, random_state=seed)
        with torch.no_grad():
            codec.rows.copy_(torch.from_numpy(left * values))
            codec.projection.copy_(torch.from_numpy(right))
        return codec

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The products."""
        return functional.embedding(ids, self.rows) @ self.projection
