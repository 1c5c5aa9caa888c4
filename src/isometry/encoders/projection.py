"""The projection on the first dimensions, which a cut model keeps."""

from __future__ import annotations

import torch
from torch import nn


def first_dimensions(part: nn.Module) -> int | None:
    """How many of the first dimensions a module passes on; None for one that does anything else.

    Args:
        part: A module of a sentence-transformers model.
    """
    from sentence_transformers.base.modules import Dense

    if not isinstance(part, Dense) or part.use_residual or part.bias:
        return None
    if {part.module_input_name, part.module_output_name} != {"sentence_embedding"}:
        return None
    weight = part.linear.weight
    is_plain = isinstance(part.activation_function, nn.Identity)
    same = torch.equal(weight, torch.eye(*weight.shape, dtype=weight.dtype, device=weight.device))
    return part.out_features if is_plain and same else None
