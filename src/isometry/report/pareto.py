"""What is bought with what it costs: arms as points, and those that no other one beats at both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isometry.report.picture_file import picture_file
from isometry.report.svg import (
    ACCENT,
    FONT,
    GREY,
    RULE,
    WIDTH,
    line,
    line_style,
    marker,
    name_ticks,
    nice_ticks,
    picture,
    text_at,
    text_width,
)

_HEIGHT = 220.0  # of the area that the points are drawn in
_ROW = 16.0


@dataclass(frozen=True, slots=True)
class Point:
    """One way of doing it.

    Attributes:
        name: What it is called.
        cost: The lower, the better; above 0.
        score: The higher, the better.
    """

    name: str
    cost: float
    score: float


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats: from the cheapest to the best.

    A point is beaten if another costs no more and scores no less, and is better at one of the two.
    Of points that are equal at both, the first stays.
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.score)):
        if not best or point.score > best[-1].score:
            best.append(point)
    return best


def points_of(record: Mapping[str, Any], cost: str, score: str) -> list[Point]:
    """The arms of a record that have two figures, with the means of these over seeds and items.

    Args:
        record: What `reproduce` leaves.
        cost: The name of a figure.
        score: The name of another.
    """

    def mean(arm: Mapping[str, Any], metric: str) -> float:
        return float(np.mean([np.mean(run["figures"][metric]) for run in arm["runs"]]))

    return [
        Point(name, mean(arm, cost), mean(arm, score))
        for name, arm in record["arms"].items()
        if all({cost, score} <= set(run["figures"]) for run in arm["runs"])
    ]


def pareto_plot(points: Sequence[Point], *, label: str, cost: str, score: str) -> str:
    """Points over a logarithmic cost, with the front joined, numbered and listed below, as SVG.

    Args:
        points: What is shown.
        label: What the plot shows, for people who do not see it.
        cost: Name and unit of the horizontal axis.
        score: Name and unit of the vertical axis.

    Returns:
        The SVG, or an empty string when there are no points.

    Raises:
        ValueError: When a cost is not above 0.
    """
    if not points:
        return ""
    if min(point.cost for point in points) <= 0:
        raise ValueError("a logarithmic axis has no place for a cost that is not above 0")
    rows = nice_ticks(min(point.score for point in points), max(point.score for point in points))
    low, high = (f(math.log10(point.cost) for point in points) for f in (min, max))
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    ticks = [tick for tick in ticks if low - 0.31 <= math.log10(tick) <= high + 0.31]
    first, last = min(low, math.log10(ticks[0])), max(high, math.log10(ticks[-1]))
    left = max(map(text_width, name_ticks(rows))) + 8
    top, right = FONT + 14, WIDTH - 8
    bottom = top + _HEIGHT

    def across(value: float) -> float:
        share = (math.log10(value) - first) / (last - first) if last > first else 0.5
        return left + 8 + share * (right - left - 8)

    def down(value: float) -> float:
        return bottom - (value - rows[0]) / (rows[-1] - rows[0]) * _HEIGHT

    parts = [text_at(0, FONT, score, "start"), text_at(WIDTH, bottom + 35, cost, "end")]
    for tick, name in zip(rows, name_ticks(rows), strict=True):
        parts.append(line(left, down(tick), WIDTH, down(tick), RULE))
        parts.append(text_at(left - 6, down(tick) + 4, name, "end"))
    for tick in ticks:
        parts.append(line(across(tick), bottom, across(tick), bottom + 4, GREY))
        parts.append(text_at(min(across(tick), WIDTH - 14), bottom + 17, f"{tick:g}"))
    best = front(points)
    way = " ".join(f"{across(point.cost):.1f},{down(point.score):.1f}" for point in best)
    parts.append(f'<polyline points="{way}" style="stroke:{ACCENT};{line_style(True)}"/>')
    for point in points:
        title = f"{point.name}: {point.score:.3f} for {point.cost:.3g}"
        kind, color = ("dot", ACCENT) if point in best else ("ring", GREY)
        parts.append(marker(kind, across(point.cost), down(point.score), color, title))
    under = bottom + 35
    for number, point in enumerate(best, start=1):
        at = across(point.cost), down(point.score) - 7
        parts.append(text_at(*at, str(number), "middle", ACCENT))
        under += _ROW
        row = f"{number}. {point.name}: {point.score:.3f} for {point.cost:.3g}"
        parts.append(text_at(0, under, row, "start", "currentColor"))
    return picture(label, under + 8, parts)


def draw_front(record: Mapping[str, Any], cost: str, score: str) -> str:
    """The arms of a record by what they cost and reach, as an SVG file.

    Args:
        record: What `reproduce` leaves.
        cost: The name of a figure, the lower the better.
        score: The name of another, the higher the better.
    """
    label = f"{record['slug']}: {score} against {cost}, and the arms that no other one beats"
    points = points_of(record, cost, score)
    return picture_file(pareto_plot(points, label=label, cost=cost, score=score))
