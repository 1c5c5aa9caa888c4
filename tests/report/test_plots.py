from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from isometry.report.plots import Interval, Series, interval_plot, line_plot


def circles(svg: str) -> list[tuple[float, float, bool]]:
    """Markers that stand for data (x, y, whether filled); those of the legend have no title."""
    found = []
    for node in ElementTree.fromstring(svg).iter("circle"):
        if node.find("title") is not None:
            fill = re.search(r"fill:([^;]+)", node.attrib["style"])
            assert fill
            found.append(
                (float(node.attrib["cx"]), float(node.attrib["cy"]), "ground" not in fill[1])
            )
    return found


def lines(svg: str) -> list[tuple[float, float, float, float]]:
    return [
        (float(n.attrib["x1"]), float(n.attrib["y1"]), float(n.attrib["x2"]), float(n.attrib["y2"]))
        for n in ElementTree.fromstring(svg).iter("line")
    ]


def plot(*series: Series, **changes: object) -> str:
    return line_plot(series, **({"label": "L", "x_label": "X", "y_label": "Y"} | changes))  # type: ignore[arg-type]


def test_equal_steps_are_drawn_equal_and_up_is_more() -> None:
    marks = circles(plot(Series("a", [(0, 10), (1, 20), (2, 30), (4, 30)])))
    xs, ys = [mark[0] for mark in marks], [mark[1] for mark in marks]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert xs[3] - xs[2] == pytest.approx(2 * (xs[1] - xs[0]), abs=0.2)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[1] > ys[2] == ys[3]


def test_a_logarithmic_axis_draws_equal_ratios_equal() -> None:
    marks = circles(plot(Series("a", [(32, 1), (64, 2), (128, 3), (384, 4)]), log_x=True))
    xs = [mark[0] for mark in marks]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert xs[3] - xs[2] == pytest.approx((xs[1] - xs[0]) * 1.585, abs=0.3)


def test_the_line_goes_through_its_markers() -> None:
    svg = plot(Series("a", [(0, 3), (1, 1), (2, 2)], accent=True, marker="dot"))
    way = next(ElementTree.fromstring(svg).iter("polyline")).attrib["points"]
    points = [tuple(map(float, pair.split(","))) for pair in way.split()]
    assert points == [mark[:2] for mark in circles(svg)]


def test_level_and_chosen_stand_where_the_data_of_that_value_stand() -> None:
    svg = plot(Series("a", [(0, 50), (1, 60), (2, 70)]), level=("l", 60), chosen=("c", 1))
    x, y, _ = circles(svg)[1]
    assert any(x1 == x2 == x and y2 - y1 > 100 for x1, y1, x2, y2 in lines(svg))
    assert sum(y1 == y2 == y for _, y1, _, y2 in lines(svg)) == 2  # the grid's and the level's


def test_a_level_outside_the_data_is_still_in_the_picture() -> None:
    svg = plot(Series("a", [(0, 50), (1, 60)]), level=("l", 95))
    height = float(ElementTree.fromstring(svg).attrib["viewBox"].split()[3])
    assert all(0 <= y <= height for _, y1, _, y2 in lines(svg) for y in (y1, y2) if abs(y) > 12)
    assert ">95<" in svg or ">100<" in svg


def test_series_can_be_told_apart_without_colour() -> None:
    svg = plot(
        Series("tuned", [(0, 1), (1, 2)], accent=True, marker="dot"),
        Series("base", [(0, 2), (1, 1)]),
    )
    dashed = [
        "dasharray" in n.attrib["style"] for n in ElementTree.fromstring(svg).iter("polyline")
    ]
    assert dashed == [False, True]
    assert [mark[2] for mark in circles(svg)] == [True, True, False, False]


def test_nothing_to_draw_draws_nothing() -> None:
    assert plot() == ""
    assert plot(Series("a", [])) == ""
    assert interval_plot([], label="L", x_label="X") == ""


def test_one_point_and_equal_values_can_be_drawn() -> None:
    assert len(circles(plot(Series("a", [(3, 7)])))) == 1
    assert len(circles(plot(Series("a", [(3, 7)]), log_x=True))) == 1
    assert len(circles(plot(Series("a", [(0, 0), (1, 0)])))) == 2


def test_words_are_escaped() -> None:
    svg = plot(Series('<b>"&', [(0, 1)]), label='"><script>', level=("<i>", 1), chosen=("<u>", 0))
    names = {node.tag for node in ElementTree.fromstring(svg).iter()}
    assert names <= {"svg", "g", "line", "polyline", "circle", "text", "title", "path"}
    svg = interval_plot([Interval("<b>", 1, 0, 2)], label='"', x_label="<i>")
    assert ElementTree.fromstring(svg).attrib["aria-label"] == '"'


def test_crowded_tick_names_are_left_out_but_not_their_ticks() -> None:
    ticks = [*range(1000, 1040)]
    svg = plot(Series("a", [(tick, 1) for tick in ticks]), log_x=True)
    names = [n.text for n in ElementTree.fromstring(svg).iter("text") if n.text and "1,0" in n.text]
    assert "1,039" in names
    assert 3 < len(names) < 20
    assert sum(x1 == x2 and abs(y2 - y1) == 4 for x1, y1, x2, y2 in lines(svg)) == 40


def test_intervals_lie_on_a_common_axis_with_zero() -> None:
    rows = [Interval("up", 10, 5, 15), Interval("down", -10, -15, -5), Interval("both", 0, -5, 5)]
    svg = interval_plot(rows, label="L", x_label="X")
    (up, *_), (down, *_), (both, *_) = circles(svg)
    assert up - both == pytest.approx(both - down, abs=0.2)
    whiskers = [(x1, x2) for x1, y1, x2, y2 in lines(svg) if y1 == y2]
    assert len(whiskers) == 3
    for (low, high), (x, _, _) in zip(whiskers, circles(svg), strict=True):
        assert x - low == pytest.approx(high - x, abs=0.2)
    assert whiskers[0][0] == pytest.approx(whiskers[2][1], abs=0.2)  # both at 5
    tallest = [x1 for x1, y1, x2, y2 in lines(svg) if x1 == x2 and y2 - y1 > 60]
    assert any(x == pytest.approx(both, abs=0.1) for x in tallest)  # the line at zero


def test_zero_is_shown_even_when_no_interval_is_near_it() -> None:
    svg = interval_plot([Interval("far", 30, 29, 31)], label="L", x_label="X")
    assert ">0<" in svg


@pytest.mark.parametrize(
    ("low", "high", "filled"), [(1, 3, True), (-3, -1, True), (-1, 3, False), (0, 3, False)]
)
def test_a_dot_is_filled_where_zero_is_left_out(low: float, high: float, filled: bool) -> None:
    svg = interval_plot([Interval("a", (low + high) / 2, low, high)], label="L", x_label="X")
    assert circles(svg)[0][2] is filled
