"""Graded pairs, ranked: what people call more alike shall score higher."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class CoSENT(nn.Module):
    """The order of pairs by cosine (Huang et al. 2024, "CoSENT").

    log(1 + sum of exp((score of j - score of i) / temperature)) over all i that are graded above
    j. Only the order of the grades counts, and equal grades make no claim: a batch of one grade
    costs 0.

    Args:
        temperature: Divides the differences of scores.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> round(float(CoSENT(temperature=1.0)(a, b, torch.tensor([0.2, 0.9]))), 6)
        1.313262
    """

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.temperature = temperature

    def forward(
        self, a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], gold: Float[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """The loss of all pairs together; it grows with their number, as published.

        Args:
            a: One side of each pair.
            b: The other side.
            gold: The grade of each pair, on any scale; more means more alike.

        Raises:
            ValueError: For fewer than two pairs.
        """
        return _ranking(functional.cosine_similarity(a, b), gold, self.temperature)


class AnglE(nn.Module):
    """The order of pairs by their quotient in complex space (Li and Li 2024, "AoE", equation 3).

    A vector is read as d/2 complex numbers, its first half the real parts. The numbers of `a` are
    divided by those of `b`, and the score is the absolute sum of all real and imaginary parts.
    Unlike a cosine it has a slope where the two are the same.

    Two things are as in the authors' code, not their paper. Lengths are those of whole vectors,
    not of single numbers, so that the score is |Re z + Im z| of the pair's complex cosine z. And
    the larger score counts as more alike, where the equation subtracts in the other order. The
    authors train the sum of this, `CoSENT` and in-batch `InfoNCE`; 2DMSE has a temperature of 1
    here, their later code and sentence-transformers have 0.05.

    Args:
        temperature: Divides the differences of scores.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        >>> round(float(AnglE(temperature=1.0)(a, b, torch.tensor([0.9, 0.2]))), 6)
        0.371101
    """

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.temperature = temperature

    def forward(
        self, a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], gold: Float[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """The loss of all pairs together; the arguments are those of `CoSENT.forward`.

        Raises:
            ValueError: For an odd number of dimensions, or fewer than two pairs.
        """
        if a.shape[1] % 2:
            raise ValueError(f"complex numbers need an even number of dimensions, not {a.shape[1]}")
        a, b = functional.normalize(a, dim=-1), functional.normalize(b, dim=-1)
        real_a, imaginary_a = a.chunk(2, dim=-1)
        real_b, imaginary_b = b.chunk(2, dim=-1)
        real = (real_a * real_b + imaginary_a * imaginary_b).sum(dim=-1)
        imaginary = (imaginary_a * real_b - real_a * imaginary_b).sum(dim=-1)
        return _ranking((real + imaginary).abs(), gold, self.temperature)


def _ranking(
    scores: Float[Tensor, " n"], gold: Float[Tensor, " n"], temperature: float
) -> Float[Tensor, ""]:
    if scores.shape[0] < 2:
        raise ValueError("an order needs at least two pairs")
    # [i, j]: by how much j leads i, where i is graded above it.
    leads = (scores[None] - scores[:, None]) / temperature
    leads = leads.masked_fill(gold[:, None] <= gold[None], -torch.inf)
    return torch.logsumexp(torch.cat([scores.new_zeros(1), leads.flatten()]), dim=0)
