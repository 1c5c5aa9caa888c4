from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from isometry.report.picture_file import picture_file
from isometry.report.plots import Interval, interval_plot

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def plot() -> str:
    rows = [Interval("one <&>", 1.0, 0.5, 2.0), Interval("two", -0.1, -1.0, 0.4)]
    return interval_plot(rows, label='a "label"', x_label="gain")


def test_the_file_is_an_svg_with_a_size_and_a_margin(plot: str) -> None:
    root = ElementTree.fromstring(picture_file(plot))
    assert root.tag == f"{SVG}svg"
    x, y, width, height = (float(part) for part in root.attrib["viewBox"].split())
    assert (width, height) == (float(root.attrib["width"]), float(root.attrib["height"]))
    for node in root.iter(f"{SVG}line"):
        for end in "12":
            assert x + 8 < float(node.attrib[f"x{end}"]) < x + width - 8
            assert y + 8 < float(node.attrib[f"y{end}"]) < y + height - 8
    assert root.attrib["aria-label"] == 'a "label"'
    assert next(node.text for node in root.iter(f"{SVG}text")) == "one <&>"


def test_nothing_of_the_plot_is_lost(plot: str) -> None:
    own = list(ElementTree.fromstring(plot).iter())[1:]
    there = list(ElementTree.fromstring(picture_file(plot)).iter())[1:]
    drawn = [node for node in there if node.tag != f"{SVG}style"]
    assert [f"{SVG}{node.tag}" for node in own] == [node.tag for node in drawn]
    assert [node.attrib for node in own] == [node.attrib for node in drawn]


def test_it_can_be_read_on_light_and_dark(plot: str) -> None:
    picture = picture_file(plot)
    style = picture.partition("<style>")[2].partition("</style>")[0]
    used = set(re.findall(r"var\((--\w+)", picture))
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    assert "background: var(--ground)" in light
    for theme in (light, dark):
        colors = dict(re.findall(r"([-\w]+): (#[0-9a-f]{6});", theme))
        assert {"--accent", "--muted", "--rule"} <= used <= set(colors)
        for name in ("color", "--muted", "--accent"):
            assert contrast(colors[name], colors["--ground"]) >= 4.5
        assert contrast(colors["--rule"], colors["--ground"]) < 2


def test_no_plot_is_no_file() -> None:
    assert picture_file("") == ""
    with pytest.raises(ValueError, match="viewBox"):
        picture_file("<p>no plot</p>")


def contrast(first: str, second: str) -> float:
    """The contrast of two colours (WCAG 2, 1.4.3)."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
