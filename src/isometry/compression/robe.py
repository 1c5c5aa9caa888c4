"""One flat array, in which every vector starts somewhere (ROBE)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from isometry.compression.budget_solver import solve
from isometry.compression.codec import Codec, normal

_PRIME = 2_038_074_743


class RobeArray(Codec):
    """Each chunk of a vector is a run of a circular array, from a hashed place, with hashed signs.

    Desai et al. 2022, "Random Offset Block Embedding Array (ROBE) for CriteoTB Benchmark MLPerf
    DLRM Model". Chunk z of id i starts at (A i + B z + C) mod P mod m, for random A, B,
    C and a prime P; number j of the vector has the sign of (D i + E j + F) mod P mod 2.

    The official code's setting Z is the number of chunks, 1 by default: a vector is one run, as it
    is by default here. Where Z is more, it takes the length of a chunk for their number.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        length: Of the array.
        chunk: How many numbers are read in a run; it divides `dim`, which it is by default.

    Raises:
        ValueError: When a chunk does not divide a vector.
    """

    numbers: Tensor

    def __init__(self, n: int, dim: int, length: int, chunk: int | None = None) -> None:
        super().__init__(n, dim)
        self.chunk = chunk or dim
        if dim % self.chunk:
            raise ValueError(f"chunks of {chunk} do not divide a vector of {dim}")
        self.array = normal(length, 1)
        self.register_buffer("numbers", torch.randint(1, _PRIME, (6,)))

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        length = len(self.array)
        return {"n": self.n, "dim": self.dim, "length": length, "chunk": self.chunk}

    @classmethod
    def sized(cls, n: int, dim: int, budget: int) -> RobeArray:
        """The longest array that keeps a budget; it holds one vector at least."""
        make = lambda length: cls(n, dim, length)  # noqa: E731
        return make(solve(make, range(dim, n * dim + 1), budget))

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The runs with their signs."""
        place = torch.arange(self.dim, device=ids.device)
        a, b, c, d, e, f = self.numbers
        # Products of 32 bits overflow.
        row = ids.long().unsqueeze(-1)
        start = (a * row + b * (place // self.chunk) + c) % _PRIME
        found = (start + place % self.chunk) % len(self.array)
        signs = (d * row + e * place + f) % _PRIME % 2 * 2 - 1
        return functional.embedding(found, self.array).squeeze(-1) * signs
