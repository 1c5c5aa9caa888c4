"""What people do without Isometry: a tutorial's sentence-transformers, ended by the clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from isometry.encoders.locate import locate
from isometry.jobs.batching import passage

__all__ = ["RATES", "passage", "train_plain"]

RATES = (2e-5, 5e-5, 1e-4)


def train_plain(
    base: str,
    pairs: Sequence[tuple[str, str]],
    folder: Path,
    *,
    seconds: float = float("inf"),
    steps: int = -1,
    rate: float = 5e-5,
    bfloat16: bool = False,
    batch: int = 32,
) -> dict[str, float]:
    """MultipleNegativesRankingLoss over batches of pairs for so many seconds or steps.

    All else is the library's default, but for the schedule: no linear decay fits an end that the
    clock sets, so the rate is constant.

    Returns:
        `steps`, `wall_seconds`, `tokens` without padding, and `tokens_a_cpu_second`.
    """
    import torch
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.wall, self.cpu = time.monotonic(), time.process_time()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = time.monotonic() - self.wall > seconds

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.wall, self.cpu = time.monotonic() - self.wall, time.process_time() - self.cpu

    model = SentenceTransformer(str(locate(base)[0]), device="cpu")
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "run"),
        num_train_epochs=1000,
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=rate,
        lr_scheduler_type="constant",
        bf16=bfloat16,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        batch_sampler="no_duplicates",
    )
    rows = Dataset.from_dict({"anchor": [a for a, _ in pairs], "positive": [b for _, b in pairs]})
    clock, loss = Clock(), _Counting(MultipleNegativesRankingLoss(model))
    SentenceTransformerTrainer(model, arguments, rows, loss=loss, callbacks=[clock]).train()
    model.save(str(folder / "model"))
    return {
        "steps": loss.steps,
        "wall_seconds": round(clock.wall, 1),
        "tokens": loss.tokens,
        "tokens_a_cpu_second": round(loss.tokens / clock.cpu),
    }


class _Counting(nn.Module):
    """A loss that counts the steps and the tokens that are no padding."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss
        self.steps = self.tokens = 0

    def forward(self, features: Any, labels: Any = None) -> Any:
        self.steps += 1
        self.tokens += sum(int(part["attention_mask"].sum()) for part in features)
        return self.loss(features, labels)
