"""Product quantization as a codec: a byte for every part of a vector."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from isometry.compression.budget_solver import solve
from isometry.compression.codec import Codec, checked_table
from isometry.compression.product_quantization import (
    fit_product_quantizer,
    fit_rotated_product_quantizer,
    uneven_parts,
)


class ProductTable(Codec):
    """What `fit_product_quantizer` makes of a table that is given.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        parts: Into how many a vector is cut.
        codes: The centroids of a part, 256 at most.
        rotated: Whether vectors are turned before (OPQ).

    Raises:
        InputError: When vectors cannot be cut into so many equal parts.
    """

    codes: Tensor
    codebooks: Tensor
    rotation: Tensor | None

    def __init__(
        self, n: int, dim: int, parts: int, codes: int = 256, rotated: bool = False
    ) -> None:
        super().__init__(n, dim)
        if parts < 1 or dim % parts:
            raise uneven_parts(dim, parts)
        self.register_buffer("codes", torch.zeros(n, parts, dtype=torch.uint8))
        self.register_buffer("codebooks", torch.zeros(parts, codes, dim // parts))
        self.register_buffer("rotation", torch.zeros(dim, dim) if rotated else None)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        parts, codes, _ = self.codebooks.shape
        rotated = self.rotation is not None
        return {
            "n": self.n, "dim": self.dim, "parts": parts, "codes": codes, "rotated": rotated,
        }  # fmt: skip

    @classmethod
    def fit(
        cls,
        table: Float[Tensor, "n dim"],
        budget: int,
        codes: int = 256,
        rotated: bool = False,
        seed: int = 0,
    ) -> ProductTable:
        """As many parts as keep a budget.

        Args:
            table: What is stored.
            budget: In bytes.
            codes: The centroids of a part.
            rotated: Whether vectors are turned before (OPQ).
            seed: Of k-means.

        Raises:
            InputError: When the budget is below that of one part, or as the quantizer has it.
        """
        table = checked_table(table)
        n, dim = table.shape
        divisors = [parts for parts in range(1, dim + 1) if dim % parts == 0]
        parts = solve(lambda parts: cls(n, dim, parts, codes, rotated), divisors, budget)
        codec = cls(n, dim, parts, codes, rotated)
        values = table.numpy()
        fit = fit_rotated_product_quantizer if rotated else fit_product_quantizer
        quantizer = fit(values, parts, codes=codes, seed=seed)
        codec.codes.copy_(torch.from_numpy(quantizer.encode(values)))
        codec.codebooks.copy_(torch.from_numpy(quantizer.codebooks))
        if codec.rotation is not None and quantizer.rotation is not None:
            codec.rotation.copy_(torch.from_numpy(quantizer.rotation))
        return codec

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The centroids in a row, turned back."""
        parts = torch.arange(len(self.codebooks), device=ids.device)
        vectors = self.codebooks[parts, self.codes[ids].long()].flatten(start_dim=-2)
        return vectors if self.rotation is None else vectors @ self.rotation.T
