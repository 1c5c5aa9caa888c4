"""Which of two is the better one."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Preference(nn.Module):
    """A loss on the lead of the better score of each pair.

    With lead = better - worse:

    - "logistic": log(1 + exp(-lead)), the cross-entropy of the pair's softmax (RankNet, Burges
      et al. 2005).
    - "hinge": max(0, 1 - lead), which stops once the lead is 1 (PROP, Ma et al. 2021).
    - "softmax_margin": 1 - (p+ - p-) with p the softmax over the pair, what PROP's code computes
      in the name of that hinge. It is 0 nowhere, and learns nothing from a badly wrong pair.

    Args:
        kind: Which of these.

    Raises:
        ValueError: For another kind.

    Example:
        >>> better, worse = torch.tensor([1.0]), torch.tensor([0.0])
        >>> round(float(Preference()(better, worse)), 6)
        0.313262
    """

    def __init__(self, kind: Literal["logistic", "hinge", "softmax_margin"] = "logistic") -> None:
        super().__init__()
        if kind not in ("logistic", "hinge", "softmax_margin"):
            raise ValueError(f"there is no preference {kind!r}")
        self.kind = kind

    def forward(self, better: Float[Tensor, " n"], worse: Float[Tensor, " n"]) -> Float[Tensor, ""]:
        """The mean loss of the pairs.

        Args:
            better: The scores that should be the larger ones.
            worse: The scores that they are compared with, pair by pair.

        Raises:
            ValueError: For no pair.
        """
        if better.shape[0] == 0:
            raise ValueError("a preference needs at least one pair")
        lead = better - worse
        if self.kind == "logistic":
            return functional.softplus(-lead).mean()
        if self.kind == "hinge":
            return functional.relu(1 - lead).mean()
        return 2 * torch.sigmoid(-lead).mean()
