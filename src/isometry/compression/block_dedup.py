"""Blocks of rows that are nearly the same, stored once (Dedup)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from isometry.compression.budget_solver import solve
from isometry.compression.codec import Codec, checked_table, normal

_HALVINGS = 24


class BlockDedup(Codec):
    """Rows in blocks, and for each block which of the kept ones stands for it.

    Zhou et al. 2022, "Serving Deep Learning Models with Deduplication from Relational Databases",
    as the survey has it (Zhang et al. 2024, arXiv 2311.15578). What is kept can be
    trained further.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        block: How many rows a block has.
        kept: How many blocks are kept.
    """

    owner: Tensor

    def __init__(self, n: int, dim: int, block: int, kept: int) -> None:
        super().__init__(n, dim)
        self.block = block
        self.rows = normal(kept * block, dim)
        self.register_buffer("owner", torch.zeros(-(-n // block), dtype=torch.int32))

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        kept = len(self.rows) // self.block
        return {"n": self.n, "dim": self.dim, "block": self.block, "kept": kept}

    @classmethod
    def fit(
        cls, table: Float[Tensor, "n dim"], budget: int, block: int = 16, share: float = 0.7
    ) -> BlockDedup:
        """Drops blocks until the budget is kept.

        Blocks are visited by the third quartile of their numbers. One is dropped if a share of its
        numbers differs by no more than a tolerance from those of a block that was kept before, the
        nearest in that sense. The paper has a tolerance of 0.01, to be loosened for small budgets:
        here it is as small as the budget allows. Of the blocks that are visited last, as many are
        kept as there is room for. All kept blocks are compared, where the paper has a hash propose
        some of them; so the time goes with the square of the number of blocks.

        Args:
            table: What is stored.
            budget: In bytes.
            block: How many rows a block has; 10,000 in the official code.
            share: Of the numbers, how many must be near.
        """
        table = checked_table(table)
        n, dim = table.shape
        count = -(-n // block)
        kept = solve(lambda kept: cls(n, dim, block, kept), range(1, count + 1), budget)
        padded = np.zeros((count * block, dim), dtype=np.float32)
        padded[:n] = table.numpy()
        blocks = padded.reshape(count, -1)
        # A block that is partly padding is visited last, so that it stands for no other.
        partly = np.arange(count) >= n // block
        order = np.lexsort([np.quantile(blocks, 0.75, axis=1), partly])
        distance = _distances(blocks[order], share)
        excess = count - kept
        low, high = -1.0, float(distance.max(initial=0.0))
        stands = _dropped(distance, high, excess)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            found = _dropped(distance, middle, excess)
            if (found >= 0).sum() == excess:
                high, stands = middle, found
            else:
                low = middle
        return cls._of(n, dim, block, kept, blocks, order, stands)

    @classmethod
    def _of(
        cls, n: int, dim: int, block: int, kept: int,
        blocks: np.ndarray, order: np.ndarray, stands: np.ndarray,
    ) -> BlockDedup:  # fmt: skip
        codec = cls(n, dim, block, kept)
        remains = stands < 0
        number = np.cumsum(remains) - 1
        number[~remains] = number[stands[~remains]]
        with torch.no_grad():
            codec.rows.copy_(torch.from_numpy(blocks[order[remains]].reshape(-1, dim)))
        codec.owner[torch.from_numpy(order)] = torch.from_numpy(number).int()
        return codec

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The rows of the blocks that stand for those of the ids."""
        owner = self.owner[ids // self.block].long()
        return functional.embedding(owner * self.block + ids % self.block, self.rows)


def _distances(blocks: np.ndarray, share: float) -> np.ndarray:
    """The tolerance from which on a share of two blocks' numbers are near, for each pair."""
    place = int(np.ceil(share * blocks.shape[1])) - 1
    found = np.zeros((len(blocks), len(blocks)), dtype=np.float32)
    for row, own in enumerate(blocks[1:], start=1):
        apart = np.abs(blocks[:row] - own)
        found[row, :row] = np.partition(apart, place, axis=1)[:, place]
    return found


def _dropped(distance: np.ndarray, tolerance: float, most: int) -> np.ndarray:
    """For each block in order which one before stands for it, or -1; `most` are dropped."""
    stands = np.full(len(distance), -1)
    kept = np.zeros(len(distance), dtype=bool)
    for row, own in enumerate(distance):
        if most > 0 and kept[:row].any():
            near = np.where(kept[:row], own[:row], np.inf)
            best = int(near.argmin())
            if near[best] <= tolerance:
                stands[row] = best
                most -= 1
                continue
        kept[row] = True
    return stands
