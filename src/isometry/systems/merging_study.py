"""What merging shares: a model tuned on each task, joint trainings, and figures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from isometry.core.progress import say
from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import TextEncoder
from isometry.evaluation.aggregation import gain_ratio, worst_group
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.merging.probe_loss import TowersProbe
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka
from isometry.systems.merging_tasks_study import JOINT, TASKS, Judged, MergingScale, Tasks, scores
from isometry.systems.rates import best_rate
from isometry.systems.run import Run
from isometry.systems.system import Arm, Figures
from isometry.training.task_batches import task_batches

# A joint training, as proportional as the rows are, or with as many steps of each task.
PROPORTIONAL, UNIFORM = None, dict.fromkeys(TASKS, 1.0)
_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Merged:
    """A model for all tasks.

    Attributes:
        encoder: The model.
        steps: What another mixture of the tasks would cost: batches, of a forward and a backward
            pass each.
        figures: What else there is to say of it.
    """

    encoder: TextEncoder
    steps: int = 0
    figures: Figures = field(default_factory=dict)


MergingRun = Run[MergingScale, Tasks, Judged]
Made = TypeVar("Made")
State = dict[str, Tensor]


def towers(run: MergingRun, encoder: TextEncoder) -> TwoTowers:
    """What every task trains: the contrast with a batch's others and a row's own negatives."""
    tokens = run.scale.tokens
    objective = Matryoshka(InfoNCE(0.05), MRL((encoder.dim,)))
    return TwoTowers(encoder, objective, query_tokens=tokens, document_tokens=tokens)


def keys_of(rows: Sequence[PairRow]) -> list[tuple[str, str]]:
    """What may not meet in a batch: the same text twice. Other matches are masked there."""
    return [(row.query, row.document) for row in rows]


def trained(
    run: MergingRun, stage: str, tasks: Sequence[str], shares: Mapping[str, float] | None = None
) -> TextEncoder:
    """A copy of the encoder, trained for a stage on batches of one task each."""
    encoder = fresh(run)
    freeze_below(encoder, 0)
    rows = [row for task in tasks for row in run.train.rows[task]]
    names = [task for task in tasks for _ in run.train.rows[task]]
    scale = run.scale
    order = task_batches(
        keys_of(rows), names, scale.batch, scale.steps[stage], run.seed, shares=shares
    )
    run.fit(stage, towers(run, encoder), rows, list(order))
    return encoder


def weights_of(encoder: TextEncoder) -> State:
    """What training changes, where mergers work: all but the word vectors, in main memory."""
    freeze_below(encoder, 0)
    return {
        name: part.detach().to("cpu", copy=True)
        for name, part in encoder.named_parameters()
        if part.requires_grad
    }


def placed(encoder: TextEncoder, weights: Iterable[tuple[str, Tensor]]) -> TextEncoder:
    """The encoder itself, with other weights."""
    own = dict(encoder.named_parameters())
    with torch.no_grad():
        for name, tensor in weights:
            own[name].copy_(tensor)
    return encoder


def once(run: MergingRun, key: Hashable, make: Callable[[], Made]) -> Made:
    """What other arms need too, computed by the first one that does."""
    if key not in run.train.known:
        run.train.known[key] = make()
    return run.train.known[key]


def fresh(run: MergingRun) -> TextEncoder:
    """A copy of the encoder that all training starts from; it is loaded once."""
    return copy.deepcopy(once(run, "encoder", run.encoder))


def alone(task: str) -> Arm[MergingScale, Tasks, Judged, Merged]:
    """An arm of a task's own model, which the mergers take up; `expert` trains it once for all."""
    return Arm(
        f"trained on {task} alone",
        lambda run: Merged(placed(fresh(run), expert(run, task).items())),
    )


def bench(run: MergingRun, weights: State) -> TextEncoder:
    """An encoder with these weights, to be judged before the next one takes its place."""
    return placed(once(run, "bench", lambda: fresh(run)), weights.items())


def untrained(run: MergingRun) -> State:
    """The weights that all training starts from."""
    return once(run, "untrained", lambda: weights_of(fresh(run)))


