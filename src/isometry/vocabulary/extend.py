"""New tokens at the end of a vocabulary, whose embeddings begin as copies of an old one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from isometry.core.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def extend(
    tokenizer: PreTrainedTokenizerBase,
    pieces: Sequence[str],
    *,
    copy_from: str,
    model: PreTrainedModel,
) -> None:
    """Appends special tokens, which no text is cut into, to a tokenizer and its model.

    Until they are trained apart, a new token means to the model what the copied one means: domain
    tokens that begin as `[CLS]` change no vector (Hallee et al., "Contrastive Learning and Mixture
    of Experts Enables Precise Vector Embeddings", section on domain tokens). Old tokens keep their
    ids and their rows; rows that a table has beyond its tokenizer are used up first.

    Args:
        tokenizer: Changed in place.
        pieces: The new tokens, such as `[numpy]`.
        copy_from: The token whose row they get.
        model: What the tokenizer belongs to; its tables of tokens, tied or not, grow in place.

    Raises:
        InputError: When a new token is known already, or `copy_from` is not.
    """
    known: dict[str, int] = tokenizer.get_vocab()
    for place, piece in enumerate(pieces):
        if not piece.strip() or piece in known or piece in pieces[:place]:
            raise InputError(
                f"The token '{piece}' is in the vocabulary already, or is empty.",
                "Give new tokens names that no token has.",
            )
    source = token_id(tokenizer, copy_from)
    rest: Any = tokenizer
    rest.add_tokens(list(pieces), special_tokens=True)
    new = [token_id(tokenizer, piece) for piece in pieces]
    table: Any = model.get_input_embeddings()
    if (most := max([*new, -1]) + 1) > table.num_embeddings:
        model.resize_token_embeddings(most, mean_resizing=False)
    with torch.no_grad():
        for part in (model.get_input_embeddings(), model.get_output_embeddings()):
            if part is not None:
                rows: Any = part
                rows.weight[new] = rows.weight[source].clone()


def token_id(tokenizer: PreTrainedTokenizerBase, piece: str) -> int:
    """The id of a token.

    Args:
        tokenizer: Whose.
        piece: The token.

    Raises:
        InputError: When the tokenizer does not have it, or cuts it into pieces.
    """
    hint = "Add it to the vocabulary first, with isometry.vocabulary.extend."
    number = tokenizer.get_vocab().get(piece)
    if number is None:
        raise InputError(f"The tokenizer has no token '{piece}'.", hint)
    if (found := tokenizer.tokenize(piece)) != [piece]:
        raise InputError(f"The tokenizer cuts '{piece}' into {' '.join(found)}.", hint)
    return int(number)
