"""A figure at every point of a grid of settings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Grid:
    """What a sweep found.

    Attributes:
        axes: The settings of each axis, in the order of the axes of `scores`.
        scores: One figure a point; NaN where there is none.
    """

    axes: dict[str, tuple[Any, ...]]
    scores: Float[np.ndarray, "*axes"]

    def best(self) -> dict[str, Any]:
        """The settings of the largest figure; of equals, the first.

        Raises:
            ValueError: When there is no figure at all.
        """
        if np.isnan(self.scores).all():
            raise ValueError("No point of the grid has a figure.")
        return self._settings(int(np.nanargmax(self.scores)))

    def rows(self) -> list[dict[str, Any]]:
        """One row a point for a table: its settings, and its figure as `score`."""
        return [
            {**self._settings(point), "score": float(score)}
            for point, score in enumerate(self.scores.flat)
        ]

    def _settings(self, point: int) -> dict[str, Any]:
        place = np.unravel_index(point, self.scores.shape)
        return {name: values[i] for (name, values), i in zip(self.axes.items(), place, strict=True)}


def sweep(score: Callable[..., float], axes: Mapping[str, Sequence[Any]]) -> Grid:
    """Scores every combination of settings, the last axis fastest.

    Args:
        score: Takes the axes' names as keywords; NaN where a combination makes no sense.
        axes: The settings of each axis, for instance `{"layer": range(1, 7), "width": (64, 384)}`.

    Raises:
        ValueError: When there is no axis, one is empty, or one is named "score".

    Example:
        >>> grid = sweep(lambda layer, width: layer * width, {"layer": (1, 2), "width": (8, 16)})
        >>> grid.scores.tolist(), grid.best()
        ([[8.0, 16.0], [16.0, 32.0]], {'layer': 2, 'width': 16})
    """
    settings = {name: tuple(values) for name, values in axes.items()}
    if not settings or "score" in settings or not all(settings.values()):
        raise ValueError(f"Axes need settings, and a name other than 'score': {settings}.")
    scores = [
        float(score(**dict(zip(settings, point, strict=True))))
        for point in itertools.product(*settings.values())
    ]
    return Grid(settings, np.reshape(scores, [len(values) for values in settings.values()]))
