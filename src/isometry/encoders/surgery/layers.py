"""Fewer layers, and fewer dimensions, out of one text encoder."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from isometry.core.errors import InputError
from isometry.encoders.text import TextEncoder


def _passes(encoder: TextEncoder) -> int | None:
    """How many layers a text goes through, of which some may be the same; None if not said."""
    transformer: Any = encoder.model[0]
    return getattr(transformer.model.config, "num_hidden_layers", None)


def truncate(encoder: TextEncoder, keep: int, dim: int | None = None) -> TextEncoder:
    """A smaller encoder: the first `keep` layers, the vectors cut and then normalised.

    What a model trained for every (layer, dimension) prefix serves (Li et al. 2024, "2D Matryoshka
    Sentence Embeddings"; Zhuang et al. 2024, "Starbucks"). Its vectors are
    `encoder.pooled_layers(batch)[keep - 1][:, :dim]` to unit length; without `dim`, the length is
    left as pooling gives it where the encoder does not normalise either. Saved, it is a folder that
    plain `SentenceTransformer(folder)` loads.

    The cut is a projection on the first dimensions, a `Dense` without bias, before a `Normalize`.
    The setting `truncate_dim` of sentence-transformers would be saved too, but it cuts behind the
    model's own `Normalize`, so that vectors are not of unit length unless the caller asks, and only
    `encode` knows of it. The projection is frozen; a model that was saved and loaded trains it.

    Args:
        encoder: It is left as it is, and shares nothing with what comes back.
        keep: How many layers to keep, from the lowest.
        dim: How many dimensions to keep, from the first; all of them when not given.

    Raises:
        InputError: When the encoder has fewer layers or dimensions, or cannot be cut (see
            `TextEncoder.pooled_layers`).

    Example:
        >>> small = truncate(TextEncoder.load("packaged:minilm"), 2, 64)
        >>> len(small.layers()), small.encode(["a path"]).shape
        (2, (1, 64))
    """
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.util import batch_to_device

    stack, like = encoder.layers(), next(encoder.parameters())
    if _passes(encoder) not in (None, len(stack)):
        raise InputError(
            f"The layers of the model '{encoder.name}' share their weights: it cannot be cut.",
            "Give a model whose layers are its own, unlike ALBERT.",
        )
    with torch.no_grad():
        batch = batch_to_device(encoder.collate(["a"], "document"), like.device)
        layers, _, width = encoder.pooled_layers(batch).shape
    if not 1 <= keep <= layers:
        raise InputError(
            f"The model '{encoder.name}' has {layers} layers, so {keep} cannot be kept.",
            f"Keep 1 to {layers}.",
        )
    if dim is not None and not 1 <= dim <= width:
        raise InputError(
            f"The model '{encoder.name}' has {width} dimensions, so {dim} cannot be kept.",
            f"Keep 1 to {width}.",
        )
    # Only the layers that stay are copied; the copy of the rest finds them in place of the stack.
    memo: dict[int, object] = {}
    memo[id(stack)] = copy.deepcopy(stack[:keep], memo)
    model = copy.deepcopy(encoder.model, memo)
    transformer: Any = model[0]
    transformer.model.config.num_hidden_layers = keep
    if dim is not None:
        pooling: Any = model[1]
        model.truncate_dim = None
        del model[2:]
        # Of an encoder that was cut before, one projection stays.
        pooled: int = pooling.get_embedding_dimension()
        if dim < pooled:
            first = torch.eye(dim, pooled, dtype=like.dtype, device=like.device)
            cut = Dense(pooled, dim, False, nn.Identity(), init_weight=first)
            model.append(cut.requires_grad_(False))
        model.append(Normalize())
    return TextEncoder(
        model,
        encoder.name,
        query_prompt=encoder.prompts["query"],
        document_prompt=encoder.prompts["document"],
    )
