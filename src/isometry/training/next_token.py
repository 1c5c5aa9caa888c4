"""A language model trained on texts, where that is not what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from isometry.learners.causal_language import CausalLanguage
from isometry.training.trainer import Batches, Trainer
from isometry.training.unique_batches import unique_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
