"""A layer of self-attention before the mean."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from isometry.core.errors import InputError
from isometry.pooling.mean import Mean, check_mask


class SelfAttention(nn.Module):
    """States look at each other once more, through a fresh transformer layer, then their mean.

    What latent attention is compared with (Lee et al. 2024, "NV-Embed", section 3.1 and table 2):
    the same shape of a block, without a dictionary. The layer is torch's, with its norms first.

    Args:
        d: The width of the states.
        heads: Of the attention; they divide the width.
        hidden: The width between the two dense layers.

    Raises:
        InputError: When the heads do not divide the width.
    """

    def __init__(self, d: int, heads: int, hidden: int) -> None:
        super().__init__()
        if heads < 1 or d % heads:
            raise InputError(f"{heads} heads do not divide a width of {d}.")
        self.layer = nn.TransformerEncoderLayer(
            d, heads, hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.mean = Mean()

    def forward(
        self, states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b d"]:
        """One vector a row; masked states are neither looked at nor averaged.

        Raises:
            InputError: When nothing of a row counts.
        """
        check_mask(mask)
        return self.mean(self.layer(states, src_key_padding_mask=~mask), mask)
