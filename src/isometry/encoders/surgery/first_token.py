"""Encoders that begin every text with another token, such as that of its domain."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from isometry.core.errors import InputError
from isometry.encoders.text import TextEncoder
from isometry.vocabulary.extend import extend, token_id


def with_domain_tokens(
    encoder: TextEncoder, domains: Sequence[str]
) -> tuple[TextEncoder, list[str]]:
    """The encoder itself, with a token for each domain that begins as `[CLS]`; and the tokens."""
    tokens = [f"[{domain}]" for domain in domains]
    tokenizer = encoder.model.tokenizer
    transformer: Any = encoder.model[0]
    extend(tokenizer, tokens, copy_from=str(tokenizer.cls_token), model=transformer.model)
    # Anew: an encoder keeps a copy of its tokenizer.
    again = TextEncoder(
        encoder.model,
        encoder.name,
        query_prompt=encoder.prompts["query"],
        document_prompt=encoder.prompts["document"],
    )
    return again, tokens


def with_first_token(encoder: TextEncoder, token: str) -> TextEncoder:
    """The same weights, under a tokenizer that puts a token where `[CLS]` was.

    Saved, it is a folder in which plain sentence-transformers does the same.

    Args:
        encoder: It is left as it is; its weights are shared, not copied.
        token: A single token of its vocabulary, such as that of a domain.

    Raises:
        InputError: When the tokenizer does not have the token, or texts do not stand between one
            token and another.

    Example:
        >>> encoder = TextEncoder.load("packaged:minilm")
        >>> masked = with_first_token(encoder, "[MASK]")
        >>> masked.tokenizer.encode("a path").tokens
        ['[MASK]', 'a', 'path', '[SEP]']
    """
    from tokenizers import processors

    number = token_id(encoder.model.tokenizer, token)
    transformer: Any = encoder.model[0]
    body = transformer.model
    model = copy.deepcopy(encoder.model, {id(body): body})
    tokenizer: Any = model.tokenizer
    ids: list[int] = tokenizer.backend_tokenizer.encode("a").ids
    ends = [int(ids[0]), int(ids[-1])]
    if ends != [tokenizer.cls_token_id, tokenizer.sep_token_id]:
        raise InputError(
            f"The model '{encoder.name}' does not put texts between [CLS] and [SEP].",
            "Give one of the BERT family, such as packaged:minilm.",
        )
    last, last_id = tokenizer.sep_token, ends[1]
    # Tokenizers of some kinds make the second out of the first when they are loaded.
    tokenizer.cls_token = token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A {last}",
        pair=f"{token} $A {last} $B:1 {last}:1",
        special_tokens=[(token, number), (last, last_id)],
    )
    return TextEncoder(
        model,
        encoder.name,
        query_prompt=encoder.prompts["query"],
        document_prompt=encoder.prompts["document"],
    )
