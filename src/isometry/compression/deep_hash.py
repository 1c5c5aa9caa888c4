"""No table at all: a network computes a vector from hashes of the id (DHE)."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from isometry.compression.budget_solver import solve
from isometry.compression.codec import DEVIATION, Codec

_BUCKETS = 1_000_000
_SMALLEST = 2**31 - 200_000  # no prime is smaller
_LAYERS = 5
_WIDEST = 4096


class DeepHash(Codec):
    """Many hashes of an id as numbers from -1 to 1, through a perceptron.

    Kang et al. 2021, "Learning to Embed Categorical Features without Embedding Tables":
    h_j(i) = ((a_j i + b_j) mod p_j) mod 10^6, then five layers of Linear, BatchNorm and Mish, and a
    last linear one. Every id has a vector, and new ids cost nothing.

    Primes are far above the buckets, so that none of these is likelier than another. The official
    code multiplies in 32 bits, which overflows, and counts neither the hashes' numbers nor the
    means and variances of BatchNorm; here all that a lookup reads is counted. An id that occurs
    several times in a batch is computed once, and counts once in the statistics.

    Args:
        n: How many ids there are; it changes nothing but the budget's rate.
        dim: The length of a vector.
        width: Of the hidden layers.
        hashes: How many there are; 1024 in the paper, which takes 12 KiB.
    """

    numbers: Tensor

    def __init__(self, n: int, dim: int, width: int, hashes: int = 1024) -> None:
        super().__init__(n, dim)
        self.width = width
        self.hashes = hashes
        primes = torch.tensor(_primes(_SMALLEST, 2**31), dtype=torch.int32)
        slopes = torch.randint(1, _SMALLEST, (2, hashes), dtype=torch.int32)
        drawn = primes[torch.randint(len(primes), (hashes,))]
        self.register_buffer("numbers", torch.cat([slopes, drawn[None]]))
        layers: list[nn.Module] = []
        for place in range(_LAYERS):
            normalize = nn.BatchNorm1d(width)
            normalize.num_batches_tracked = None  # no lookup reads it
            layers += [nn.Linear(hashes if place == 0 else width, width), normalize, nn.Mish()]
        last = nn.Linear(width, dim)
        nn.init.normal_(last.weight, std=DEVIATION / width**0.5)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(*layers, last)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        return {"n": self.n, "dim": self.dim, "width": self.width, "hashes": self.hashes}

    @property
    def unbounded(self) -> bool:
        """Every id has a vector."""
        return True

    @classmethod
    def sized(cls, n: int, dim: int, budget: int, hashes: int = 1024) -> DeepHash:
        """The widest network that keeps a budget."""
        make = lambda width: cls(n, dim, width, hashes)  # noqa: E731
        return make(solve(make, range(1, _WIDEST + 1), budget))

    def hash(self, ids: Int[Tensor, " b"]) -> Float[Tensor, "b hashes"]:
        """The hashes of ids, as numbers from -1 to 1."""
        slope, shift, prime = self.numbers.long()
        found = (ids.unsqueeze(1) * slope + shift) % prime % _BUCKETS
        return found.float() * (2 / (_BUCKETS - 1)) - 1

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The network's vectors."""
        distinct, places = ids.flatten().unique(return_inverse=True)
        vectors = self.network(self.hash(distinct))
        return vectors.index_select(0, places).view(*ids.shape, self.dim)


@cache
def _primes(low: int, high: int) -> list[int]:
    """All primes between two numbers, by the sieve of Eratosthenes."""
    sieve = bytearray([1]) * (high - low)
    for factor in range(2, int(high**0.5) + 1):
        first = max(factor * factor, -(-low // factor) * factor)
        sieve[first - low :: factor] = bytes(len(range(first, high, factor)))
    return [low + place for place, prime in enumerate(sieve) if prime]
