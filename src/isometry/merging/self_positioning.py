"""Self Positioning: learn from a few examples where among several models to stand."""

# Parts of torch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isometry.core.errors import InputError
from isometry.core.progress import track
from isometry.merging.average import average
from isometry.merging.task_arithmetic import task_arithmetic
from isometry.merging.task_vectors import TaskVectors, task_vectors
from isometry.merging.tensors import State

Per = Literal["model", "layer", "tensor"]
# The loss of a task as a function of weights: of one step's examples, or of all of them (None).
ProbeLoss = Callable[[State, int | None], Float[Tensor, ""]]

# A block of a transformer, by the names that models give their stacks.
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.\d+(?=\.)")
# Task arithmetic's usual scale, which multiplies the sum of the task vectors.
_USUAL_SCALE = 0.3
# A softmax never gives 0: a start on an edge moves off it by so little.
_LEAST_SHARE = 1e-4
# How often the whole probe is looked at, beside the starts.
_LOOKS = 6


@dataclass(frozen=True)
class Position:
    """A point in the span of task vectors, which are the differences of models to their base.

    Attributes:
        shares: Of each model; none negative, with the sum 1.
        distance: How far from the base: the task vectors' weighted mean is multiplied by it. At 1
            the point is the weighted mean of the models, at 0 the base.
    """

    shares: tuple[float, ...]
    distance: float = 1.0


@dataclass(frozen=True)
class Step:
    """What one step of learning saw.

    Attributes:
        loss: The mean of the tasks' losses on its examples.
        cosine: The lowest cosine of two tasks' gradients; 1 where there is one task.
    """

    loss: float
    cosine: float


@dataclass(frozen=True)
class Learned:
    """Where it is best to stand, and how that was found.

    Attributes:
        positions: By the name of a group of tensors; see `group_of`.
        per: How tensors are grouped.
        start: The start that was the best one.
        start_loss: Its loss on the whole probe.
        loss: That of `positions`; never more.
        history: Every step.
    """

    positions: dict[str, Position]
    per: Per
    start: Position
    start_loss: float
    loss: float
    history: tuple[Step, ...]

    def position(self, name: str) -> Position:
        """Where a tensor stands; one that no model changed stays the base's."""
        still = Position(self.start.shares, 0.0)
        return self.positions.get(group_of(name, self.per), still)

    @property
    def disagreement(self) -> float:
        """The share of steps in which the gradients of two tasks point against each other."""
        return float(np.mean([step.cosine < 0 for step in self.history])) if self.history else 0.0


def self_positioning(
    base: State, models: Sequence[State], position: Position | Callable[[str], Position]
) -> Iterator[tuple[str, Tensor]]:
    """The point at a position, tensor by tensor: an average, or task arithmetic with its weights.

    At distance 1 it is the average of the models to the bit; elsewhere what no model changed stays
    as it is to the bit.

    Args:
        base: The state dict that the models were tuned from.
        models: State dicts with the same names and shapes.
        position: For all tensors, or by a tensor's name.

    Yields:
        Name and tensor, in the base's order and in the type of the first model.

    Raises:
        ValueError: When the models do not fit together, or a share is missing.
    """
    for model in models:
        if different := sorted(set(base) ^ set(model)):
            raise ValueError(f"the models differ in their tensors: {', '.join(different[:5])}")
    for name in base:
        own = position(name) if callable(position) else position
        parts = [{name: model[name]} for model in models]
        if own.distance == 1:
            yield from average(parts, own.shares)
        else:
            yield from task_arithmetic({name: base[name]}, parts, own.shares, scale=own.distance)


def group_of(name: str, per: Per) -> str:
    """Which tensors share a position: all, those of a layer (and all that are in none), or none."""
    if per == "tensor":
        return name
    found = _LAYER.search(name) if per == "layer" else None
    return name[: found.end()] if found else ""


