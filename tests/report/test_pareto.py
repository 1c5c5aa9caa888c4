from __future__ import annotations

import re

import pytest
from lxml import etree

from isometry.report.pareto import Point, draw_front, front, pareto_plot, points_of

POINTS = [
    Point("whole", 1.0, 0.9), Point("half", 0.5, 0.9), Point("half & worse", 0.5, 0.8),
    Point("least", 0.02, 0.6), Point("dear", 0.6, 0.7), Point("tenth", 0.1, 0.8),
    Point("least again", 0.02, 0.6),
]  # fmt: skip
RECORD = {
    "slug": "vectors",
    "arms": {
        "a": {"runs": [{"figures": {"auc": [0.5, 0.7], "bytes": 0.1}},
                       {"figures": {"auc": [0.7, 0.9], "bytes": 0.3}}]},
        "b": {"runs": [{"figures": {"auc": [0.6], "bytes": 1.0}}]},
        # It takes no place in a plot of what it does not measure.
        "c": {"runs": [{"figures": {"auc": [0.9]}}]},
    },
}  # fmt: skip


def test_the_front_is_what_nothing_beats_at_both() -> None:
    found = front(POINTS)
    assert [point.name for point in found] == ["least", "tenth", "half"]
    for point in POINTS:
        beaten = any(
            other.cost <= point.cost
            and other.score >= point.score
            and (other.cost, other.score) != (point.cost, point.score)
            for other in POINTS
        )
        assert beaten == all((one.cost, one.score) != (point.cost, point.score) for one in found)
    assert front(POINTS[::-1])[0].name == "least again"
    assert front([]) == []


def test_points_are_means_over_seeds_and_items() -> None:
    a, b = points_of(RECORD, "bytes", "auc")
    assert (a.name, a.cost, a.score) == ("a", pytest.approx(0.2), pytest.approx(0.7))
    assert (b.cost, b.score) == (1.0, pytest.approx(0.6))


def places(svg: str) -> dict[str, tuple[float, float]]:
    """Where each point stands."""
    tree = etree.fromstring(svg.encode())
    return {
        str(circle[0].text).partition(":")[0]: (float(circle.get("cx")), float(circle.get("cy")))
        for circle in tree.iter("{*}circle", "circle")
    }


def test_points_stand_where_they_belong() -> None:
    svg = pareto_plot(POINTS, label="a plot", cost="share", score="auc")
    found = places(svg)
    assert len(found) == len(POINTS)
    # Equal distances are equal ratios, and a higher score stands higher.
    step = found["half"][0] - found["tenth"][0]
    assert found["tenth"][0] - found["least"][0] == pytest.approx(step, abs=0.2)
    assert found["least"][1] > found["tenth"][1] > found["half"][1] == found["whole"][1]
    line = re.search(r'polyline points="([^"]+)"', svg)
    assert line and len(line[1].split()) == 3
    assert "3. half: 0.900 for 0.5" in svg
    assert "half &amp; worse" in svg


def test_what_cannot_be_drawn() -> None:
    assert pareto_plot([], label="", cost="", score="") == ""
    with pytest.raises(ValueError, match="not above 0"):
        pareto_plot([Point("free", 0, 1)], label="", cost="", score="")
    assert places(pareto_plot([Point("one", 0.3, 1)], label="", cost="", score=""))


def test_a_record_becomes_a_file_of_its_own() -> None:
    svg = draw_front(RECORD, "bytes", "auc")
    tree = etree.fromstring(svg.encode())
    assert etree.QName(tree).localname == "svg"
    assert "var(--accent" not in svg or "--accent:" in svg
    assert "vectors: auc against bytes" in svg
