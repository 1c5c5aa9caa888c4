"""Whole numbers whose step is learned, one for each row (ALPT)."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isometry.compression.integer_table import Bits, IntegerTraining
from isometry.geometry.straight_through import straight_through


class ALPT(IntegerTraining):
    """`IntegerTraining` that also learns each row's step.

    Li et al. 2023, "Adaptive Low-Precision Training for Embeddings in Click-Through Rate
    Prediction". The gradient of the step is that of learned step size quantization
    (Esser et al. 2020, equation 3): q - e / step where the number q is in its range, and q where it
    was clipped.

    The paper runs the model twice a step, first to update rows, then to update the steps with the
    rows that are new; here a row's step gets its gradient when the row is read next, so once is
    enough. The logarithm of the factor by which it changed is what is learned: all weights have one
    optimiser and one rate, and a rate that is right for rows would be far too great for steps of a
    hundredth; and where weights decay, a step goes back to its start and to no other. The paper
    gives steps a rate of their own, 2e-5.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        bits: Of a number, 8 or 16.
        step: Between two numbers, at the start.
        seed: Of the rounding.

    Raises:
        InputError: When the bits are others.
    """

    start: Tensor

    by_row: ClassVar[bool] = True

    def __init__(
        self, n: int, dim: int, *, bits: Bits = 8, step: float = 0.01, seed: int = 0
    ) -> None:
        super().__init__(n, dim, bits=bits, step=step, seed=seed)

    def keep_step(self, step: float) -> None:
        """Makes what `step_of` reads: the first step, and the logarithm of what it is times."""
        self.register_buffer("start", torch.tensor(step))
        self.log_factor = nn.Parameter(torch.zeros(self.n, 1))

    def step_of(self, ids: Int[Tensor, " b"]) -> Float[Tensor, "b one"]:
        """The step of each id."""
        return self.start * functional.embedding(ids, self.log_factor).exp()

    def decoded(
        self, rows: Float[Tensor, "b dim"], steps: Float[Tensor, "b one"], numbers: Tensor
    ) -> Float[Tensor, "b dim"]:
        """The numbers times their steps, with the gradients of rows and steps."""
        with torch.no_grad():
            exact = rows / steps
            low, high = self.range
            clipped = (exact < low) | (exact > high)
            slope = torch.where(clipped, numbers, numbers - exact)
        return straight_through(numbers * steps, rows + slope * steps)
