"""A plot of the report as a picture that stands alone, for pages that are not ours."""

from __future__ import annotations

import re

_MARGIN = 16
# Its own ground: a picture in a page follows the system's theme, which may not be the page's.
_STYLE = """<style>
svg { --ground: #ffffff; --accent: #0b5a8f; --muted: #595d63; --rule: #dcdcd6; color: #1b1c1e;
  background: var(--ground); font-family: system-ui, "Segoe UI", Roboto, Arial, sans-serif; }
@media (prefers-color-scheme: dark) {
  svg { --ground: #141517; --accent: #7cb8e6; --muted: #a3a7ad; --rule: #33363a; color: #e6e6e2; }
}
</style>"""


def picture_file(plot: str) -> str:
    """What a file needs that a plot within a page has from the page: a size, a margin, colours.

    It brings its colours along, for a light and a dark surrounding.

    Args:
        plot: What the functions of `plots` return.

    Returns:
        The SVG; an empty string for an empty plot.

    Raises:
        ValueError: When the plot is no such SVG.
    """
    if not plot:
        return ""
    found = re.fullmatch(r'<svg ([^>]*)viewBox="0 0 (\d+) (\d+)"([^>]*)>(.*)', plot, re.DOTALL)
    if found is None:
        raise ValueError("a plot begins with <svg> and its viewBox")
    before, width, height, after, drawing = found.groups()
    width, height = int(width) + 2 * _MARGIN, int(height) + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {before}'
        f'viewBox="{-_MARGIN} {-_MARGIN} {width} {height}"{after}>\n{_STYLE}\n{drawing}\n'
    )
