"""One vector out of those of all layers, by attention."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from isometry.pooling.latent_attention import LatentAttention


class MultiLayer(nn.Module):
    """Latents ask the vectors of all layers (Tang and Yang 2024, "Pooling And Attention").

    The paper's multi-layer trainable pooling: `LatentAttention` over one vector a layer, to which a
    trained vector of the layer is added. How a layer became one vector is decided before: the paper
    takes the last token under a causal mask, and the masked mean otherwise. The official code is
    bound to 32 layers.

    Args:
        d: The width.
        layers: How many layers there are; the output of the embeddings is none.
        latents: How many latents ask.
        heads: Of the attention.
        head_dim: The width of a head; the states' width shared out by default.
        positions: Whether layers have vectors of their own. Without, their order does not count.
    """

    def __init__(
        self,
        d: int,
        layers: int,
        latents: int,
        heads: int,
        *,
        head_dim: int | None = None,
        positions: bool = True,
    ) -> None:
        super().__init__()
        self.attention = LatentAttention(
            d, latents, heads, "latents", head_dim=head_dim, positions=layers if positions else 0
        )

    def forward(self, layers: Float[Tensor, "layers b d"]) -> Float[Tensor, "b d"]:
        """One vector a row, as `TextEncoder.pooled_layers` gives the layers.

        Raises:
            InputError: When there are more or fewer layers than positions.
        """
        states = layers.transpose(0, 1)
        every = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return self.attention(states, every)


def last_layer(states: Float[np.ndarray, "n layers d"]) -> Float[np.ndarray, "n layers d"]:
    """The last layer in the place of each: as many weights to train, nothing else to see."""
    return np.repeat(states[:, -1:], states.shape[1], axis=1)
