"""Which rows a table can do without, and how long the others must be (OptEmbed)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isometry.compression.budget_solver import solve
from isometry.compression.codec import Codec, TrainedTable, as_served, generator_of, normal
from isometry.compression.compressed_embedding import CompressedEmbedding
from isometry.compression.fields import field_of, starts_of
from isometry.compression.packing import IdSet
from isometry.core.errors import InputError
from isometry.geometry.straight_through import straight_through

_PENALTY = 1e-5


class PrefixRows(Codec):
    """Rows of some ids, of which the first numbers are stored; everything else is zero.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        kept: How many ids have a row.
        width: How many numbers of it are stored.
    """

    def __init__(self, n: int, dim: int, kept: int, width: int) -> None:
        super().__init__(n, dim)
        self.owners = IdSet(n)
        self.rows = normal(kept, width)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        kept, width = self.rows.shape
        return {"n": self.n, "dim": self.dim, "kept": kept, "width": width}

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The stored numbers, and zeros."""
        kept, width = self.rows.shape
        if not kept:
            return torch.zeros(*ids.shape, self.dim, device=ids.device)
        row = self.owners.count_below(ids).clamp(max=kept - 1)
        found = functional.embedding(row, self.rows) * self.owners.has(ids).unsqueeze(-1)
        return functional.pad(found, (0, self.dim - width))


