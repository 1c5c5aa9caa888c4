"""The mergers: those whose settings validation prefers, and one whose weights are learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from torch import Tensor

from isometry.encoders.text import TextEncoder
from isometry.evaluation.sweep import sweep
from isometry.merging.average import average
from isometry.merging.dare import dare
from isometry.merging.probe_loss import TowersProbe
from isometry.merging.self_positioning import (
    Per,
    Position,
    ProbeLoss,
    arc,
    learn_weights,
    over_gains,
    self_positioning,
)
from isometry.merging.slerp import slerp
from isometry.merging.task_arithmetic import task_arithmetic
from isometry.merging.task_vectors import task_vectors
from isometry.merging.ties import ties
from isometry.systems.merging_study import (
    Merged,
    MergingRun,
    experts,
    fresh,
    keys_of,
    normalised,
    placed,
    probe_losses,
    towers,
)
from isometry.systems.merging_tasks_study import TASKS
from isometry.training.unique_batches import unique_batches

# Each model is the last one that SLERP folds in, once.
ORDERS = tuple(order for order in permutations(range(len(TASKS))) if order[0] < order[1])
# As far as the plain sum of the task vectors, which task arithmetic may choose too.
_FARTHEST = float(len(TASKS))


def tuned(
    run: MergingRun,
    merge: Callable[..., Iterable[tuple[str, Tensor]]],
    axes: Mapping[str, Sequence[Any]],
) -> TextEncoder:
    """A merge with the settings that validation prefers.

    Args:
        run: The run of an arm.
        merge: Takes the axes' names as keywords, and gives names and tensors.
        axes: The settings to choose from.
    """
    encoder = fresh(run)

    def score(**settings: Any) -> float:
        placed(encoder, merge(**settings))
        return float(normalised(run, encoder, run.validation).mean())

    chosen = {name: values[0] for name, values in axes.items()}
    if any(len(values) > 1 for values in axes.values()):
        chosen = sweep(score, axes).best()
    return placed(encoder, merge(**chosen))


def averaged(run: MergingRun) -> Merged:
    """The mean of the experts."""
    _, models = experts(run)
    encoder = placed(fresh(run), average(models))
    return Merged(encoder, figures={"probe loss": probe_losses(run, encoder)})


def added(run: MergingRun) -> Merged:
    """Task arithmetic."""
    base, models = experts(run)
    return Merged(
        tuned(
            run,
            lambda scale: task_arithmetic(base, models, scale=scale),
            {"scale": run.scale.scales},
        )
    )


def folded(run: MergingRun) -> Merged:
    """SLERP of two, then of the result and the third."""
    _, models = experts(run)

    def merge(order: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
        first, second, third = (models[model] for model in order)
        return slerp(dict(slerp(first, second, 1 / 2)), third, 1 / 3)

    return Merged(tuned(run, merge, {"order": ORDERS[: run.scale.orders]}))


def elected(run: MergingRun) -> Merged:
    """TIES."""
    base, models = experts(run)
    axes = {"keep": run.scale.keeps, "scale": run.scale.lengths}
    return Merged(tuned(run, lambda keep, scale: ties(base, models, keep=keep, scale=scale), axes))


def thinned(run: MergingRun) -> Merged:
    """DARE."""
    base, models = experts(run)
    axes = {"drop": run.scale.drops, "scale": run.scale.lengths}
    return Merged(
        tuned(
            run,
            lambda drop, scale: dare(base, models, drop=drop, scale=scale, seed=run.seed),
            axes,
        )
    )


def positioned(run: MergingRun, per: Per = "tensor", *, by_gains: bool = True) -> Merged:
    """Self Positioning, from the best of the fixed mergers that stand in the span.

    Args:
        run: With the experts.
        per: Which tensors share a position.
        by_gains: Whether the probe's losses are taken over what the experts gain on them.
    """
    (base, models), scale = experts(run), run.scale
    vectors, learner = task_vectors(base, models), towers(run, fresh(run))
    equal = (1 / len(models),) * len(models)
    starts = [Position(equal), *(Position(equal, len(models) * by) for by in scale.scales)]
    starts += [arc(vectors, order) for order in ORDERS[: scale.orders]]
    probe: dict[str, ProbeLoss] = {
        task: TowersProbe(
            learner,
            rows,
            list(unique_batches(keys_of(rows), scale.batch, scale.probe_steps, run.seed)),
            bfloat16=scale.precision == "bfloat16",
        )
        for task, rows in run.train.probe.items()
    }
    learned = learn_weights(
        base,
        models,
        over_gains(base, models, probe) if by_gains else probe,
        per=per,
        starts=[start for start in starts if start.distance <= _FARTHEST],
        steps=scale.probe_steps,
        farthest=_FARTHEST,
    )
    stands = learned.positions.values()
    shares = np.mean([position.shares for position in stands], axis=0)
    encoder = placed(fresh(run), self_positioning(base, models, learned.position))
    return Merged(
        encoder,
        # A step sees a batch of each task.
        len(TASKS) * scale.probe_steps,
        {
            "probe loss": probe_losses(run, encoder),
            "probe loss over the best start": learned.loss - learned.start_loss,
            "distance from the base": float(np.mean([each.distance for each in stands])),
            **{f"share of {task}": float(share) for task, share in zip(TASKS, shares, strict=True)},
            "highest cosine of task vectors": float(
                vectors.cosines[np.triu_indices(len(models), 1)].max()
            ),
            "sign conflict of task vectors": vectors.sign_conflict,
            "steps whose tasks disagree": learned.disagreement,
        },
    )
