"""The mean of the states that count."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from isometry.core.errors import InputError


class Mean(nn.Module):
    """The mean over the mask; where the padding stands, and what is in it, does not matter."""

    def forward(
        self, states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b d"]:
        """One vector a row, in the states' own precision.

        Args:
            states: Of tokens, layers or patches.
            mask: True where a state counts: neither padding nor, where there is one, the prompt.

        Raises:
            InputError: When nothing of a row counts.
        """
        check_mask(mask)
        # Added up in float32 at least: long sums in half precision lose what comes late.
        exact = torch.promote_types(states.dtype, torch.float32)
        total = states.masked_fill(~mask[..., None], 0).sum(dim=1, dtype=exact)
        return (total / mask.sum(dim=1, keepdim=True)).to(states.dtype)


def check_mask(mask: Bool[Tensor, "b n"]) -> None:
    """Raises InputError with the number of the first row of which nothing is left to pool."""
    empty = ~mask.any(dim=1)
    if empty.any():
        raise InputError(
            f"Nothing of row {int(empty.nonzero()[0])} is left to pool.",
            "Leave empty texts out; a prompt that is masked must leave room for its text.",
        )
