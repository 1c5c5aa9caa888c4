"""A small decoder with a pretrained encoder's words, where no pretrained decoder is at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from isometry.encoders.text import TextEncoder

if TYPE_CHECKING:
    from transformers import MistralForCausalLM


def small_decoder(
    encoder: TextEncoder, *, dim: int, layers: int, heads: int, seed: int
) -> MistralForCausalLM:
    """Mistral's architecture in small: fresh layers on the word vectors of an encoder.

    The vectors are the encoder's own, projected on their first principal components, so that words
    of like meaning are alike before anything is trained; input and output share them.

    Args:
        encoder: Its vocabulary and word vectors are taken; it stays as it is.
        dim: The width, at most the encoder's.
        layers: How many.
        heads: Of each layer; they divide the width.
        seed: Of the layers' weights.

    Raises:
        ValueError: For a width that the words do not have, or that the heads do not divide.
    """
    from transformers import MistralConfig, MistralForCausalLM

    if dim % heads:
        raise ValueError(f"{heads} heads do not divide {dim} dimensions")
    transformer: Any = encoder.model[0]
    words = _projected(transformer.model.get_input_embeddings().weight.detach().cpu(), dim)
    tokenizer = encoder.model.tokenizer
    config = MistralConfig(
        vocab_size=len(words),
        hidden_size=dim,
        intermediate_size=4 * dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=dim // heads,
        max_position_embeddings=512,
        sliding_window=None,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = MistralForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(words)
    return model.eval()


def _projected(table: Float[Tensor, "v wide"], dim: int) -> Float[Tensor, "v d"]:
    """Rows on the principal components of all rows, scaled to a mean length of 1."""
    if not 0 < dim <= table.shape[1]:
        raise ValueError(f"{table.shape[1]} dimensions cannot be projected on {dim}")
    centred = table.double() - table.double().mean(dim=0)
    components = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :dim]
    rows = centred @ components
    return (rows / rows.norm(dim=1).mean()).float()
