"""Whether weights are numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from isometry.core.errors import InputError
from isometry.encoders.text import TextEncoder


def is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite; without a second tensor of the size."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def check_finite(encoder: TextEncoder) -> None:
    """Refuses an encoder with broken weights, some of which the texts at hand may not reach.

    Raises:
        InputError: With the name of the first such parameter.
    """
    for name, weights in encoder.named_parameters():
        if not is_finite(weights.detach()):
            raise InputError(f"The model '{encoder.name}' has NaN or infinity in {name}.")
