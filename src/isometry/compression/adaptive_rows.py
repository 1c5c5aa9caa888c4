"""Rows of their own for frequent ids, shared ones for the others (AdaptEmb)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from isometry.compression.budget_solver import solve
from isometry.compression.codec import Codec, normal
from isometry.compression.packing import IdSet


class AdaptiveRows(Codec):
    """A frequent id owns a row; the others share a few, by their number modulo those.

    DeepRec's "adaptive embedding", as the survey has it (Zhang et al. 2024, "Experimental Analysis
    of Large-scale Learnable Vector Storage Compression", arXiv 2311.15578). Its official code finds
    rows by an array of an integer an id, and leaves it out of the budget, of which it would take
    all at a sixteenth; here a set of bits does, and is counted.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        frequent: How many own a row.
        shared: How many rows the others share; 0 only where there are no others.

    Raises:
        ValueError: When there are more frequent ids than ids, or others without a row.
    """

    def __init__(self, n: int, dim: int, frequent: int, shared: int) -> None:
        super().__init__(n, dim)
        if frequent > n or (frequent < n and shared < 1):
            raise ValueError(f"{frequent} own and {shared} shared rows do not serve {n} ids")
        self.owners = IdSet(n)
        self.own = normal(frequent, dim)
        self.shared = normal(shared, dim)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        own, shared = len(self.own), len(self.shared)
        return {"n": self.n, "dim": self.dim, "frequent": own, "shared": shared}

    @classmethod
    def sized(
        cls, counts: Int[Tensor, " n"], dim: int, budget: int, share: float = 0.5
    ) -> AdaptiveRows:
        """As many rows as a budget allows.

        Args:
            counts: How often each id occurs where it is trained.
            dim: The length of a vector.
            budget: In bytes.
            share: Of the rows, how many belong to frequent ids.
        """
        n = len(counts)

        def make(rows: int) -> AdaptiveRows:
            # With as many rows as ids, there is nobody left to share one.
            frequent = int(share * rows) if rows < n else n
            return cls(n, dim, frequent, rows - frequent)

        codec = make(solve(make, range(1, n + 1), budget))
        codec.choose(counts)
        return codec

    def choose(self, counts: Int[Tensor, " n"]) -> None:
        """Gives the rows to the ids that occur most; of equals, to those with smaller numbers."""
        order = counts.argsort(descending=True, stable=True)[: len(self.own)]
        member = torch.zeros(self.n, dtype=torch.bool)
        member[order] = True
        self.owners.fill(member)

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """Each id's row, or the one that it shares."""
        below, owns = self.owners.count_below(ids), self.owners.has(ids)
        rows = torch.cat([self.own, self.shared])
        others = len(self.own) + (ids - below) % max(1, len(self.shared))
        return functional.embedding(torch.where(owns, below, others), rows)
