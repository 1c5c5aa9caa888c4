"""One vector out of those of all layers, without more than a weight for each."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isometry.core.errors import InputError


class LayerMix(nn.Module):
    """A weighted mean of layers: `scale * sum_l softmax(weights)_l h_l`.

    The scalar mix of ELMo (Peters et al. 2018, equation 1): one number a layer, and the scale. It
    starts as the plain mean.

    Args:
        layers: How many there are.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"a mix needs at least one layer, not {layers}")
        self.weights = nn.Parameter(torch.zeros(layers))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, layers: Float[Tensor, "layers *rest d"]) -> Float[Tensor, "*rest d"]:
        """The mix, of vectors or of token states.

        Raises:
            InputError: When there are more or fewer layers than weights.
        """
        if len(layers) != len(self.weights):
            raise InputError(
                f"There are states of {len(layers)} layers, but weights for {len(self.weights)}.",
                "The output of the embeddings is no layer.",
            )
        return self.scale * torch.tensordot(self.weights.softmax(0).to(layers.dtype), layers, 1)


def concat_layers(layers: Float[Tensor, "layers *rest d"]) -> Float[Tensor, "*rest wide"]:
    """The vectors of all layers behind one another, lowest first."""
    return torch.cat(list(layers), dim=-1)
