"""A table as a chain of three small tensors (TT-Rec)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil, prod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from isometry.compression.budget_solver import solve
from isometry.compression.codec import DEVIATION, Codec, checked_table, normal
from isometry.compression.compressed_embedding import CompressedEmbedding, compress_fields
from isometry.core.errors import InputError


class TensorTrain(Codec):
    """The product of three matrices, which an id's three digits choose.

    Yin et al. 2021, "TT-Rec: Tensor Train Compression for Deep Learning Recommendation Models",
    and for a given table Oseledets 2011, "Tensor-Train Decomposition", algorithm 1. The
    vector of id i, whose digits are (a, b, c) to the bases n1, n2 and n3, is

        e[x, y, z] = sum over r, s of G1[a, x, r] G2[b, r, y, s] G3[c, s, z]

    The first digit is the highest here, and the lowest in the official code: the same codec with
    ids in another order. TT-Rec samples the start from a normal distribution without its middle;
    the official code says so, but its kernel cuts off the tails. Here it is plainly normal, with
    the deviation that makes vectors start like those of other codecs.

    Args:
        n: How many ids there are.
        dim: The length of a vector; a product of three numbers above 1.
        rank: Of the two sums; where it is more than a full table needs, it is cut to that.

    Raises:
        InputError: When the length is no such product.
    """

    def __init__(self, n: int, dim: int, rank: int) -> None:
        super().__init__(n, dim)
        self.rank = rank
        d1, d2, d3 = _factors(dim)
        n1, n2, n3 = self.bases = _bases(n)
        r, s = min(rank, n1 * d1, n2 * d2 * n3 * d3), min(rank, n1 * d1 * n2 * d2, n3 * d3)
        deviation = (DEVIATION / (r * s) ** 0.5) ** (1 / 3)
        self.first = normal(n1, d1 * r, deviation=deviation)
        self.second = normal(n2, r * d2 * s, deviation=deviation)
        self.third = normal(n3, s * d3, deviation=deviation)
        self.shape = (d1, r, d2, s, d3)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        return {"n": self.n, "dim": self.dim, "rank": self.rank}

    @classmethod
    def of_fields(cls, fields: Sequence[int], dim: int, budget: int) -> CompressedEmbedding:
        """The highest rank, one for all fields, that keeps a budget."""
        ranks = range(1, _full_rank(max(fields), dim) + 1)
        return compress_fields(fields, dim, lambda n, rank: cls(n, dim, rank), ranks, budget)

    @classmethod
    def fit(cls, table: Float[Tensor, "n dim"], budget: int) -> TensorTrain:
        """The train of the highest rank that keeps a budget, by two singular value decompositions.

        At full rank it is the table itself.
        """
        table = checked_table(table)
        n, dim = table.shape
        ranks = range(1, _full_rank(n, dim) + 1)
        codec = cls(n, dim, solve(lambda rank: cls(n, dim, rank), ranks, budget))
        (n1, n2, n3), (d1, r, d2, s, d3) = codec.bases, codec.shape
        padded = torch.zeros(n1 * n2 * n3, dim)
        padded[:n] = table
        digits = padded.view(n1, n2, n3, d1, d2, d3).permute(0, 3, 1, 4, 2, 5)
        left, values, rest = torch.linalg.svd(digits.reshape(n1 * d1, -1), full_matrices=False)
        first = left[:, :r]
        rest = (values[:r, None] * rest[:r]).reshape(r * n2 * d2, n3 * d3)
        left, values, rest = torch.linalg.svd(rest, full_matrices=False)
        second = left[:, :s].view(r, n2, d2, s).transpose(0, 1)
        third = (values[:s, None] * rest[:s]).view(s, n3, d3).transpose(0, 1)
        with torch.no_grad():
            codec.first.copy_(first.reshape(n1, d1 * r))
            codec.second.copy_(second.reshape(n2, r * d2 * s))
            codec.third.copy_(third.reshape(n3, s * d3))
        return codec

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The products, each computed once."""
        d1, r, d2, s, d3 = self.shape
        _, n2, n3 = self.bases
        flat, places = ids.flatten().unique(return_inverse=True)
        first = functional.embedding(flat // (n2 * n3), self.first).view(-1, d1, r)
        second = functional.embedding(flat // n3 % n2, self.second).view(-1, r, d2 * s)
        third = functional.embedding(flat % n3, self.third).view(-1, s, d3)
        vectors = (first @ second).view(-1, d1 * d2, s) @ third
        return vectors.view(-1, self.dim).index_select(0, places).view(*ids.shape, self.dim)


def _factors(dim: int) -> tuple[int, int, int]:
    """Three near-equal factors above 1, the smallest first."""
    divisors = [factor for factor in range(2, dim) if dim % factor == 0]
    found = [
        (a, b, dim // (a * b))
        for a, b in product(divisors, repeat=2)
        if dim % (a * b) == 0 and a <= b <= dim // (a * b)
    ]
    if not found:
        raise InputError(
            f"A length of {dim} is no product of three numbers above 1.",
            "Take a multiple of 8, or another codec than TensorTrain.",
        )
    return min(found, key=sum)


def _bases(n: int) -> tuple[int, int, int]:
    """Three near-equal numbers, the smallest first, whose product is just not below n."""
    third = ceil(n ** (1 / 3) - 1e-9)
    second = ceil((n / third) ** 0.5 - 1e-9)
    return ceil(n / (second * third)), second, third


def _full_rank(n: int, dim: int) -> int:
    """From which rank on a train holds any table."""
    sizes = [base * factor for base, factor in zip(_bases(n), _factors(dim), strict=True)]
    return max(min(sizes[0], prod(sizes[1:])), min(prod(sizes[:2]), sizes[2]))
