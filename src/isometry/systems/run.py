"""What an arm is given to make its model: data, budget, seed, and a place to work."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch

from isometry.core.writing import atomic_folder
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder
from isometry.learners.learner import Learner
from isometry.systems.system import AnyScale, Held, Train
from isometry.training.trainer import Batches, Trainer
from isometry.training.unique_batches import unique_batches


class Run(Generic[AnyScale, Train, Held]):
    """One arm with one seed and one learning rate.

    Attributes:
        scale: The settings.
        train: What to train on.
        validation: What to choose on.
        seed: Of every random choice.
        rate: The peak learning rate.
        steps: Steps done by stage, for the record.
        rows: Rows that these steps saw, by stage.
    """

    def __init__(
        self,
        scale: AnyScale,
        train: Train,
        validation: Held,
        *,
        seed: int,
        rate: float,
        folder: Path,
        shared: Path,
    ) -> None:
        self.scale = scale
        self.train = train
        self.validation = validation
        self.seed = seed
        self.rate = rate
        self.steps: dict[str, int] = {}
        self.rows: dict[str, int] = {}
        self._folder = folder
        self._shared = shared

    def generator(self, purpose: str) -> np.random.Generator:
        """Random numbers that depend on the seed and on what they are for, and on nothing else."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    def encoder(self) -> TextEncoder:
        """A copy of the pretrained encoder, to change or to keep."""
        return TextEncoder.load(self.scale.model)

    def cached(self, encoder: TextEncoder) -> CachedEncoder:
        """An encoder whose vectors are kept for all arms and seeds; its weights must stay."""
        return CachedEncoder(encoder, self._shared / "vectors", self.scale.precision)

    @cached_property
    def pretrained(self) -> CachedEncoder:
        """The pretrained encoder, to keep: its vectors are computed once for all arms and seeds."""
        return self.cached(self.encoder())

    def once(self, name: str, make: Callable[[Path], None]) -> Path:
        """A folder that all arms and seeds share: the first that asks for it makes it.

        Args:
            name: Of the folder; it names all that the contents depend on, such as rate and seed.
            make: Fills the folder that it is given; what it leaves appears whole or not at all.
        """
        path = self._shared / "once" / name
        if not path.exists():
            # Whoever asks first makes the same, and draws the same afterwards as who finds it made.
            with torch.random.fork_rng(), atomic_folder(path) as temporary:
                torch.manual_seed(_seed(np.random.default_rng([*name.encode()])))
                make(temporary)
        return path

    def batches(self, stage: str, keys: Sequence[Sequence[Hashable]], size: int) -> list[list[int]]:
        """The rows of each step; they depend on the seed alone, so that all arms see the same ones.

        Args:
            stage: Which stage of the budget.
            keys: Of each row, what may not stand twice in a batch; see `unique_batches`.
            size: Rows a step.

        Returns:
            Row numbers.
        """
        return list(unique_batches(keys, size, self.scale.steps[stage], self.seed))

    def fit(
        self,
        stage: str,
        learner: Learner,
        rows: Sequence[Any],
        order: Sequence[Sequence[int]],
        *,
        warmup: float = 0.1,
    ) -> None:
        """Trains for a stage of the budget, in place; a killed run goes on where it was.

        Args:
            stage: Which one.
            learner: What is trained.
            rows: What batches are made of.
            order: The numbers of each step's rows.
            warmup: The share of the steps in which the rate rises.

        Raises:
            ValueError: When the stage is not in the budget, was used up, or has other steps.
        """
        if stage in self.steps:
            raise ValueError(f"the stage {stage!r} was used up")
        if len(order) != self.scale.steps.get(stage):
            raise ValueError(
                f"the stage {stage!r} has a budget of {self.scale.steps.get(stage, 0)} steps, not"
                f" of {len(order)}"
            )
        Trainer(
            learner,
            Batches(rows, order),
            self._folder / stage,
            learning_rate=self.rate,
            warmup=warmup,
            bfloat16=self.scale.precision == "bfloat16",
            checkpoint_every=max(10, min(50, len(order) // 4)),
        ).run()
        # A training that was resumed has drawn less; what is drawn from here on is the same.
        torch.manual_seed(_seed(self.generator(stage)))
        self.steps[stage] = len(order)
        self.rows[stage] = sum(len(batch) for batch in order)


def _seed(generator: np.random.Generator) -> int:
    return int(generator.integers(1 << 63))
