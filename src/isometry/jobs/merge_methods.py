"""A merge's tensors by its method, and what is to be said of weights and of a base before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor

from isometry.core.errors import InputError
from isometry.core.progress import say, track
from isometry.jobs.merge_recipe import MergeSettings
from isometry.merging.average import average
from isometry.merging.checkpoints import Checkpoint, listed
from isometry.merging.dare import dare
from isometry.merging.self_positioning import Position, self_positioning
from isometry.merging.slerp import slerp
from isometry.merging.task_arithmetic import task_arithmetic
from isometry.merging.tensors import relations
from isometry.merging.ties import ties

# A model that is farther from its base than this, by their norms and by their cosine, is odd.
_FAR, _UNLIKE = 1.0, 0.5


def look_at_weights(settings: MergeSettings, model: Checkpoint) -> list[str]:
    """Weights that do not sum to 1; a pattern that fits nothing is an error."""
    for own in settings.tensors:
        if not any(fnmatchcase(name, own.pattern) for name in model):
            raise InputError(
                f"No tensor's name fits '{own.pattern}'.", f"One is called {next(iter(model))}."
            )
    sums = [sum(weights) for weights in settings.all_weights()]
    if not settings.of_shares:
        return []
    return [
        f"The weights sum to {total:g}, not to 1"
        + ("; their ratio is taken." if settings.takes_ratio else ".")
        for total in sums
        if abs(total - 1) > 1e-6
    ]


def look_at_copies(fingerprints: Mapping[str, str], models: Sequence[str]) -> list[str]:
    """Models that are merged with themselves.

    Args:
        fingerprints: Of every parent by its name.
        models: What is merged, as often as it was named.
    """
    names: dict[str, list[str]] = {}
    for name in [*models, *(name for name in fingerprints if name not in models)]:
        names.setdefault(fingerprints[name], []).append(name)
    return [
        f"'{same[0]}' is merged with itself."
        if len(set(same)) == 1
        else f"{listed(list(dict.fromkeys(same)))} are one model."
        for same in names.values()
        if len(same) > 1
    ]


def look_at_base(base: Checkpoint, models: Sequence[Checkpoint]) -> list[str]:
    """Models that do not look as if they had been tuned from the base."""
    say("Comparing the models with their base ...")
    found = relations(base, models)
    return [
        f"'{model.source}' has the weights of its base '{base.source}': it adds nothing."
        for model, relation in zip(models, found, strict=True)
        if relation.distance == 0
    ] + [
        f"'{base.source}' does not look like the base of '{model.source}': their difference is"
        f" {relation.distance:.2f} of its norm, their cosine {relation.cosine:.2f}."
        for model, relation in zip(models, found, strict=True)
        if relation.distance > _FAR or relation.cosine < _UNLIKE
    ]


def merged(
    settings: MergeSettings, models: Sequence[Checkpoint], base: Checkpoint | None
) -> Iterator[tuple[str, Tensor]]:
    """The merge's tensors, as its method makes them, while a bar counts them."""
    with track("Merging", len(models[0]), "tensors") as task:
        for made in _by_method(settings, models, base):
            yield made
            task.advance()


def _by_method(
    settings: MergeSettings, models: Sequence[Checkpoint], base: Checkpoint | None
) -> Iterator[tuple[str, Tensor]]:
    count = len(models)
    equal = tuple([1 / count if settings.of_shares else 1.0] * count)

    def weights(name: str) -> tuple[float, ...]:
        return settings.weights_of(name) or equal

    if settings.method == "slerp":
        return slerp(models[0], models[1], lambda name: weights(name)[1] / sum(weights(name)))
    if settings.method == "average" or base is None:
        return average(models, weights)
    if settings.method == "self-positioning":
        return self_positioning(
            base, models, lambda name: Position(weights(name), settings.scale_of(name))
        )
    scale = settings.value("scale")
    if settings.method == "task-arithmetic":
        return task_arithmetic(base, models, weights, scale=scale)
    if settings.method == "ties":
        return ties(base, models, weights, keep=settings.value("keep"), scale=scale)
    return dare(
        base,
        models,
        weights,
        drop=settings.value("drop"),
        scale=scale,
        seed=settings.seed,
        elect_signs=settings.elect_signs,
    )
