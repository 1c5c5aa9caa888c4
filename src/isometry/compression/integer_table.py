"""One or two bytes a number, also while it is trained (INT8, INT16)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from isometry.compression.codec import (
    Codec,
    FreezableTable,
    below_floor,
    checked_table,
    generator_of,
    normal,
)
from isometry.core.errors import InputError
from isometry.geometry.straight_through import straight_through

Bits = Literal[8, 16]


def round_randomly(
    values: Float[Tensor, "*shape"], generator: torch.Generator | None = None
) -> Float[Tensor, "*shape"]:
    """Rounds down or up by chance, so that the mean over many draws is the value itself."""
    chance = torch.rand(values.shape, generator=generator)
    return (values + chance.to(values.device)).floor()


class IntegerTable(Codec):
    """Whole numbers times a step: one for all rows, or one a row.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        bits: Of a number, 8 or 16.
        steps: How many steps there are: 1, or `n`.

    Raises:
        InputError: When the bits are others.
    """

    numbers: Tensor
    steps: Tensor

    def __init__(self, n: int, dim: int, bits: Bits = 8, steps: int = 1) -> None:
        super().__init__(n, dim)
        check_bits(bits)
        self.bits: Bits = bits
        kind = torch.int8 if bits == 8 else torch.int16
        self.register_buffer("numbers", torch.zeros(n, dim, dtype=kind))
        self.register_buffer("steps", torch.ones(steps, 1))

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        return {"n": self.n, "dim": self.dim, "bits": self.bits, "steps": len(self.steps)}

    @classmethod
    def fit(cls, table: Float[Tensor, "n dim"], budget: int) -> IntegerTable:
        """Rounds each number to the nearest step; a row's largest is its last step.

        Raises:
            InputError: When the budget is below 8 bits a number and a step a row, or a number is
                not finite.
        """
        table = checked_table(table)
        n, dim = table.shape
        bits: Bits = 16 if budget >= n * (2 * dim + 4) else 8
        codec = cls(n, dim, bits, steps=n)
        if budget < codec.nbytes:
            sizes = codec.nbytes, n * (2 * dim + 4)
            raise below_floor(cls.__name__, budget, sizes[0], n, dim, sizes[1])
        largest = table.abs().amax(dim=1, keepdim=True)
        steps = torch.where(largest == 0, 1, largest / (2 ** (bits - 1) - 1))
        codec.steps.copy_(steps)
        codec.numbers.copy_((table / steps).round())
        return codec

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The numbers times their step."""
        steps = self.steps[ids] if len(self.steps) > 1 else self.steps[0]
        return functional.embedding(ids, self.numbers).float() * steps


class IntegerTraining(FreezableTable):
    """A table whose rows are on the steps whenever they are read.

    As in the survey (Zhang et al. 2024, arXiv 2311.15578): an update is made in float and then
    rounded by chance, to q = clip(floor(e / step + u)) with u uniform in [0, 1). Nearest rounding
    would undo every update below half a step. A row is rounded when it is read next; until then it
    is kept in float, and an optimiser with momentum may have moved it on. Torch's optimisers know
    no whole numbers, so training takes the memory of floats here.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        bits: Of a number, 8 or 16.
        step: Between two numbers.
        seed: Of the rounding.

    Raises:
        InputError: When the bits are others.
    """

    # Whether rows have steps of their own.
    by_row: ClassVar[bool] = False

    count: Tensor
    step: Tensor

    def __init__(
        self, n: int, dim: int, *, bits: Bits = 8, step: float = 0.01, seed: int = 0
    ) -> None:
        super().__init__(n, dim)
        check_bits(bits)
        self.bits: Bits = bits
        self.seed = seed
        self.rows = normal(n, dim)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.keep_step(step)

    def keep_step(self, step: float) -> None:
        """Makes the tensor that `step_of` reads: one step for all rows, which stays."""
        self.register_buffer("step", torch.full((1, 1), step))

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest whole number."""
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1

    def step_of(self, ids: Int[Tensor, " b"]) -> Float[Tensor, "b one"]:
        """The step of each id."""
        return self.step.expand(len(ids), 1)

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """Rows on the steps, with the gradient of the rows."""
        distinct, places = ids.flatten().unique(return_inverse=True)
        rows, steps = functional.embedding(distinct, self.rows), self.step_of(distinct)
        with torch.no_grad():
            numbers = self._rounded(rows / steps)
        vectors = self.decoded(rows, steps, numbers)
        if self.training:
            with torch.no_grad():
                self.rows[distinct] = numbers * steps
        return vectors.index_select(0, places).view(*ids.shape, self.dim)

    def decoded(
        self, rows: Float[Tensor, "b dim"], steps: Float[Tensor, "b one"], numbers: Tensor
    ) -> Float[Tensor, "b dim"]:
        """The numbers times their steps, with the gradient of the rows."""
        return straight_through(numbers * steps, rows)

    def _rounded(self, values: Tensor) -> Tensor:
        if not self.training:
            return values.round().clamp(*self.range)
        generator = generator_of(self.seed, int(self.count))
        self.count += 1
        return round_randomly(values, generator).clamp(*self.range)

    @torch.no_grad()
    def freeze(self) -> IntegerTable:
        """The whole numbers."""
        ids = torch.arange(self.n, device=self.rows.device)
        steps = self.step_of(ids)
        codec = IntegerTable(self.n, self.dim, self.bits, self.n if self.by_row else 1)
        codec.steps.copy_(steps[: len(codec.steps)])
        codec.numbers.copy_((self.rows / steps).round().clamp(*self.range))
        return codec


def check_bits(bits: int) -> None:
    """Raises InputError for whole numbers of another size than there are."""
    if bits not in (8, 16):
        raise InputError(
            f"Whole numbers of {bits} bits are not possible here.",
            "There are 8 and 16: the rates 1/4 and 1/2.",
        )
