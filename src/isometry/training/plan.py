"""Everything about a fit that depends on the machine, written down and then followed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from isometry.core.errors import InputError
from isometry.encoders.sizes import Size, are_nested, size_name
from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import Precision, TextEncoder
from isometry.learners.two_towers import TwoTowers
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Diagonal, Matryoshka


@dataclass(frozen=True)
class Plan:
    """Everything about a fit that depends on the machine; with it the run is deterministic.

    Attributes:
        minutes: What the user allowed.
        seed: Of every random choice.
        steps: Optimiser steps.
        batch: Pairs a step at most.
        precision: Of encoding and training.
        query_tokens: Where training cuts queries.
        passage_tokens: Where training cuts passages.
        frozen_layers: How many of the lowest layers stay as they are, as the word vectors do.
        layers: How many layers the encoder has.
        learning_rate: The peak.
        temperature: Of the contrast.
        dims: The prefixes of the last layer's vectors that are trained.
        alphas: The points on the line base .. tuned that validation chooses from.
        pool: Documents that validation and test rank at most: all, or a sample with every answer.
        queries: Queries of validation, and of test, at most.
        pairs: Pairs that training draws from at most.
        pairs_to_be_seen: Steps times batch.
        epochs: The same, in passes over the training pairs.
        threads: Processor threads.
        measured: Speeds, in tokens and steps per second.
        estimate_seconds: The expected time of each phase.
        nested: The smaller sizes that are trained, layers and dimensions both rising.
    """

    minutes: float
    seed: int
    steps: int
    batch: int
    precision: Precision
    query_tokens: int
    passage_tokens: int
    frozen_layers: int
    layers: int
    learning_rate: float
    temperature: float
    dims: tuple[int, ...]
    alphas: tuple[float, ...]
    pool: int
    queries: int
    pairs: int
    pairs_to_be_seen: int
    epochs: float
    threads: int
    measured: dict[str, float]
    estimate_seconds: dict[str, float]
    nested: tuple[Size, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> Plan:
        """Reads what `to_json` gave.

        Raises:
            InputError: When it is no plan of this version.
        """
        names = {field.name for field in fields(cls)}
        if isinstance(values, dict):
            # Plans of Spaces that were made before there were any.
            values = {"nested": [], **values}
        if not isinstance(values, dict) or set(values) != names:
            given = set(values) if isinstance(values, dict) else set()
            wrong = ", ".join(sorted(names ^ given)[:4])
            raise InputError(
                f"This is no plan of this version of Isometry (it differs in: {wrong}).",
                "Make a new one with --dry-run --json, or leave --plan out.",
            )
        for name, value in values.items():
            if not _may_be(name, value):
                raise InputError(f"This is no plan that can be followed: its {name} is {value!r}.")
        if values["frozen_layers"] > values["layers"]:
            raise InputError("This is no plan that can be followed: it freezes too many layers.")
        nested = tuple((layers, dim) for layers, dim in values["nested"])
        if nested and not (
            are_nested([*nested, (values["layers"], max(values["dims"]))])
            and values["frozen_layers"] == 0
        ):
            raise InputError(
                "This is no plan that can be followed: its nested sizes do not fit its layers."
            )
        return cls(
            **{
                **values,
                "dims": tuple(values["dims"]),
                "alphas": tuple(values["alphas"]),
                "nested": nested,
            }
        )


# The least value of every whole number in a plan.
_LEAST = {
    "seed": 0,
    "steps": 1,
    "batch": 2,
    "query_tokens": 1,
    "passage_tokens": 1,
    "frozen_layers": 0,
    "layers": 1,
    "pool": 1,
    "queries": 1,
    "pairs": 2,
    "pairs_to_be_seen": 0,
    "threads": 1,
}
# Of another machine's plan; far more cannot be started anywhere.
_MOST_THREADS = 1024


def _may_be(name: str, value: Any) -> bool:
    """Whether a field of a plan can have this value; a plan may come from a user's file."""
    if name in _LEAST:
        most = _MOST_THREADS if name == "threads" else math.inf
        return type(value) is int and _LEAST[name] <= value <= most
    if name == "precision":
        return value in get_args(Precision)
    if name == "dims":
        return _all(value, lambda width: type(width) is int and width >= 1)
    if name == "alphas":
        return _all(value, lambda alpha: _is_number(alpha) and 0 < alpha <= 1)
    if name == "nested":
        return value in ([], ()) or (_all(value, _is_size) and are_nested(value))
    if name in ("measured", "estimate_seconds"):
        needed = {"training"} if name == "estimate_seconds" else set[str]()
        return (
            isinstance(value, dict)
            and needed <= set(value)
            and all(map(_is_number, value.values()))
        )
    return _is_number(value) and (value > 0 or (name == "epochs" and value == 0))


def _all(values: Any, rule: Callable[[Any], bool]) -> bool:
    return isinstance(values, list | tuple) and len(values) > 0 and all(map(rule, values))


def _is_size(value: Any) -> bool:
    return _all(value, lambda part: type(part) is int) and len(value) == 2


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)


def speed_key(size: Size) -> str:
    """Under which name a plan has the measured speed of an encoder that is cut to a size."""
    return f"encode_tokens_per_second_{size_name(size)}"


def make_learner(encoder: TextEncoder, plan: Plan) -> TwoTowers:
    """The learner that a plan trains, its lowest layers frozen as planned."""
    freeze_below(encoder, plan.frozen_layers)
    # Queries choose documents, as in search; the other way too gains nothing (docs/ablations.md).
    contrast = InfoNCE(plan.temperature, a_to_b=1.0)
    # Sizes are summed, prefixes averaged. That makes no difference: gradients of both are far above
    # the norm to which the trainer clips them, and AdamW divides by their scale.
    sizes = (*plan.nested, (plan.layers, encoder.dim))
    return TwoTowers(
        encoder,
        Matryoshka(contrast, Diagonal(sizes) if plan.nested else MRL(plan.dims)),
        query_tokens=plan.query_tokens,
        document_tokens=plan.passage_tokens,
        layers=bool(plan.nested),
    )
