"""What all mergers share: models that fit together, one tensor at a time, and their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# Any mapping; with one that reads a tensor when it is asked for it, few are in memory at once.
State = Mapping[str, Tensor]
# One for each model: the same for all tensors, or by the tensor's name.
Weights = Sequence[float] | Callable[[str], Sequence[float]]

_LISTED = 5
_BLOCK = 1 << 20


class Relation(NamedTuple):
    """How a model stands to another one of its shape, over all tensors of numbers with a point.

    Attributes:
        distance: The norm of their difference, by the norm of the first.
        cosine: Of the two as vectors.
    """

    distance: float
    cosine: float


def merge_tensors(
    models: Sequence[State], merge: Callable[[str, Callable[[int], Tensor]], Tensor], own: int = 0
) -> Iterator[tuple[str, Tensor]]:
    """Merges models tensor by tensor; tensors of whole numbers must agree and are passed on.

    Args:
        models: State dicts with the same names and shapes.
        merge: Makes a tensor of its name and a function that reads a model's part, by the model's
            number, in float32 at least. A part may be the model's own tensor: not to be written.
        own: The number of the model whose types the results have.

    Yields:
        Name and tensor, in the first model's order.

    Raises:
        ValueError: When names, kinds, shapes or whole-number tensors differ.
    """
    if not models:
        raise ValueError("nothing to average")
    for other in models[1:]:
        if different := sorted(set(models[0]) ^ set(other)):
            listed = ", ".join(different[:_LISTED])
            raise ValueError(f"the models differ in their tensors: {listed}")
    for name in models[0]:
        yield name, _merge_one(models, name, merge, own)


def _merge_one(
    models: Sequence[State],
    name: str,
    merge: Callable[[str, Callable[[int], Tensor]], Tensor],
    own: int,
) -> Tensor:
    first = models[0][name]
    if not first.is_floating_point():
        for model in models[1:]:
            if not torch.equal(_fitting(models, model[name], name, first), first):
                raise ValueError(f"the models differ in {name}, which cannot be averaged")
        return first
    kept = _fitting(models, models[own][name], name, first).dtype if own else first.dtype
    wide = torch.promote_types(kept, torch.float32)

    def part(model: int) -> Tensor:
        # The first model's is at hand already.
        read = first if model == 0 else models[model][name]
        return _fitting(models, read, name, first).to(wide)

    return merge(name, part).to(kept)


def _fitting(models: Sequence[State], part: Tensor, name: str, first: Tensor) -> Tensor:
    """The part, if its kind and shape are those of the first model's."""
    if part.is_floating_point() != first.is_floating_point():
        raise ValueError(f"the models differ in the kind of {name}: {first.dtype}, {part.dtype}")
    if part.shape != first.shape:
        shapes = ", ".join(str(tuple(model[name].shape)) for model in models)
        raise ValueError(f"the models differ in the shape of {name}: {shapes}")
    return part


def shares_of(weights: Weights | None, models: int, name: str, usual: float) -> list[float]:
    """The weight of each model in one tensor.

    Args:
        weights: What the user of a merger gave.
        models: How many there are.
        name: The tensor's.
        usual: The weight of each where none was given.

    Raises:
        ValueError: When there is not one for each model.
    """
    if weights is None:
        return [usual] * models
    shares = list(weights(name) if callable(weights) else weights)
    if len(shares) != models:
        raise ValueError(f"{models} models and {len(shares)} weights")
    return shares


def add_task_vectors(
    base: State,
    models: Sequence[State],
    weights: Weights | None,
    usual: float,
    scale: float,
    mix: Callable[[str, Callable[[int], Tensor], Sequence[float]], Tensor],
) -> Iterator[tuple[str, Tensor]]:
    """The base and, times a scale, what is made of the models' differences to it.

    Args:
        base: The state dict that the models were tuned from.
        models: State dicts with the same names and shapes.
        weights: One for each model.
        usual: The weight of each where none was given.
        scale: How far to go.
        mix: Makes one tensor of a name, a function that gives a model's difference anew at each
            call, by the model's number, and the weights.

    Yields:
        Name and tensor, in the base's order and in the type of the first model.

    Raises:
        ValueError: When the models do not fit together, or weights are missing.
    """
    if not models:
        raise ValueError("nothing to average")

    def merge(name: str, part: Callable[[int], Tensor]) -> Tensor:
        shares = shares_of(weights, len(models), name, usual)
        return mix(name, lambda model: part(model + 1) - part(0), shares).mul_(scale).add_(part(0))

    return merge_tensors([base, *models], merge, own=1)


def dot(one: Float[Tensor, "*shape"], other: Float[Tensor, "*shape"]) -> float:
    """The dot product of two tensors of one shape, summed in float64, without a copy of either."""
    mine, theirs = one.reshape(-1), other.reshape(-1)
    blocks = (slice(start, start + _BLOCK) for start in range(0, mine.numel(), _BLOCK))
    return sum(float(torch.dot(mine[block].double(), theirs[block].double())) for block in blocks)


def relations(base: State, models: Sequence[State]) -> list[Relation]:
    """How far each model lies from a base; see `Relation`. Reads all tensors once."""
    own = 0.0
    across, others = [0.0] * len(models), [0.0] * len(models)
    for name, tensor in base.items():
        if not tensor.is_floating_point():
            continue
        own += dot(tensor, tensor)
        for number, model in enumerate(models):
            part = model[name]
            across[number] += dot(tensor, part)
            others[number] += dot(part, part)
    return [
        Relation(
            (max(own - 2 * product + other, 0.0) / own) ** 0.5 if own else float("inf"),
            product / (own * other) ** 0.5 if own * other else 0.0,
        )
        for product, other in zip(across, others, strict=True)
    ]
