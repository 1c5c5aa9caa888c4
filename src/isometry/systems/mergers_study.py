"""The mergers whose weights are not learned, each with the settings that validation prefers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

from torch import Tensor

from isometry.encoders.text import TextEncoder
from isometry.evaluation.sweep import sweep
from isometry.merging.average import average
from isometry.merging.dare import dare
from isometry.merging.slerp import slerp
from isometry.merging.task_arithmetic import task_arithmetic
from isometry.merging.ties import ties
from isometry.systems.merging_study import (
    Merged,
    MergingRun,
    experts,
    fresh,
    normalised,
    placed,
    probe_losses,
)
from isometry.systems.merging_tasks_study import TASKS

# Each model is the last one that SLERP folds in, once.
ORDERS = tuple(order for order in permutations(range(len(TASKS))) if order[0] < order[1])


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
