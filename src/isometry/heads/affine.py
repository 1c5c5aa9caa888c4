"""A linear layer that starts as a map that is known, and is trained on from there."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import nn


def affine_layer(
    matrix: Float[np.ndarray, "d k"], mean: Float[np.ndarray, " d"] | None = None
) -> nn.Linear:
    """A layer that starts as `(x - mean) @ matrix`: the identity, a whitening, a rotation.

    Args:
        matrix: From the dimensions that come in to those that go out.
        mean: What is subtracted first; nothing by default.
    """
    layer = nn.Linear(*matrix.shape)
    shift = np.zeros(len(matrix)) if mean is None else mean
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(matrix.T.copy()))
        layer.bias.copy_(torch.from_numpy(-shift @ matrix))
    return layer
