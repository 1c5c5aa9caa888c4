"""Several trainings in a row, each from the weights of one before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from isometry.core.writing import atomic_file
from isometry.learners.learner import Learner
from isometry.training.trainer import Batches, Trainer

Weights = dict[str, Tensor]
_BASE, _PREVIOUS = "base", "previous"
_NO_NAMES = (_BASE, _PREVIOUS, "", "..")


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        name: Names its folder; later stages may start from it.
        learner: Makes the learner out of the weights of the learner that the stage starts from,
            by their names there; out of None for "base". What is to be carried over is for it to
            load: stages may have learners of different kinds.
        batches: The planned steps, or what plans them with the learner as it starts (negatives
            that it mines itself, say). Must give the same batches for the same weights.
        learning_rate: The peak.
        start: "base" starts afresh, "previous" from the end of the stage before (the first stage
            starts afresh), and the name of an earlier stage from the end of that one.
    """

    name: str
    learner: Callable[[Weights | None], Learner]
    batches: Batches | Callable[[Learner], Batches]
    learning_rate: float
    start: str = _PREVIOUS


def run_stages(
    stages: Sequence[Stage], folder: Path, *, checkpoint_every: int = 50
) -> dict[str, Path]:
    """Trains the stages in order, each in its own folder; a killed run goes on where it stopped.

    What a stage has finished is its weights in `folder/NAME/weights.safetensors`. A stage that has
    them is not run again, so a folder belongs to one list of stages.

    A full retriever has these: retrieval pretraining, in-batch negatives, mined negatives, the
    training of a cross-encoder, then negatives that this has denoised, or its distillation.

    Args:
        stages: At least one; nothing is trained before all of them are looked at.
        folder: Where the stages' folders are made.
        checkpoint_every: Steps between checkpoints.

    Returns:
        The file with the weights of each stage, by name, in the order of the stages.

    Raises:
        ValueError: When two stages have the same name, a name is no plain folder name or means
            something else, or a stage starts from one that does not stand before it.
    """
    starts = _starts(stages)
    files = {stage.name: folder / stage.name / "weights.safetensors" for stage in stages}
    for stage, start in zip(stages, starts, strict=True):
        file = files[stage.name]
        if file.exists():
            continue
        learner = stage.learner(None if start is None else load_file(files[start]))
        batches = stage.batches if isinstance(stage.batches, Batches) else stage.batches(learner)
        Trainer(
            learner,
            batches,
            file.parent / "checkpoints",
            learning_rate=stage.learning_rate,
            checkpoint_every=checkpoint_every,
        ).run()
        weights = {
            # Shared tensors are written twice: safetensors refuses memory with two names.
            name: tensor.detach().cpu().contiguous().clone()
            for name, tensor in learner.state_dict().items()
        }
        with atomic_file(file) as temporary:
            save_file(weights, temporary)
    return files


def _starts(stages: Sequence[Stage]) -> list[str | None]:
    """The name of the stage that each starts from; None where it starts afresh."""
    if not stages:
        raise ValueError("there is no stage to run")
    starts: list[str | None] = []
    names: list[str] = []
    for stage in stages:
        if stage.name in _NO_NAMES or Path(stage.name).name != stage.name:
            raise ValueError(f"a stage cannot be called '{stage.name}'")
        if stage.name in names:
            raise ValueError(f"two stages are called '{stage.name}'")
        if stage.start not in (_BASE, _PREVIOUS, *names):
            raise ValueError(
                f"stage '{stage.name}' starts from '{stage.start}', which does not stand before it"
            )
        if stage.start == _PREVIOUS:
            starts.append(names[-1] if names else None)
        else:
            starts.append(None if stage.start == _BASE else stage.start)
        names.append(stage.name)
    return starts