class Span:
    """The points that can be reached: for each group of tensors, shares and a distance.

    Shares are a softmax, so that they stay positive with the sum 1.

    Args:
        base: The state dict that the models were tuned from.
        models: State dicts with the same names and shapes.
        per: How tensors are grouped.

    Attributes:
        groups: Their names, of tensors that some model changed.
        logits: Of the shares of every group.
        distance: Of every group.
    """

    def __init__(self, base: State, models: Sequence[State], per: Per = "model") -> None:
        self.per: Per = per
        self.base: dict[str, Tensor] = {}
        self.vectors: list[dict[str, Tensor]] = [{} for _ in models]
        for name, tensor in base.items():
            if not tensor.is_floating_point():
                continue
            wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
            changes = [model[name].to(wide.dtype) - wide for model in models]
            if any(bool(change.any()) for change in changes):
                self.base[name] = wide
                for own, change in zip(self.vectors, changes, strict=True):
                    own[name] = change
        self.groups = list(dict.fromkeys(group_of(name, per) for name in self.base))
        self._row = {group: row for row, group in enumerate(self.groups)}
        size = len(self.groups), len(models)
        self.logits = torch.zeros(size, dtype=torch.float64, requires_grad=True)
        self.distance = torch.ones(size[0], dtype=torch.float64, requires_grad=True)

    def move(self, position: Position) -> None:
        """Goes to a position, with all groups."""
        shares = torch.tensor(position.shares, dtype=torch.float64).clamp(min=_LEAST_SHARE)
        with torch.no_grad():
            self.logits.copy_(shares.log().expand_as(self.logits))
            self.distance.fill_(position.distance)

    def positions(self) -> dict[str, Position]:
        """Where each group stands."""
        shares = self.logits.detach().softmax(dim=1).tolist()
        return {
            group: Position(tuple(own), distance)
            for group, own, distance in zip(
                self.groups, shares, self.distance.detach().tolist(), strict=True
            )
        }

    def weights(self) -> Float[Tensor, "groups models"]:
        """By what each group's task vectors are multiplied; gradients flow."""
        return self.distance[:, None] * self.logits.softmax(dim=1)

    def state(self) -> dict[str, Tensor]:
        """The tensors of this point that some model changed; each a leaf that takes a gradient."""
        weights = self.weights().tolist()
        found: dict[str, Tensor] = {}
        for name, tensor in self.base.items():
            total = tensor.clone()
            own = weights[self._row[group_of(name, self.per)]]
            for vector, weight in zip(self.vectors, own, strict=True):
                total.add_(vector[name], alpha=weight)
            found[name] = total.requires_grad_()
        return found

    def along(self, gradient: State) -> Float[Tensor, "groups models"]:
        """The slope of a loss by each weight, out of its gradient by the tensors.

        A weight moves the tensors along its task vector, so the slope is their inner product.
        """
        slopes = torch.zeros_like(self.logits, requires_grad=False)
        for name, part in gradient.items():
            row = self._row[group_of(name, self.per)]
            for model, vector in enumerate(self.vectors):
                slopes[row, model] += _product(part, vector[name])
        return slopes


