"""From the figures of all arms and seeds to gates that passed or did not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.evaluation.significance import crossed_bootstrap
from isometry.systems.system import AnySystem, Gate

# By arm and seed: metric -> one number, or one an item.
AllFigures = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Verdict:
    """A gate with what was found.

    Attributes:
        metric: As in the gate.
        arm: Whose figure it is.
        versus: The other arm, if any.
        at_least: What the gate asks for.
        lower_is_better: As in the gate.
        report_only: As in the gate.
        reported: The paper's own figure.
        figure: The arm's, the mean over seeds and items.
        other: The other arm's.
        gain: By how much the arm is better than the other; below 0 it is worse.
        low: The lower end of the 95 % interval of the gain, over seeds and items.
        high: The upper end.
        passed: Whether the gate holds.
    """

    metric: str
    arm: str
    versus: str | None
    at_least: float
    lower_is_better: bool
    report_only: bool
    reported: str
    figure: float
    other: float | None
    gain: float | None
    low: float | None
    high: float | None
    passed: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def judge(system: AnySystem, figures: AllFigures) -> list[Verdict]:
    """Every gate of a system, in its order.

    Args:
        system: With its gates.
        figures: For every arm that a gate names, the figures of each seed, in the same order.

    Raises:
        InputError: When one figure of an arm is to be compared with one of another.
    """
    return [_judge(gate, system.arm_of(gate), figures) for gate in system.gates]


def _judge(gate: Gate, arm: str, figures: AllFigures) -> Verdict:
    mine = values_of(figures[arm], gate.metric)
    sign = -1.0 if gate.lower_is_better else 1.0
    figure = float(mine.mean())
    other = gain = low = high = None
    if gate.versus is None:
        passed = sign * (figure - gate.at_least) >= 0
    else:
        theirs = values_of(figures[gate.versus], gate.metric)
        if mine.shape != theirs.shape:
            raise InputError(
                f"'{gate.metric}' of '{arm}' and of '{gate.versus}' are of other items.",
                "Give both for the same items of the same seeds.",
            )
        if mine.size < 2:
            raise InputError(
                f"'{gate.metric}' is one number a seed, and one seed cannot be compared.",
                "Run it with --seeds 2, or more.",
            )
        change = crossed_bootstrap(sign * theirs, sign * mine)
        other, gain, low, high = (
            float(theirs.mean()), change.difference, change.low, change.high
        )  # fmt: skip
        passed = gain >= gate.at_least and (gate.at_least < 0 or low > 0)
    return Verdict(
        gate.metric, arm, gate.versus, gate.at_least, gate.lower_is_better, gate.report_only,
        gate.reported, figure, other, gain, low, high, passed,
    )  # fmt: skip


def same_verdicts(some: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> bool:
    """Whether verdicts as JSON say the same.

    The last bits of a mean are no difference: another processor adds in another order.
    """
    return len(some) == len(others) and all(
        one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
        for one, other in zip(some, others, strict=True)
    )


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return one == other


def values_of(runs: Sequence[Mapping[str, Any]], metric: str) -> Float[np.ndarray, "seeds items"]:
    """One metric of one arm, by seed and item; a metric of one number has one item.

    Raises:
        InputError: When the metric is missing, or the seeds have different items.
    """
    if any(metric not in run for run in runs):
        known = ", ".join(sorted(runs[0]))
        raise InputError(f"There is no figure '{metric}'.", f"There are: {known}.")
    rows = [np.atleast_1d(np.asarray(run[metric], dtype=np.float64)) for run in runs]
    if len({row.shape for row in rows}) != 1:
        raise InputError(f"The seeds gave '{metric}' for different items.")
    return np.stack(rows)


def passed(verdicts: Sequence[Verdict]) -> bool:
    """Whether every gate that decides holds."""
    return all(verdict.passed for verdict in verdicts if not verdict.report_only)
