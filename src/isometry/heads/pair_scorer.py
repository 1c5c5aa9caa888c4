"""Two vectors -> how probable it is that they belong together, in this order."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class PairScorer(nn.Module):
    """A biaffine score: `first W second + √d u [first; second] + b`, and a bias by their distance.

    Dozat and Manning 2017, "Deep Biaffine Attention for Neural Dependency Parsing", equation 2. W
    is not symmetric: a cause is not the effect of its effect. All starts at zero, as in their code.
    Of few pairs W, with the square of d numbers, learns the noise before u learns anything; with
    the factor, a step of Adam moves both parts of a score of unit vectors by about as much.

    Args:
        d: The width of both vectors.
        distances: How many distances have a bias of their own, from 0; what is farther shares the
            last one. 0 where distances do not count.
    """

    def __init__(self, d: int, *, distances: int = 0) -> None:
        super().__init__()
        self.bilinear = nn.Parameter(torch.zeros(d, d))
        self.linear = nn.Linear(2 * d, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.distance = nn.Parameter(torch.zeros(distances)) if distances else None

    def forward(
        self,
        first: Float[Tensor, "n d"],
        second: Float[Tensor, "n d"],
        distances: Int[Tensor, " n"] | None = None,
    ) -> Float[Tensor, " n"]:
        """A logit for each pair.

        Args:
            first: One side.
            second: The other.
            distances: From 0; needed if they have biases.

        Raises:
            ValueError: When distances are missing, or given to a scorer without biases.
        """
        if (distances is None) != (self.distance is None):
            raise ValueError("distances are needed where they have a bias, and nowhere else")
        scores = ((first @ self.bilinear) * second).sum(dim=-1)
        both = len(self.bilinear) ** 0.5 * torch.cat([first, second], dim=-1)
        scores = scores + self.linear(both).squeeze(-1)
        if self.distance is not None and distances is not None:
            scores = scores + self.distance[distances.clamp(max=len(self.distance) - 1)]
        return scores
