"""A text encoder without a transformer: the mean of word vectors, and a small network."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from isometry.core.errors import InputError
from isometry.encoders.text import TextEncoder


def bag_of_words(encoder: TextEncoder, hidden: int, dim: int, seed: int) -> TextEncoder:
    """The mean of an encoder's word vectors under two dense layers with tanh (BoW-MLP).

    The rival without a transformer in Chang et al. (2020), "Pre-training Tasks for Embedding-based
    Large-scale Retrieval", section 4.1. Word vectors are as the encoder's own embeddings leave
    them, without positions: the order of the words does not count. Special tokens are in the mean.

    Args:
        encoder: Its word vectors and tokenizer are copied.
        hidden: The width of the first dense layer.
        dim: The width of the vectors.
        seed: Of the dense layers. Nothing else that is random is disturbed.

    Raises:
        InputError: When the model is not of the BERT family, whose positions are learned vectors.
    """
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    stack = encoder.layers()
    # The copy finds no layers in their place.
    memo: dict[int, object] = {id(stack): nn.ModuleList()}
    model = copy.deepcopy(encoder.model, memo)
    body: Any = model[0].model
    positions = getattr(getattr(body, "embeddings", None), "position_embeddings", None)
    if not isinstance(positions, nn.Embedding):
        raise InputError(
            f"The model '{encoder.name}' has no position embeddings to take from its words.",
            "Give one of the BERT family, such as packaged:minilm.",
        )
    nn.init.zeros_(positions.weight)
    # Trained, the order of the words would count after all.
    positions.weight.requires_grad_(False)
    body.config.num_hidden_layers = 0
    width = int(body.config.hidden_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dense = [Dense(width, hidden), Dense(hidden, dim)]
    del model[1:]
    for part in (Pooling(width, "mean"), *dense, Normalize()):
        model.append(part.to(positions.weight.device))
    return TextEncoder(
        model,
        encoder.name,
        query_prompt=encoder.prompts["query"],
        document_prompt=encoder.prompts["document"],
    )