def joint(about: str, shares: Mapping[str, float] | None) -> Arm[Any, Any, Any, Merged]:
    """An arm that trains on all tasks at once, for as many steps as the experts together."""

    def make(run: MergingRun) -> Merged:
        encoder = trained(run, JOINT, tuple(TASKS), shares)
        return Merged(encoder, run.scale.steps[JOINT])

    return Arm(about, make, (JOINT,))


def expert(run: MergingRun, task: str) -> State:
    """The weights of a task's own model, at the rate that its validation prefers.

    It is trained in a run of its own, under the budget of its task, by the first arm that asks,
    and kept for all others and for whoever takes up the work.
    """

    def make(folder: Path, seed: int, rate: float) -> None:
        say(f"The model of {task} alone: seed {seed}, learning rate {rate:g}")
        with TemporaryDirectory(prefix="isometry-") as place:
            own = MergingRun(
                run.scale, run.train, run.validation,
                seed=seed, rate=rate, folder=Path(place), shared=Path(place),
            )  # fmt: skip
            save_file(weights_of(trained(own, task, (task,))), folder / _WEIGHTS)

    def at(seed: int, rate: float) -> State:
        def kept() -> State:
            folder = run.once(f"{task}-{rate:g}-{seed}", lambda folder: make(folder, seed, rate))
            return load_file(folder / _WEIGHTS)

        return once(run, (task, seed, rate), kept)

    def validated(rate: float) -> float:
        encoder = bench(run, at(0, rate))
        return float(scored(run, encoder, run.validation)[task].mean())

    best = once(run, (task, "rate"), lambda: best_rate(run.scale.rates, validated))
    return at(run.seed, best)


def experts(run: MergingRun) -> tuple[State, list[State]]:
    """The weights that they started from, and those of each, in the order of the tasks."""
    return untrained(run), [expert(run, task) for task in TASKS]


def scored(
    run: MergingRun, encoder: TextEncoder, held: Judged
) -> dict[str, Float[np.ndarray, " n"]]:
    """What an encoder reaches on every item of every task."""
    return scores(encoder, held, run.scale.precision)


def ceilings(run: MergingRun, held: Judged) -> dict[str, float]:
    """What each task's own model reaches on it; one item of it at least."""

    def score(task: str) -> float:
        found = scored(run, bench(run, expert(run, task)), held)[task]
        return max(float(found.mean()), 1 / len(found))

    side = "validation" if held is run.validation else "test"
    return {
        task: once(run, (task, run.seed, side), lambda task=task: score(task)) for task in TASKS
    }


def normalised(run: MergingRun, encoder: TextEncoder, held: Judged) -> Float[np.ndarray, " n"]:
    """Each task's score over that of its own model; the mean of the tasks, item by item."""
    own, best = scored(run, encoder, held), ceilings(run, held)
    return np.mean([own[task] / best[task] for task in TASKS], axis=0)


def measure(run: MergingRun, model: Merged, held: Judged) -> Figures:
    """What is kept of the experts, on average and at worst, and every task's own figure."""
    own, best = scored(run, model.encoder, held), ceilings(run, held)
    side = "validation" if held is run.validation else "test"
    before = once(run, ("untrained", side), lambda: scored(run, bench(run, untrained(run)), held))
    kept = {
        # An expert that has gained nothing leaves nothing to keep; more than all is all.
        task: min(1.0, gain_ratio(own[task].mean(), before[task].mean(), best[task]))
        if best[task] > before[task].mean()
        else 0.0
        for task in TASKS
    }
    shares = {task: own[task] / best[task] for task in TASKS}
    items, names = np.concatenate([*shares.values()]), np.repeat([*shares], len(held.files))
    worst, _ = worst_group(items, names.tolist())
    return {
        "normalised mean": np.mean([*shares.values()], axis=0),
        "worst task": shares[worst],
        "share of the experts' gain": float(np.mean(list(kept.values()))),
        **{metric: own[task] for task, metric in TASKS.items()},
        "steps for another mixture": float(model.steps),
        **model.figures,
    }


def probe_losses(run: MergingRun, encoder: TextEncoder) -> Float[np.ndarray, " tasks"]:
    """Each task's loss on its whole probe."""
    learner = towers(run, encoder)
    probes = [TowersProbe(learner, rows, [range(len(rows))]) for rows in run.train.probe.values()]
    with torch.no_grad():
        return torch.stack([probe({}, None) for probe in probes]).cpu().numpy()
