"""The last state that counts."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from isometry.pooling.mean import check_mask


class Last(nn.Module):
    """The state of the last token, which alone has read the whole text under a causal mask.

    Where the tokenizer ends every text with a token of its own, this is that token (EOS pooling).
    The place comes from the mask, not from a number of tokens: padding may stand on either side.
    """

    def forward(
        self, states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b d"]:
        """One vector a row.

        Args:
            states: Of tokens.
            mask: True where a state counts.

        Raises:
            InputError: When nothing of a row counts.
        """
        check_mask(mask)
        places = torch.arange(mask.shape[1], device=mask.device)
        last = torch.where(mask, places, -1).amax(dim=1)
        return states[torch.arange(len(states), device=states.device), last]
