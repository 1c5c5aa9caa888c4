"""Marks, texts and ticks of the plots: pieces of SVG in the colours of the page's variables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from html import escape

from isometry.report.figures import safe_line

WIDTH = 420.0
FONT = 12.0
ACCENT = "var(--accent,currentColor)"
GREY = "var(--muted,currentColor)"
RULE = "var(--rule,#8884)"


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover a range, about `count` of them (Heckbert, Graphics Gems, 1990).

    Steps are 1, 2 or 5 times a power of ten; the first tick is at most `low` and the last at least
    `high`. An empty range is widened around its value.
    """
    if not high > low:
        around = abs(low) / 10 or 1.0
        low, high = low - around, low + around
    rough = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.75)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(place * step, digits) + 0.0 for place in range(first, last + 1)]


def name_ticks(ticks: Sequence[float]) -> list[str]:
    """The ticks in words, all with as many decimals as their distance needs."""
    step = min((b - a for a, b in itertools.pairwise(ticks)), default=1.0)
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return [f"{tick:,.{digits}f}".replace("-", "\u2212") for tick in ticks]


def text_width(text: str) -> float:
    """About how wide a text is, since no browser is there to measure it."""
    return 0.62 * FONT * len(text)


def text_at(x: float, y: float, text: str, anchor: str = "middle", color: str = GREY) -> str:
    """A text at its anchor, escaped."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{color}">'
        f"{escape(safe_line(text))}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, color: str, extra: str = "") -> str:
    """A straight line; `extra` holds further CSS."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        f' style="stroke:{color};{extra}"/>'
    )


def marker(kind: str, x: float, y: float, color: str, title: str = "") -> str:
    """A dot, ring or cross; the title shows when the pointer rests on it."""
    inside = f"<title>{escape(safe_line(title))}</title>" if title else ""
    if kind == "cross":
        path = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
        return f'<path d="{path}" style="stroke:{color};stroke-width:1.5">{inside}</path>'
    fill = color if kind == "dot" else "var(--ground,transparent)"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"'
        f' style="stroke:{color};fill:{fill};stroke-width:1.5">{inside}</circle>'
    )


def line_style(accent: bool) -> str:
    """CSS that tells the accented line from the others without colour."""
    return "stroke-width:2" if accent else "stroke-width:1.5;stroke-dasharray:5 3"


def picture(label: str, height: float, parts: Iterable[str]) -> str:
    """The whole drawing, named for people who do not see it."""
    return (
        f'<svg class="plot" role="img" aria-label="{escape(safe_line(label))}" font-size="{FONT:g}"'
        f' viewBox="0 0 {WIDTH:g} {height:.0f}" fill="none">' + "".join(parts) + "</svg>"
    )
