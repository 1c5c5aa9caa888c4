"""A transformer under a pooler of our own, as a text encoder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import nn

from isometry.core.errors import InputError
from isometry.encoders.loading import quiet_loading
from isometry.encoders.state_pooling import StatePooling
from isometry.encoders.text import TextEncoder

if TYPE_CHECKING:
    from sentence_transformers.base.modules import Transformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def as_transformer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: int
) -> Transformer:
    """A copy of a model in memory as the first module of a sentence-transformers model.

    Args:
        model: Without a head; of a model that has one, `base_model`.
        tokenizer: Its own.
        tokens: Where texts are cut.
    """
    from sentence_transformers.base.modules import Transformer

    with TemporaryDirectory(prefix="isometry-") as folder, quiet_loading():
        model.save_pretrained(Path(folder))
        tokenizer.save_pretrained(Path(folder))
        return Transformer(folder, max_seq_length=tokens)


def pooled(transformer: Transformer, pooler: nn.Module) -> TextEncoder:
    """A text encoder without prompts of its own.

    Every text ends with a token that says so, which EOS pooling reads: where the tokenizer of a
    language model adds none, it does from now on.

    Args:
        transformer: Gives the states; used, not copied.
        pooler: States and a mask -> one vector of the same width.

    Raises:
        InputError: When the tokenizer has no such token.
    """
    from sentence_transformers import SentenceTransformer

    part: Any = transformer
    _end_texts(part.tokenizer)
    pooling = StatePooling(pooler, int(part.get_embedding_dimension()))
    device = str(next(part.parameters()).device)
    model = SentenceTransformer(modules=[transformer, pooling], device=device)
    return TextEncoder(model.eval(), query_prompt="", document_prompt="")


def _end_texts(tokenizer: Any) -> None:
    from tokenizers import processors

    if tokenizer("a")["input_ids"][-1] in tokenizer.all_special_ids:
        return
    if tokenizer.eos_token is None:
        raise InputError("The tokenizer has no token for the end of a text.")
    ending = processors.TemplateProcessing(
        single="$A:0 [END]:0",
        pair="$A:0 [END]:0 $B:0 [END]:0",
        special_tokens=[
            {"id": "[END]", "ids": [tokenizer.eos_token_id], "tokens": [tokenizer.eos_token]}
        ],
    )
    own = tokenizer.backend_tokenizer.post_processor
    steps = [ending] if own is None else [own, ending]
    tokenizer.backend_tokenizer.post_processor = processors.Sequence(steps)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
