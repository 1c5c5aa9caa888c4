"""The vectors of a text encoder on other axes."""

from __future__ import annotations

import copy

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from isometry.core.errors import InputError
from isometry.encoders.text import TextEncoder


def project(encoder: TextEncoder, axes: Float[np.ndarray, "dim width"]) -> TextEncoder:
    """An encoder whose pooled vectors are projected on other axes, and then normalised.

    The axes are a `Dense` without bias, as in the recipe for fewer dimensions of
    sentence-transformers, so plain `SentenceTransformer(folder)` loads what is saved. It is
    trained; `truncate` keeps the first dimensions by one that is not.

    Args:
        encoder: Transformer and pooling, with a normalisation or without; it is left as it is.
        axes: The rows that vectors are projected on.

    Raises:
        InputError: When the encoder is more than that, or of another width.
    """
    from sentence_transformers.base.modules import Dense, Normalize

    model = copy.deepcopy(encoder.model)
    if len(model) > 3 or (len(model) == 3 and not isinstance(model[2], Normalize)):
        chain = " -> ".join(type(part).__name__ for part in model)
        raise InputError(
            f"The model '{encoder.name}' is {chain}: what pooling gives is not its vector.",
            "Give one that is Transformer -> Pooling, with or without Normalize.",
        )
    like = next(model.parameters())
    weight = torch.from_numpy(np.array(axes, dtype=np.float32)).to(like)
    model.truncate_dim = None
    del model[2:]
    model.append(Dense(axes.shape[1], len(axes), False, nn.Identity(), init_weight=weight))
    model.append(Normalize())
    return TextEncoder(
        model,
        encoder.name,
        query_prompt=encoder.prompts["query"],
        document_prompt=encoder.prompts["document"],
    )