def learn_weights(
    base: State,
    models: Sequence[State],
    probe: Mapping[str, ProbeLoss],
    *,
    per: Per = "model",
    starts: Sequence[Position] | None = None,
    steps: int = 60,
    learning_rate: float = 0.05,
    farthest: float = 2.0,
) -> Learned:
    """Searches the span of the task vectors for where the mean of the tasks' losses is lowest.

    Li et al. (2024), "Improving General Text Embedding Model: Tackling Task Conflict and Data
    Imbalance through Model Merging": the place between models is found by stochastic gradient
    descent on a few examples, as many of each task, whatever their training sets were. A step is
    one backward pass to the tensors for each task; inner products with the task vectors make of it
    the gradient of all weights.

    No code was published. Here the direction is a softmax and the distance from the base a scalar
    beside it, since the mean of nearly orthogonal vectors is too short; Adam steps them; it begins
    where the whole probe finds the best of the starts, and ends at the best point that the whole
    probe was asked about, so that it is never worse than a start. No penalty is put on the
    distance.

    Args:
        base: The state dict that the models were tuned from.
        models: State dicts with the same names and shapes.
        probe: By task, its loss as a function of the tensors that some model changed; gradients
            flow. Each task counts the same. Its examples must be in no model's training, or that
            model wins.
        per: Which tensors share a position.
        starts: Where to begin from; `usual_starts` when not given.
        steps: How many.
        learning_rate: Of Adam.
        farthest: The greatest distance from the base.

    Raises:
        InputError: When the loss is NaN or infinite at every start.
        ValueError: When there is no model, no task or no start, or a start is too far.
    """
    if not models or not probe:
        raise ValueError("learning weights takes models, and a probe")
    begin = usual_starts(task_vectors(base, models), farthest) if starts is None else starts
    if not begin or max(start.distance for start in begin) > farthest:
        raise ValueError(f"starts must lie at most {farthest} from the base: {begin}")
    span = Span(base, models, per)
    kept = {name: base[name] for name in span.base}
    others = [{name: model[name] for name in span.base} for model in models]

    def look(positions: Mapping[str, Position]) -> float:
        """The loss on the whole probe of what `self_positioning` makes of positions."""
        made = dict(self_positioning(kept, others, lambda name: positions[group_of(name, per)]))
        with torch.no_grad():
            value = sum(float(loss(made, None)) for loss in probe.values()) / len(probe)
        return value if math.isfinite(value) else math.inf

    with track("Learning weights", len(begin) + steps, "steps") as task:
        start_loss, start = math.inf, begin[0]
        for one in begin:
            value = look(dict.fromkeys(span.groups, one))
            if value < start_loss:
                start_loss, start = value, one
            task.advance()
        if math.isinf(start_loss):
            raise InputError(
                "The probe's loss is NaN or infinite wherever learning could begin.",
                "Look at the models' own figures: one of them may be damaged.",
            )
        best, positions = start_loss, dict.fromkeys(span.groups, start)
        span.move(start)
        optimiser = torch.optim.Adam([span.logits, span.distance], lr=learning_rate)
        history: list[Step] = []
        for number in range(steps if span.groups else 0):
            taken, slopes = _slopes(span, probe, number)
            history.append(taken)
            if not bool(torch.isfinite(slopes).all()):
                break
            optimiser.zero_grad()
            torch.autograd.backward(span.weights(), slopes)
            optimiser.step()
            with torch.no_grad():
                span.distance.clamp_(0.0, farthest)
            task.advance()
            task.note(f"loss {taken.loss:.3f}")
            if (number + 1) % max(1, steps // _LOOKS) == 0 or number + 1 == steps:
                here = span.positions()
                value = look(here)
                if value < best:
                    best, positions = value, here
    return Learned(positions, per, start, start_loss, best, tuple(history))


def over_gains(
    base: State, models: Sequence[State], probe: Mapping[str, ProbeLoss]
) -> dict[str, ProbeLoss]:
    """A probe whose losses are shares of what the models gain: 1 at the base, 0 at the best model.

    The mean of plain losses follows the task whose loss can fall furthest, and gives up the one
    on which even its own model gains little. Of a task that no model is better at, the loss over
    that of the base is taken: the share that is left of it.

    Args:
        base: The state dict that the models were tuned from.
        models: State dicts with the same names and shapes.
        probe: By task, its loss; not negative.
    """

    def whole(loss: ProbeLoss, state: State) -> float:
        floating = {name: part for name, part in state.items() if part.is_floating_point()}
        with torch.no_grad():
            return float(loss(floating, None))

    def share(loss: ProbeLoss) -> ProbeLoss:
        before, best = whole(loss, base), min(whole(loss, model) for model in models)
        least = best if best < before else 0.0
        return lambda state, step: (loss(state, step) - least) / (before - least)

    return {task: share(loss) for task, loss in probe.items()}


def _slopes(
    span: Span, probe: Mapping[str, ProbeLoss], step: int
) -> tuple[Step, Float[Tensor, "groups models"]]:
    """What a step sees, and the slopes of the mean loss by the weights."""
    state = span.state()
    losses: list[float] = []
    gradients: list[dict[str, Tensor]] = []
    for loss in probe.values():
        value = loss(state, step)
        # A pooler that no vector goes through, say, has a gradient of zeros.
        parts = torch.autograd.grad(value, list(state.values()), materialize_grads=True)
        losses.append(float(value.detach()))
        gradients.append(dict(zip(state, parts, strict=True)))
    lengths = [math.sqrt(_inner(own, own)) for own in gradients]
    cosines = [
        _inner(gradients[one], gradients[other]) / (lengths[one] * lengths[other])
        for one, other in combinations(range(len(gradients)), 2)
        if lengths[one] * lengths[other]
    ]
    slopes = torch.stack([span.along(own) for own in gradients]).mean(dim=0)
    return Step(sum(losses) / len(losses), min(cosines, default=1.0)), slopes


def _inner(one: State, other: State) -> float:
    return sum(_product(part, other[name]) for name, part in one.items())


def _product(one: Tensor, other: Tensor) -> float:
    """The inner product of two tensors, in their own precision: a step needs no more."""
    return float(torch.dot(one.reshape(-1), other.reshape(-1)))


def usual_starts(vectors: TaskVectors, farthest: float = 2.0) -> list[Position]:
    """Fixed mergers as positions with equal shares: where learning may begin.

    The average; task arithmetic at its usual scale; and the mean at the length that the task
    vectors have themselves, which for two of one length is the middle of their arc.

    Args:
        vectors: The models, compared.
        farthest: The greatest distance from the base.
    """
    count = len(vectors.norms)
    equal = (1 / count,) * count
    mean = math.sqrt(max(0.0, float(vectors.products.mean())))
    long = float(vectors.norms.mean()) / mean if mean else 1.0
    return [
        Position(equal, min(distance, farthest)) for distance in (1.0, _USUAL_SCALE * count, long)
    ]


def arc(vectors: TaskVectors, order: Sequence[int]) -> Position:
    """SLERP of whole task vectors, one after the other, as a position.

    The first is turned halfway towards the second, the result by a third towards the next, and so
    on. The order makes a difference from three models on.

    Args:
        vectors: The models, compared.
        order: The numbers of the models.
    """
    products = vectors.products
    weights = np.eye(len(products))[order[0]]
    for place, model in enumerate(order[1:], 2):
        other = np.eye(len(products))[model]
        lengths = math.sqrt((weights @ products @ weights) * products[model, model])
        cosine = float(weights @ products @ other) / lengths if lengths else 1.0
        angle = math.acos(max(-1.0, min(1.0, cosine)))
        ends = 1 - 1 / place, 1 / place
        if math.sin(angle) > 1e-6:
            first, second = (math.sin(end * angle) / math.sin(angle) for end in ends)
        else:
            first, second = ends
        weights = first * weights + second * other
    total = float(weights.sum())
    return Position(tuple((weights / total).tolist()), total)
