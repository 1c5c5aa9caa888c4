"""Short vectors for large fields, and long ones for small fields (MDE)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isometry.compression.budget_solver import solve
from isometry.compression.codec import Codec, FloatTable
from isometry.compression.compressed_embedding import CompressedEmbedding
from isometry.compression.low_rank import LowRank

_STEPS = 1000  # of the exponent between 1 and 0


def widths(fields: Sequence[int], dim: int, alpha: float) -> list[int]:
    """The length of the vectors of each field, by its size to the power of `-alpha`.

    Ginart et al. 2021, "Mixed Dimension Embeddings with Application to Memory-Efficient
    Recommendation Systems", as the survey's official code has it (Zhang et al. 2024, arXiv
    2311.15578): the smallest field has `dim`, the others less, rounded to powers of two and never
    below 1. With `alpha` at 0 all have `dim`.

    Args:
        fields: How many ids each field has.
        dim: The length of a vector.
        alpha: From 0 to 1.
    """
    smallest = min(fields)
    # Rounded twice, as there: to a whole number, and then to a power of two.
    whole = [max(1, round(dim * (smallest / n) ** alpha)) for n in fields]
    return [dim if width >= dim else min(dim, 2 ** round(math.log2(width))) for width in whole]


def of_widths(fields: Sequence[int], widths: Sequence[int], dim: int) -> CompressedEmbedding:
    """A table a field; where vectors are short, with a projection, if it is smaller with it."""
    parts: list[Codec] = [
        LowRank(n, dim, width) if width * (n + dim) < n * dim else FloatTable(n, dim)
        for n, width in zip(fields, widths, strict=True)
    ]
    return CompressedEmbedding(parts)


def mixed_dimension(fields: Sequence[int], dim: int, budget: int) -> CompressedEmbedding:
    """The least exponent that keeps a budget; projections count.

    Args:
        fields: How many ids each field has.
        dim: The length of a vector.
        budget: In bytes.

    Raises:
        InputError: When even an exponent of 1 does not keep it.
    """

    def make(step: int) -> CompressedEmbedding:
        return of_widths(fields, widths(fields, dim, 1 - step / _STEPS), dim)

    return make(solve(make, range(_STEPS + 1), budget))
