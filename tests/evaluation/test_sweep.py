from __future__ import annotations

import math

import numpy as np
import pytest

from isometry.evaluation.sweep import sweep

AXES = {"layer": range(1, 4), "width": (8, 64), "pooling": ("mean", "cls")}


def score(*, pooling: str, width: int, layer: int) -> float:
    return 100 * layer + width + (0.5 if pooling == "cls" else 0)


def test_every_combination_is_scored_at_its_place() -> None:
    grid = sweep(score, AXES)
    assert grid.scores.shape == (3, 2, 2)
    assert list(grid.axes) == ["layer", "width", "pooling"]
    for i, layer in enumerate(grid.axes["layer"]):
        for j, width in enumerate(grid.axes["width"]):
            for k, pooling in enumerate(grid.axes["pooling"]):
                assert grid.scores[i, j, k] == score(layer=layer, width=width, pooling=pooling)


def test_rows_name_their_settings_last_axis_fastest() -> None:
    rows = sweep(score, AXES).rows()
    assert len(rows) == 12
    assert rows[:3] == [
        {"layer": 1, "width": 8, "pooling": "mean", "score": 108.0},
        {"layer": 1, "width": 8, "pooling": "cls", "score": 108.5},
        {"layer": 1, "width": 64, "pooling": "mean", "score": 164.0},
    ]
    assert all(row.pop("score") == score(**row) for row in rows)


def test_the_best_is_the_largest_the_first_of_equals_and_never_nan() -> None:
    assert sweep(score, AXES).best() == {"layer": 3, "width": 64, "pooling": "cls"}
    level = sweep(lambda layer, width: -abs(layer - 2), {"layer": (1, 2, 3), "width": (8, 64)})
    assert level.best() == {"layer": 2, "width": 8}

    def partly(layer: int, width: int) -> float:
        return math.nan if width > 32 else float(layer)

    grid = sweep(partly, {"layer": (1, 2), "width": (64, 16)})
    assert grid.best() == {"layer": 2, "width": 16}
    assert np.isnan(grid.scores[:, 0]).all()
    with pytest.raises(ValueError, match="has a figure"):
        sweep(partly, {"layer": (1, 2), "width": (64,)}).best()


@pytest.mark.parametrize("axes", [{}, {"layer": ()}, {"score": (1, 2)}])
def test_axes_without_settings_or_with_the_name_of_the_figure_are_refused(axes: dict) -> None:
    with pytest.raises(ValueError, match="Axes need settings"):
        sweep(lambda **_: 0.0, axes)


def test_nothing_is_scored_before_all_axes_are_known_to_be_good() -> None:
    calls: list[int] = []
    with pytest.raises(ValueError, match="Axes"):
        sweep(lambda **_: calls.append(1) or 0.0, {"layer": (1, 2), "width": ()})
    assert calls == []
