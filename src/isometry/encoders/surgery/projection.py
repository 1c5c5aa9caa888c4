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
        axes: The rows that vectors are projected on. They may be as short as the encoder's vectors
            where it cuts what pooling gives (`truncate_dim`).

    Raises:
        InputError: When the encoder is more than that.
        ValueError: When the axes are of another width.
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
    model.truncate_dim = None
    del model[2:]
    pooled = int(model.get_embedding_dimension() or 0)
    if axes.shape[1] not in (pooled, encoder.dim):
        raise ValueError(f"axes of {axes.shape[1]} dimensions do not fit vectors of {pooled}")
    # What was cut off counts for nothing.
    whole = np.pad(np.array(axes, dtype=np.float32), ((0, 0), (0, pooled - axes.shape[1])))
    weight = torch.from_numpy(whole).to(like)
    model.append(Dense(pooled, len(axes), False, nn.Identity(), init_weight=weight))
    model.append(Normalize())
    return TextEncoder(
        model,
        encoder.name,
        query_prompt=encoder.prompts["query"],
        document_prompt=encoder.prompts["document"],
    )
