"""The vectors of a text encoder on other axes."""

from __future__ import annotations

import copy

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from isometry.encoders.text import TextEncoder


def project(encoder: TextEncoder, axes: Float[np.ndarray, "dim width"]) -> TextEncoder:
    """An encoder whose vectors are projected on other axes, and then normalised.

    The axes are a `Dense` without bias, as in the recipe for fewer dimensions of
    sentence-transformers, so plain `SentenceTransformer(folder)` loads what is saved. It is
    trained; `truncate` keeps the first dimensions by one that is not.

    Args:
        encoder: With a normalisation at its end or without; it is left as it is.
        axes: The rows that vectors are projected on. They may be as short as the encoder's vectors
            where it cuts them itself (`truncate_dim`).

    Raises:
        ValueError: When the axes are of another width.
    """
    from sentence_transformers.base.modules import Dense, Normalize

    model = copy.deepcopy(encoder.model)
    like = next(model.parameters())
    model.truncate_dim = None
    # Its own is behind the new axes: vectors have the same direction with it and without.
    if isinstance(model[len(model) - 1], Normalize):
        del model[len(model) - 1]
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
