"""What a paper's system is: arms that get the same, and gates on what they reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np

from isometry.encoders.text import Precision

if TYPE_CHECKING:
    from isometry.systems.run import Run

ScaleName = Literal["miniature", "small", "full"]
Figures = Mapping[str, "float | np.ndarray"]

AnyScale = TypeVar("AnyScale", bound="Scale")
Train = TypeVar("Train")
Held = TypeVar("Held")
Model = TypeVar("Model")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How big a reproduction is; a system adds settings of its own in a subclass.

    Attributes:
        model: The pretrained encoder that the arms start from: `packaged:NAME` or a hub id.
        steps: Optimiser steps of each stage of training, by the stage's name. An arm that trains
            in a stage trains for exactly so many.
        rates: Peak learning rates that every trained arm chooses from, on validation. Where one at
            an end is the best, some beyond it are tried too.
        seeds: How many times everything is done, each with another seed, from 0.
        precision: Of training, and of encoding by `Run.cached`.
        gpu_gib: The memory of the GPU that it takes; 0 where a processor does.
        hub: Ids of models and data sets that are downloaded.
    """

    model: str
    steps: Mapping[str, int]
    rates: tuple[float, ...] = (5e-5,)
    seeds: int = 3
    precision: Precision = "bfloat16"
    gpu_gib: float = 0.0
    hub: tuple[str, ...] = ()


@dataclass(frozen=True)
class Splits(Generic[Train, Held]):
    """Data that all arms share.

    Attributes:
        train: What arms are made from.
        validation: What settings are chosen on.
        test: What the figures are about; the harness alone opens it, once a model.
    """

    train: Train
    validation: Held
    test: Held


@dataclass(frozen=True)
class Arm(Generic[AnyScale, Train, Held, Model]):
    """One way of making a model.

    Attributes:
        about: What it does, in a phrase.
        make: Makes the model of one run.
        stages: The stages of `Scale.steps` in which it trains; none for what is not trained.
        chosen_on: The metric, one of a gate, by which it chooses its rate on validation; the
            headline's where none is given. An arm that a gate compares on another metric has that;
            one that is compared on two stands twice, with the same `make`, and trains once.
    """

    about: str
    make: Callable[[Run[AnyScale, Train, Held]], Model]
    stages: tuple[str, ...] = ()
    chosen_on: str = ""


@dataclass(frozen=True)
class Gate:
    """What must hold of a figure.

    A gate that asks for a gain (`at_least` of 0 or more, against another arm) wants its 95 %
    interval above 0 too. One that allows a loss (`at_least` below 0) looks at the difference alone.

    Attributes:
        metric: The name of a figure.
        at_least: The least gain over the other arm, or without one the least figure itself; in the
            unit of the metric.
        versus: The other arm.
        arm: Whose figure it is; the system's method by default.
        lower_is_better: Whether a smaller figure is the better one; `at_least` then is the most
            that the figure may be, and a gain is a decrease.
        report_only: Whether it is shown and decides nothing.
        reported: The paper's own figure for this, with its table or section.
    """

    metric: str
    at_least: float
    versus: str | None = None
    arm: str | None = None
    lower_is_better: bool = False
    report_only: bool = False
    reported: str = ""


@dataclass(frozen=True, kw_only=True)
class System(Generic[AnyScale, Train, Held, Model]):
    """A paper's claim, as something that runs.

    The docstring of its module is what people read about the method.

    Attributes:
        title: The paper's method and what it is for, in a line.
        arxiv: The paper's number there; empty where it has none.
        claim: What must be seen for the method to have helped, in a sentence.
        differs: What here differs from the paper, in whole sentences.
        data: Reads the data of a scale; the same for all arms and seeds.
        arms: What is compared, by name.
        baseline: The arm that the method has to beat.
        method: The paper's arm.
        measure: The figures of a model on validation or test: for each metric one number, or one
            an item, in the same order for all arms.
        gates: The first is the headline.
        scales: `miniature` (seconds, for the tests), `small` (minutes to four hours on two cores,
            with real data and real weights) and `full` (as in the paper; other numbers, the same
            code).
        trade: Two figures that are drawn against each other: what an arm costs, above 0 and the
            lower the better, and what that buys, the higher the better. Nothing by default.
    """

    title: str
    arxiv: str
    claim: str
    differs: str
    data: Callable[[AnyScale], Splits[Train, Held]]
    arms: Mapping[str, Arm[AnyScale, Train, Held, Model]]
    baseline: str
    method: str
    measure: Callable[[Run[AnyScale, Train, Held], Model, Held], Figures]
    gates: tuple[Gate, ...]
    scales: Mapping[ScaleName, AnyScale]
    trade: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        named = [self.baseline, self.method]
        named += [name for gate in self.gates for name in (gate.versus, gate.arm) if name]
        for name in named:
            if name not in self.arms:
                raise ValueError(f"there is no arm {name!r}")
        if not self.gates or self.gates[0].versus != self.baseline or self.gates[0].report_only:
            raise ValueError("the first gate must set the method against the baseline")
        judged = {gate.metric for gate in self.gates}
        for name, arm in self.arms.items():
            if arm.chosen_on and arm.chosen_on not in judged:
                raise ValueError(f"the arm {name!r} chooses by {arm.chosen_on!r}, which no gate is")
        for scale in self.scales.values():
            for name, arm in self.arms.items():
                if not set(arm.stages) <= set(scale.steps):
                    raise ValueError(f"the arm {name!r} trains in a stage without steps")

    def arm_of(self, gate: Gate) -> str:
        """The arm whose figure a gate is about."""
        return gate.arm or self.method

    def chooser(self, arm: str) -> Gate:
        """A gate whose metric, with its direction, chooses the rate of an arm."""
        metric = self.arms[arm].chosen_on or self.gates[0].metric
        return next(gate for gate in self.gates if gate.metric == metric)


AnySystem = System[Any, Any, Any, Any]
