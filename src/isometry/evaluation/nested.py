"""How good an encoder is when it is cut in depth and in width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from isometry.encoders.text import Role, TextEncoder
from isometry.evaluation.retrieval import own_ranks

_AT_ONCE = 64


def layer_vectors(
    encoder: TextEncoder, texts: Sequence[str], role: Role = "document", *, tokens: int
) -> Float[np.ndarray, "layers texts dim"]:
    """The pooled vectors of every layer, not normalised; see `TextEncoder.pooled_layers`.

    Args:
        encoder: In evaluation mode.
        texts: The texts, without their prompt.
        role: Whose prompt to put before them.
        tokens: Where texts are cut.
    """
    device = next(encoder.parameters()).device
    # Texts of like length together: padding costs as much as words.
    lengths = encoder.lengths(texts, role)
    order = sorted(range(len(texts)), key=lengths.__getitem__)
    blocks: list[np.ndarray] = []
    for start in range(0, len(texts), _AT_ONCE):
        some = [texts[row] for row in order[start : start + _AT_ONCE]]
        batch = encoder.collate(some, role, tokens=tokens)
        moved = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()
        }
        with torch.no_grad():
            blocks.append(encoder.pooled_layers(moved).float().cpu().numpy())
    return np.concatenate(blocks, axis=1)[:, np.argsort(order)]


def reciprocal_ranks(
    queries: Float[np.ndarray, "layers queries dim"],
    documents: Float[np.ndarray, "layers queries dim"],
    layer: int,
    dim: int,
) -> Float[np.ndarray, " queries"]:
    """MRR@10 of every query by the vectors of a layer, cut first and normalised after.

    Args:
        queries: What `layer_vectors` gave.
        documents: The same; document i is the only answer to query i.
        layer: Counted from 1.
        dim: How many dimensions are kept, from the first.
    """
    sides = [side[layer - 1][:, :dim] for side in (queries, documents)]
    asked, answers = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
    return own_ranks(asked, answers)
