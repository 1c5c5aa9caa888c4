"""The plain hash: ids that leave the same remainder share a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from isometry.compression.codec import Codec, normal
from isometry.compression.compressed_embedding import CompressedEmbedding, compress_fields


class ModuloHash(Codec):
    """Row `i mod rows` for id i (Weinberger et al. 2009, "Feature Hashing").

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        rows: How many rows there are.
    """

    def __init__(self, n: int, dim: int, rows: int) -> None:
        super().__init__(n, dim)
        self.shared = normal(rows, dim)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        return {"n": self.n, "dim": self.dim, "rows": len(self.shared)}

    @classmethod
    def of_fields(cls, fields: Sequence[int], dim: int, budget: int) -> CompressedEmbedding:
        """As many rows for every field, at most its own."""
        return compress_fields(
            fields,
            dim,
            lambda n, rows: cls(n, dim, min(n, rows)),
            range(1, max(fields) + 1),
            budget,
        )

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The shared rows."""
        return functional.embedding(ids % len(self.shared), self.shared)
