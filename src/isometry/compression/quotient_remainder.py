"""Two small tables, one for an id's quotient and one for its remainder (CompoEmb)."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from isometry.compression.codec import DEVIATION, Codec, normal
from isometry.compression.compressed_embedding import CompressedEmbedding, compress_fields


def _root(n: int) -> int:
    """The root, rounded up."""
    return isqrt(n - 1) + 1


class QuotientRemainder(Codec):
    """The elementwise product of row `i div k` of one table and row `i mod k` of another.

    Shi et al. 2020, "Compositional Embeddings Using Complementary Partitions". No two
    ids share both rows. The bytes are least at k of about the root of n, and any k below it is a
    rate between that and the full table.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        k: How many remainders there are.
    """

    def __init__(self, n: int, dim: int, k: int) -> None:
        super().__init__(n, dim)
        self.k = k
        # So that products have the deviation that rows of other codecs have.
        self.quotients = normal(-(-n // k), dim, deviation=DEVIATION**0.5)
        self.remainders = normal(k, dim, deviation=DEVIATION**0.5)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        return {"n": self.n, "dim": self.dim, "k": self.k}

    @classmethod
    def of_fields(cls, fields: Sequence[int], dim: int, budget: int) -> CompressedEmbedding:
        """The smallest k, one for all fields, that keeps a budget.

        Of a field whose root is smaller than k it is the root: there a larger k takes more again.
        The official code asks for rows of less than the share of the budget, and then for the
        whole k above; this asks for bytes, and counts the fields that stay whole.

        Raises:
            InputError: When the root of each field takes more.
        """

        def make(n: int, k: int) -> QuotientRemainder:
            return cls(n, dim, min(k, _root(n)))

        return compress_fields(fields, dim, make, range(_root(max(fields)), 0, -1), budget)

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The products."""
        quotient = functional.embedding(ids // self.k, self.quotients)
        return quotient * functional.embedding(ids % self.k, self.remainders)
