"""How well text can be read in a browser."""

from __future__ import annotations

import re

# Every element that holds text itself, with its colour and the nearest ground behind it.
COLORS = """() => [...document.querySelectorAll('body *')].filter(element =>
    element.checkVisibility() && !element.matches('.unseen') &&
    [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())
  ).map(element => {
    const style = getComputedStyle(element);
    let behind = element;
    while (behind && getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)')
      behind = behind.parentElement;
    return [element.tagName + ' ' + element.textContent.trim().slice(0, 40),
            element instanceof SVGElement ? style.fill : style.color,
            getComputedStyle(behind).backgroundColor];
  })"""


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    channels = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
