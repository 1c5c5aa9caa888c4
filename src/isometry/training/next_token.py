"""A language model trained on texts, where that is not what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from isometry.encoders.pooled import as_transformer
from isometry.encoders.small_decoder import small_decoder
from isometry.encoders.text import TextEncoder
from isometry.learners.causal_language import CausalLanguage
from isometry.training.trainer import Batches, Trainer
from isometry.training.unique_batches import unique_batches

if TYPE_CHECKING:
    from sentence_transformers.base.modules import Transformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Decoder:
    """How a small decoder is made, where none comes in a package.

    Attributes:
        dim: Its width.
        layers: How many it has.
        heads: Of each layer.
        steps: Of next-token prediction.
        batch: Glosses a step of it.
        rate: Its peak learning rate.
    """

    dim: int = 128
    layers: int = 4
    heads: int = 4
    steps: int = 150
    batch: int = 64
    rate: float = 2e-3


def made_decoder(
    words: TextEncoder, texts: Sequence[str], settings: Decoder, *, tokens: int, seed: int
) -> Transformer:
    """A small decoder that has been through next-token prediction, where none comes in a package.

    Args:
        words: Its vocabulary and word vectors are taken; see `small_decoder`.
        texts: A batch holds none twice.
        settings: How it is made.
        tokens: Where texts are cut, in this training and afterwards.
        seed: Of its layers and of the order of the texts.

    Returns:
        The first module of a sentence-transformers model, without a head.
    """
    decoder = small_decoder(
        words, dim=settings.dim, layers=settings.layers, heads=settings.heads, seed=seed
    )
    predict_next(
        decoder, words.model.tokenizer, texts, batch=settings.batch, steps=settings.steps,
        rate=settings.rate, tokens=tokens, seed=seed,
    )  # fmt: skip
    base: Any = decoder.base_model
    return as_transformer(base, words.model.tokenizer, tokens)


def predict_next(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    batch: int,
    steps: int,
    rate: float,
    tokens: int,
    seed: int,
) -> None:
    """Trains next-token prediction in place, in one go; the same arguments give the same weights.

    Nothing is kept on the disk: a killed run begins again. What is drawn here leaves the random
    state of the process as it was.

    Args:
        model: With a head.
        tokenizer: Its own.
        texts: A batch holds none twice.
        batch: Texts a step.
        steps: How many.
        rate: The peak learning rate.
        tokens: Where texts are cut.
        seed: Of the order of the texts.
    """
    order = list(unique_batches([(text,) for text in texts], batch, steps, seed))
    learner = CausalLanguage(model, tokenizer, tokens=tokens)
    with torch.random.fork_rng(devices=[]), TemporaryDirectory(prefix="isometry-") as folder:
        Trainer(
            learner,
            Batches(texts, order),
            Path(folder),
            learning_rate=rate,
            bfloat16=True,
            checkpoint_every=steps,
        ).run()
    model.cpu()  # pyright: ignore[reportCallIssue]