class OptEmbed(TrainedTable):
    """A whole table in which rows below their field's threshold, and random ends, are left out.

    Lyu et al. 2022, "OptEmbed: Learning Optimal Embedding Table for Click-through Rate Prediction",
    as the survey's official code has it (Zhang et al. 2024, arXiv 2311.15578). A row counts if the
    sum of its magnitudes is above the threshold of its field, which is learned with a penalty of
    exp(-threshold); in the place of the step's derivative at x stands 2 - 4|x| up to 0.4, then 0.4
    up to 1, then 0. In training each vector is cut to a random length, so that all lengths can be
    tried afterwards.

    What it finds is kept rows and, by `evolve`, a width for each field (`best_within`), which are
    trained further. Neither thresholds nor widths of the paper are bound by a budget; here
    thresholds rise together until the rows fit it at half their length, and widths that do not fit
    are not tried.

    Args:
        fields: How many ids each field has.
        dim: The length of a vector.
        seed: Of the lengths.
    """

    count: Tensor
    starts: Tensor

    def __init__(self, fields: Sequence[int], dim: int, seed: int = 0) -> None:
        super().__init__(sum(fields), dim)
        self.fields = list(fields)
        self.seed = seed
        self.rows = normal(self.n, dim)
        self.thresholds = nn.Parameter(torch.zeros(len(fields), 1))
        self.register_buffer("starts", starts_of(self.fields))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def field_of(self, ids: Int[Tensor, "*b"]) -> Int[Tensor, "*b"]:
        """The field of each id."""
        return field_of(ids, self.starts)

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """Rows above their threshold; in training mode cut to random lengths."""
        rows = functional.embedding(ids, self.rows)
        thresholds = functional.embedding(self.field_of(ids), self.thresholds)
        above = rows.abs().sum(dim=-1, keepdim=True) - thresholds
        rows = rows * straight_through((above > 0).float(), _long_tail(above))
        if not self.training:
            return rows
        generator = generator_of(self.seed, int(self.count))
        self.count += 1
        lengths = torch.randint(1, self.dim + 1, (*ids.shape, 1), generator=generator)
        return rows * (torch.arange(self.dim) < lengths).to(rows.device)

    def cut(self, ids: Int[Tensor, "*b"], widths: Sequence[int]) -> Float[Tensor, "*b dim"]:
        """The rows above their threshold, each cut to its field's width."""
        lengths = torch.tensor(list(widths), device=ids.device)[self.field_of(ids)].unsqueeze(-1)
        with as_served(self):
            return self(ids) * (torch.arange(self.dim, device=ids.device) < lengths)

    def penalty(self) -> Float[Tensor, ""]:
        """Less, the higher the thresholds are."""
        return _PENALTY * (-self.thresholds).exp().sum()

    @torch.no_grad()
    def raise_thresholds(self, budget: int) -> None:
        """Raises all thresholds alike until what is above them fits a budget at half its length.

        Raises:
            InputError: When not even one row does.
        """
        field = self.field_of(torch.arange(self.n, device=self.rows.device))
        above = self.rows.abs().sum(dim=1) - self.thresholds[field, 0]
        half, counts = max(1, self.dim // 2), range(1, self.n + 1)
        room = solve(lambda kept: PrefixRows(self.n, self.dim, kept, half), counts, budget)
        if room < self.n:
            self.thresholds += above.topk(room + 1).values[-1].clamp(min=0)

    def kept(self) -> Bool[Tensor, " n"]:
        """Which rows are above their threshold."""
        ids = torch.arange(self.n, device=self.rows.device)
        norms = self.rows.detach().abs().sum(dim=1)
        return norms > self.thresholds.detach()[self.field_of(ids), 0]

    @torch.no_grad()
    def frozen(self, widths: Sequence[int]) -> CompressedEmbedding:
        """The rows that are kept, cut to their field's width."""
        parts: list[PrefixRows] = []
        groups = zip(self.rows.split(self.fields), self.kept().split(self.fields), strict=True)
        for (rows, kept), width in zip(groups, widths, strict=True):
            part = PrefixRows(len(rows), self.dim, int(kept.sum()), width)
            part.owners.fill(kept)
            part.rows.copy_(rows[kept, :width])
            parts.append(part)
        return CompressedEmbedding(parts)

    def fitting(self, budget: int) -> Callable[[Sequence[int]], bool]:
        """Says of widths whether they keep a budget with the rows that are kept now."""
        kept = [int(part.sum()) for part in self.kept().split(self.fields)]
        sets = sum(PrefixRows(n, self.dim, 0, 0).nbytes for n in self.fields)

        def fits(widths: Sequence[int]) -> bool:
            numbers = sum(rows * width for rows, width in zip(kept, widths, strict=True))
            return sets + 4 * numbers <= budget

        return fits

    def best_within(
        self,
        budget: int,
        score: Callable[[Sequence[int]], float],
        *,
        generations: int = 30,
        seed: int = 0,
    ) -> CompressedEmbedding:
        """The rows above thresholds that are high enough, cut to the best widths that fit.

        Args:
            budget: In bytes.
            score: Of widths, the higher the better, on validation data; see `cut`.
            generations: See `evolve`.
            seed: Of its draws.

        Raises:
            InputError: When not even one row fits, or not even widths of 1 do.
        """
        self.raise_thresholds(budget)
        fits, fields = self.fitting(budget), len(self.fields)
        widths = evolve(fields, self.dim, score, fits, generations=generations, seed=seed)
        return self.frozen(widths)


def evolve(
    fields: int,
    dim: int,
    score: Callable[[Sequence[int]], float],
    fits: Callable[[Sequence[int]], bool],
    *,
    generations: int = 30,
    children: int = 10,
    chance: float = 0.1,
    seed: int = 0,
) -> list[int]:
    """Widths of fields by evolution: the best seen, of those that fit.

    A generation is made of mutants and of crossings of the best, as many of each. The official code
    changes the best in place as it mutates them, and crosses what is left; here they stay.

    Args:
        fields: How many widths there are.
        dim: The greatest width; the least is 1.
        score: The higher the better, on validation data.
        fits: Whether widths may be tried.
        generations: How many there are.
        children: How many mutants, and how many crossings, make one.
        chance: Of each width of a mutant, to be drawn anew.
        seed: Of all draws.

    Raises:
        InputError: When not even widths of 1 fit.
    """
    random = np.random.default_rng(seed)

    def fitted(widths: np.ndarray) -> np.ndarray:
        while not fits(widths.tolist()):
            wide = np.flatnonzero(widths > 1)
            if not len(wide):
                raise InputError(
                    "Even vectors of one number take more than the budget.",
                    "Raise the thresholds, so that fewer rows are kept.",
                )
            widths[random.choice(wide)] -= 1
        return widths

    def drawn() -> np.ndarray:
        return random.integers(1, dim + 1, fields)

    pool = [fitted(drawn()) for _ in range(2 * children)]
    best, most = pool[0], -np.inf
    for _ in range(generations):
        ranked = sorted(((score(one.tolist()), place) for place, one in enumerate(pool)))[::-1]
        if ranked[0][0] > most:
            most, best = ranked[0][0], pool[ranked[0][1]]
        parents = [pool[place] for _, place in ranked[:children]]
        mutants = [
            fitted(np.where(random.random(fields) < chance, drawn(), one)) for one in parents
        ]
        crossings = [
            fitted(np.where(np.arange(fields) < random.integers(1, max(2, fields)), *pair))
            for pair in (
                [parents[place] for place in random.integers(len(parents), size=2)]
                for _ in range(children)
            )
        ]
        pool = mutants + crossings
    return best.tolist()


def _long_tail(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """An odd function whose derivative is 2 - 4|x| up to 0.4, 0.4 up to 1, and 0 beyond."""
    size = x.abs()
    near, far = size.clamp(max=0.4), size.clamp(min=0.4, max=1.0)
    return x.sign() * (2 * near - 2 * near.square() + 0.4 * (far - 0.4))
