"""Only the numbers that are not zero, with their places."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from isometry.compression.budget_solver import solve
from isometry.compression.codec import Codec, checked_table, normal
from isometry.core.errors import InputError


class SparseRows(Codec):
    """Sorted places in the flat table, and the numbers there; 8 bytes each.

    Both forms of the survey's official code take more: CSR also needs an offset a row, which alone
    is 1/16 of a table of 16 dimensions, and COO a row and a column for each number. The price is a
    binary search for each entry of a vector.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        kept: How many numbers are stored.
    """

    places: Tensor

    def __init__(self, n: int, dim: int, kept: int) -> None:
        super().__init__(n, dim)
        kind = torch.int32 if n * dim < 2**31 else torch.int64
        self.register_buffer("places", torch.zeros(kept, dtype=kind))
        self.numbers = normal(kept, 1)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        return {"n": self.n, "dim": self.dim, "kept": len(self.places)}

    @classmethod
    def room(cls, n: int, dim: int, budget: int) -> int:
        """How many numbers a budget allows."""
        return solve(lambda kept: cls(n, dim, kept), range(1, n * dim + 1), budget)

    @classmethod
    def fit(cls, table: Float[Tensor, "n dim"], budget: int) -> SparseRows:
        """Keeps the numbers of the largest magnitude."""
        table = checked_table(table)
        kept = cls.room(table.shape[0], table.shape[1], budget)
        largest = table.abs().flatten().topk(kept).indices
        mask = torch.zeros(table.numel(), dtype=torch.bool)
        mask[largest] = True
        return cls.of_mask(table, mask.view(table.shape))

    @classmethod
    def of_mask(cls, table: Float[Tensor, "n dim"], mask: Bool[Tensor, "n dim"]) -> SparseRows:
        """Keeps the numbers at the given places.

        Raises:
            InputError: When there is none.
        """
        if not mask.any():
            raise InputError("None of the numbers would be kept.")
        places = mask.flatten().nonzero().squeeze(1)
        codec = cls(table.shape[0], table.shape[1], len(places))
        codec.places.copy_(places)
        with torch.no_grad():
            codec.numbers.copy_(table.flatten()[places].unsqueeze(1))
        return codec

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The rows, with zeros between."""
        columns = torch.arange(self.dim, device=ids.device)
        wanted = (ids.unsqueeze(-1) * self.dim + columns).to(self.places.dtype)
        found = torch.searchsorted(self.places, wanted).clamp(max=len(self.places) - 1)
        stored = self.places[found] == wanted
        return functional.embedding(found, self.numbers).squeeze(-1) * stored
