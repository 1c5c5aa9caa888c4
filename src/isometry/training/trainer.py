"""The one training loop."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer as TransformersTrainer
from transformers import TrainerCallback, TrainingArguments

from isometry.core.progress import track
from isometry.core.writing import clear_disk_errors, write_json
from isometry.encoders.loading import quiet_loading
from isometry.learners.learner import Learner
from isometry.training.determinism import deterministic

_COMPLETE = "complete.json"


class Batches(Dataset[list[Any]]):
    """A planned order of batches: item i is the list of rows of step i."""

    def __init__(self, rows: Sequence[Any], order: Sequence[Sequence[int]]) -> None:
        self.rows = rows
        self.order = order

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.order)

    def __getitem__(self, step: int) -> list[Any]:
        """The rows of one step."""
        return [self.rows[row] for row in self.order[step]]


@dataclass(frozen=True)
class Trained:
    """What happened.

    Attributes:
        steps: Optimiser steps done, in this run and before it was interrupted.
        loss: (step, mean loss since the entry before).
        stopped_early: Why it did not go to the planned end; None when it did.
    """

    steps: int
    loss: list[tuple[int, float]]
    stopped_early: str | None


class Trainer(TransformersTrainer):
    """`transformers.Trainer` whose only idea is `learner.loss(batch)`.

    One planned epoch over given batches, a linear schedule with warm-up, and checkpoints that
    are either complete or ignored, so that a killed run goes on to the same weights.

    Args:
        learner: What is trained, in place.
        batches: The planned steps.
        folder: Where checkpoints go.
        learning_rate: The peak.
        warmup: The share of the steps in which the rate rises.
        weight_decay: Of AdamW.
        bfloat16: Whether matrix products are computed in bfloat16.
        checkpoint_every: Steps between checkpoints.
        seconds: A limit for this run; reaching it ends the training early.
    """

    def __init__(
        self,
        learner: Learner,
        batches: Batches,
        folder: Path,
        *,
        learning_rate: float,
        warmup: float = 0.1,
        weight_decay: float = 0.01,
        bfloat16: bool = False,
        checkpoint_every: int = 50,
        seconds: float | None = None,
    ) -> None:
        steps = len(batches)
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=1,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=max(1, round(warmup * steps)),
            lr_scheduler_type="linear",
            max_grad_norm=1.0,
            bf16=bfloat16,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="steps",
            save_steps=checkpoint_every,
            save_total_limit=2,
            logging_strategy="steps",
            logging_steps=max(1, steps // 40),
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_num_workers=0,
            dataloader_pin_memory=False,
            seed=0,
        )
        # One device: the library would wrap the learner for several, and split planned batches.
        arguments._n_gpu = min(1, arguments.n_gpu)
        self.learner = learner
        self.batches = batches
        self._watch = _Watch(seconds)
        super().__init__(
            model=learner,
            args=arguments,
            train_dataset=batches,
            data_collator=lambda steps: learner.collate(steps[0]),
            callbacks=[self._watch],
        )
        # The library prints metrics for people without a progress bar; we show our own.
        from transformers import PrinterCallback

        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.batches)

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The learner's own loss."""
        del args, kwargs
        # The library puts `forward` under autocast, which this does not go through.
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.args.bf16):
            return model.loss(inputs)["loss"]

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Weights only: the library would add its arguments as a pickle.
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        state = state_dict if state_dict is not None else self.learner.state_dict()
        tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    def run(self) -> Trained:
        """Trains from the last complete checkpoint to the planned end."""
        folder = Path(str(self.args.output_dir))
        last = last_checkpoint(folder)
        try:
            # The library warns of checkpoints that came within one second.
            with clear_disk_errors(folder), deterministic(), quiet_loading():
                self.train(resume_from_checkpoint=None if last is None else str(last))
        finally:
            self._watch.close()
        loss = [
            (int(entry["step"]), float(entry["loss"]))
            for entry in self.state.log_history
            if "loss" in entry
        ]
        return Trained(self.state.global_step, loss, self._watch.reason)


class _Watch(TrainerCallback):
    """Shows progress, ends the training on the clock, marks checkpoints complete."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.reason: str | None = None
        self._shown = ExitStack()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._started = time.monotonic()
        self._task = self._shown.enter_context(track("Training", state.max_steps, "steps"))
        self._task.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._task.advance()
        elapsed = time.monotonic() - self._started
        if (
            self.seconds is not None
            and elapsed > self.seconds
            and state.global_step < state.max_steps
        ):
            self.reason = (
                f"the clock: {elapsed:.0f} s went by where {self.seconds:.0f} s were the most,"
                f" after {state.global_step} of {state.max_steps} steps"
            )
            control.should_training_stop = True

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if logs and "loss" in logs:
            self._task.note(f"loss {float(logs['loss']):.3f}")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_json(folder / _COMPLETE, {"step": state.global_step})

    def close(self) -> None:
        """Takes the progress bar away, however the training ended."""
        self._shown.close()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; incomplete ones, left by a kill, are removed."""
    complete: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        if (path / _COMPLETE).exists():
            complete.append((int(path.name.rpartition("-")[2]), path))
        else:
            shutil.rmtree(path)
    return max(complete)[1] if complete else None
