"""Layers without what they learned, on the word vectors of a pretrained encoder."""

from __future__ import annotations

from typing import Any

import torch

from isometry.encoders.surgery.layers import truncate
from isometry.encoders.text import TextEncoder


def fresh_layers(encoder: TextEncoder, keep: int, seed: int) -> TextEncoder:
    """An encoder whose layers are drawn anew, as its own kind of model initialises them.

    For questions about pretraining, where a pretrained encoder would know the answer already. The
    embeddings stay: too many words are too rare to be learned from little text.

    Args:
        encoder: It is left as it is, and shares nothing with what comes back.
        keep: How many layers there shall be; not more than the encoder has.
        seed: Of the weights. Nothing else that is random is disturbed.

    Raises:
        InputError: When the encoder has fewer layers, or cannot be cut (see `truncate`).

    Example:
        >>> fresh = fresh_layers(TextEncoder.load("packaged:minilm"), 2, seed=0)
        >>> len(fresh.layers()), fresh.dim
        (2, 384)
    """
    small = truncate(encoder, keep)
    body: Any = small.model[0].model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn: Any = type(body)(body.config)
    # By name: only the layers are taken over.
    wanted = {id(part): name for name, part in body.named_modules()}[id(small.layers())]
    small.layers().load_state_dict(drawn.get_submodule(wanted).state_dict())
    return small
