"""Learned codes for the parts of a vector, of which rare ids may use only a few (MGQE)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isometry.compression.budget_solver import solve
from isometry.compression.codec import Codec, FreezableTable, as_served, normal
from isometry.compression.packing import IdSet, pack, packed_size, unpack
from isometry.compression.product_quantization import uneven_parts
from isometry.geometry.straight_through import straight_through

_BITS, _RARE_BITS = 8, 6


class GranularCodes(Codec):
    """Codes of 8 bits a part for frequent ids, of 6 for the others, and the centroids.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        parts: Into how many a vector is cut.
        frequent: How many ids are frequent.

    Raises:
        InputError: When vectors cannot be cut into so many equal parts.
    """

    codes: Tensor
    rare_codes: Tensor
    codebooks: Tensor

    def __init__(self, n: int, dim: int, parts: int, frequent: int) -> None:
        super().__init__(n, dim)
        if parts < 1 or dim % parts:
            raise uneven_parts(dim, parts)
        self.parts = parts
        self.frequent = IdSet(n)
        rare = packed_size((n - frequent) * parts, _RARE_BITS)
        self.register_buffer("codes", torch.zeros(frequent, parts, dtype=torch.uint8))
        self.register_buffer("rare_codes", torch.zeros(rare, dtype=torch.uint8))
        self.register_buffer("codebooks", torch.zeros(parts, 2**_BITS, dim // parts))

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        frequent = len(self.codes)
        return {"n": self.n, "dim": self.dim, "parts": self.parts, "frequent": frequent}

    def codes_of(self, ids: Int[Tensor, "*b"]) -> Int[Tensor, "*b parts"]:
        """The number of the centroid of each part."""
        below, frequent = self.frequent.count_below(ids), self.frequent.has(ids)
        part = torch.arange(self.parts, device=ids.device)
        found = torch.zeros(*ids.shape, self.parts, dtype=torch.int64, device=ids.device)
        found[frequent] = self.codes[below[frequent]].long()
        rare = (ids - below)[~frequent].unsqueeze(-1) * self.parts + part
        found[~frequent] = unpack(self.rare_codes, rare, _RARE_BITS) if rare.numel() else rare
        return found

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The centroids in a row."""
        part = torch.arange(self.parts, device=ids.device)
        return self.codebooks[part, self.codes_of(ids)].flatten(start_dim=-2)


class MGQE(FreezableTable):
    """A whole table, trained together with centroids that come to stand for it.

    Kang et al. 2020, "Learning Multi-granular Quantized Embeddings for Large-Vocab Categorical
    Features in Recommender Systems", on Chen et al. 2020, "Differentiable Product
    Quantization" (the vector-quantized variant). The vector that comes out is made of centroids;
    its gradient goes to the id's own row. The penalty pulls the centroids to the rows.

    How near a row is to each centroid is normalised over the batch before the nearest is taken, so
    that all are used: here for each centroid of each part, in the official code of that paper
    (`kd_quantizer.py`) for each centroid over all parts together. In training a batch needs two
    different ids.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        parts: Into how many a vector is cut.
        frequent: The ids that may use all 256 centroids; the others use the first 64.

    Raises:
        InputError: When vectors cannot be cut into so many equal parts.
    """

    frequent: Tensor

    def __init__(self, n: int, dim: int, parts: int, frequent: Bool[Tensor, " n"]) -> None:
        super().__init__(n, dim)
        if parts < 1 or dim % parts:
            raise uneven_parts(dim, parts)
        self.parts = parts
        self.rows = normal(n, dim)
        self.codebooks = normal(parts, 2**_BITS, dim // parts)
        self.respond = nn.BatchNorm1d(parts * 2**_BITS, affine=False)
        self.register_buffer("frequent", frequent.clone())
        self._penalty = torch.zeros(())

    @classmethod
    def sized(cls, counts: Int[Tensor, " n"], dim: int, budget: int, share: float = 0.1) -> MGQE:
        """As many parts as keep a budget once it is frozen.

        Args:
            counts: How often each id occurs where it is trained.
            dim: The length of a vector.
            budget: In bytes.
            share: Of the ids, how many are frequent.
        """
        n = len(counts)
        most = counts.argsort(descending=True, stable=True)[: max(1, int(share * n))]
        divisors = [parts for parts in range(1, dim + 1) if dim % parts == 0]
        parts = solve(lambda parts: GranularCodes(n, dim, parts, len(most)), divisors, budget)
        frequent = torch.zeros(n, dtype=torch.bool)
        frequent[most] = True
        return cls(n, dim, parts, frequent)

    @torch.no_grad()
    def codes_of(self, ids: Int[Tensor, " b"]) -> Int[Tensor, "b parts"]:
        """The centroid that responds most: the nearest, by distances that BatchNorm evens out."""
        rows = functional.embedding(ids, self.rows).view(len(ids), self.parts, -1)
        products = torch.einsum("bpw,pkw->bpk", rows, self.codebooks)
        squares = self.codebooks.square().sum(dim=-1)
        response = 2 * products - squares - rows.square().sum(dim=-1, keepdim=True)
        response = self.respond(response.flatten(start_dim=1)).view(response.shape)
        beyond = torch.arange(2**_BITS, device=ids.device) >= 2**_RARE_BITS
        closed = ~self.frequent[ids, None, None] & beyond
        return response.masked_fill(closed, -torch.inf).argmax(dim=-1)

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The centroids of each id's row, with the gradient of the row."""
        flat = ids.flatten()
        rows = functional.embedding(flat, self.rows)
        distinct, places = flat.unique(return_inverse=True)
        codes = self.codes_of(distinct)[places]
        part = torch.arange(self.parts, device=ids.device)
        numbers = codes + part * 2**_BITS
        centroids = functional.embedding(numbers, self.codebooks.flatten(0, 1)).flatten(1)
        self._penalty = (centroids - rows.detach()).square().mean()
        return straight_through(centroids, rows).view(*ids.shape, self.dim)

    def __getstate__(self) -> dict[str, Any]:
        # The last batch's graph is no part of a copy, and cannot be copied.
        return {**self.__dict__, "_penalty": torch.zeros(())}

    def penalty(self) -> Float[Tensor, ""]:
        """How far the centroids of the last batch are from its rows; their gradient alone."""
        return self._penalty

    @torch.no_grad()
    def freeze(self) -> GranularCodes:
        """The codes of all ids, without the rows."""
        ids = torch.arange(self.n, device=self.rows.device)
        codec = GranularCodes(self.n, self.dim, self.parts, int(self.frequent.sum()))
        with as_served(self):
            codes = torch.cat([self.codes_of(some) for some in ids.split(4096)])
        codec.frequent.fill(self.frequent)
        codec.codes.copy_(codes[self.frequent])
        codec.rare_codes.copy_(pack(codes[~self.frequent].flatten(), _RARE_BITS))
        codec.codebooks.copy_(self.codebooks)
        return codec
