"""Small plots as SVG text, coloured by the page's CSS variables so that they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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

_HEIGHT = 190.0  # of the area that the lines are drawn in
_ROW = 16.0


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a plot.

    Attributes:
        name: What the legend calls it; a series without a name is not in the legend.
        points: Pairs of x and y, in the order in which they are joined.
        accent: In the accent colour and solid; otherwise grey and dashed.
        marker: What stands at each point.
        line: Whether the points are joined.
    """

    name: str
    points: Sequence[tuple[float, float]]
    accent: bool = False
    marker: Literal["dot", "ring", "cross", "none"] = "ring"
    line: bool = True


@dataclass(frozen=True, slots=True)
class Interval:
    """A row of an interval plot: a value with its lower and upper bound."""

    name: str
    value: float
    low: float
    high: float


def _legend(entries: Sequence[tuple[str, str]]) -> tuple[list[str], float]:
    """Samples (drawn around the origin) with their names, wrapped; and the height they take."""
    parts: list[str] = []
    x, y = 0.0, FONT
    for sample, name in entries:
        wide = 30 + text_width(name) + 14
        if x > 0 and x + wide > WIDTH:
            x, y = 0.0, y + _ROW
        parts.append(f'<g transform="translate({x + 12:.1f} {y - 4:.1f})">{sample}</g>')
        parts.append(text_at(x + 30, y, name, "start", "currentColor"))
        x += wide
    return parts, y + 8 if entries else 0.0


def _x_axis(ticks: Sequence[float], places: Sequence[float], bottom: float, label: str) -> str:
    """Ticks below the plot; a name that would touch its right neighbour's is left out."""
    parts: list[str] = []
    free = math.inf
    for name, x in reversed(list(zip(name_ticks(ticks), places, strict=True))):
        parts.append(line(x, bottom, x, bottom + 4, GREY))
        middle = min(x, WIDTH - text_width(name) / 2)
        if middle + text_width(name) / 2 + 5 <= free:
            parts.append(text_at(middle, bottom + 17, name))
            free = middle - text_width(name) / 2
    parts.append(text_at(WIDTH, bottom + 35, label, "end"))
    return "".join(parts)


def line_plot(
    series: Sequence[Series],
    *,
    label: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    level: tuple[str, float] | None = None,
    chosen: tuple[str, float] | None = None,
) -> str:
    """Lines with markers, axes and a legend, as SVG.

    Args:
        series: The lines; those without points are left out.
        label: What the plot shows, for people who do not see it.
        x_label: Name and unit of the horizontal axis.
        y_label: Name and unit of the vertical axis.
        log_x: Whether equal distances mean equal ratios; there is then a tick at every x, and each
            must be positive.
        level: Name and y of a horizontal line to compare with.
        chosen: Name and x of a vertical line.

    Returns:
        The SVG, or an empty string when no series has points.
    """
    series = [one for one in series if one.points]
    if not series:
        return ""
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points] + ([level[1]] if level else [])
    columns = sorted(set(xs)) if log_x else nice_ticks(min(xs), max(xs), 6)
    rows = nice_ticks(min(ys), max(ys))
    along = math.log if log_x else float
    first, last = along(min(*columns, *xs)), along(max(*columns, *xs))
    samples = [
        (
            (line(-12, 0, 12, 0, color, line_style(one.accent)) if one.line else "")
            + (marker(one.marker, 0, 0, color) if one.marker != "none" else ""),
            one.name,
        )
        for one in series
        if one.name
        for color in (ACCENT if one.accent else GREY,)
    ]
    if level:
        samples.append((line(-12, 0, 12, 0, GREY, "stroke-dasharray:1 3"), level[0]))
    if chosen:
        samples.append((line(0, -7, 0, 7, ACCENT), chosen[0]))
    parts, top = _legend(samples)
    parts.append(text_at(0, top + FONT, y_label, "start"))
    top += FONT + 14
    bottom = top + _HEIGHT
    left = max(map(text_width, name_ticks(rows))) + 8
    right = WIDTH - 8

    def across(x: float) -> float:
        share = (along(x) - first) / (last - first) if last > first else 0.5
        return left + 8 + share * (right - left - 8)

    def down(y: float) -> float:
        return bottom - (y - rows[0]) / (rows[-1] - rows[0]) * _HEIGHT

    for tick, name in zip(rows, name_ticks(rows), strict=True):
        parts.append(line(left, down(tick), WIDTH, down(tick), RULE))
        parts.append(text_at(left - 6, down(tick) + 4, name, "end"))
    parts.append(_x_axis(columns, [across(tick) for tick in columns], bottom, x_label))
    if level:
        parts.append(
            line(left, down(level[1]), WIDTH, down(level[1]), GREY, "stroke-dasharray:1 3")
        )
    if chosen:
        parts.append(line(across(chosen[1]), top, across(chosen[1]), bottom, ACCENT))
    for one in series:
        color = ACCENT if one.accent else GREY
        if one.line:
            way = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in one.points)
            parts.append(
                f'<polyline points="{way}" style="stroke:{color};{line_style(one.accent)}"/>'
            )
        if one.marker != "none":
            parts += [
                marker(one.marker, across(x), down(y), color, f"{one.name}, {x:g}: {y:.1f}")
                for x, y in one.points
            ]
    return picture(label, bottom + 42, parts)


def interval_plot(intervals: Sequence[Interval], *, label: str, x_label: str) -> str:
    """One row for each interval, dot with whiskers, over a common axis with a line at zero.

    The dot is filled where the interval leaves zero out.

    Args:
        intervals: The rows, from the top.
        label: What the plot shows, for people who do not see it.
        x_label: Name and unit of the axis.

    Returns:
        The SVG, or an empty string when there are no intervals.
    """
    if not intervals:
        return ""
    ticks = nice_ticks(
        min(0.0, *(row.low for row in intervals)), max(0.0, *(row.high for row in intervals)), 6
    )
    left = min(WIDTH / 2, max(text_width(row.name) for row in intervals) + 12)
    bottom = 8 + 24 * len(intervals)

    def across(x: float) -> float:
        return left + (x - ticks[0]) / (ticks[-1] - ticks[0]) * (WIDTH - 10 - left)

    parts = [line(across(tick), 0, across(tick), bottom, RULE) for tick in ticks]
    parts.append(line(across(0), 0, across(0), bottom, "currentColor", "stroke-width:1.5"))
    for place, row in enumerate(intervals):
        y = 16.0 + 24 * place
        clear = row.low > 0 or row.high < 0
        color = ACCENT if clear else GREY
        low, high = across(row.low), across(row.high)
        parts.append(text_at(0, y + 4, row.name, "start", "currentColor"))
        parts.append(line(low, y, high, y, color, "stroke-width:2"))
        parts += [line(x, y - 4, x, y + 4, color, "stroke-width:2") for x in (low, high)]
        title = f"{row.name}: {row.value:+.1f} [{row.low:+.1f}, {row.high:+.1f}]"
        parts.append(marker("dot" if clear else "ring", across(row.value), y, color, title))
    parts.append(_x_axis(ticks, [across(tick) for tick in ticks], bottom, x_label))
    return picture(label, bottom + 42, parts)
