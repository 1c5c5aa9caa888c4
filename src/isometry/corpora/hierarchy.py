"""Concepts below one another: who stands above whom, and how far two are apart."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from isometry.core.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# So many distances to all nodes are held at a time.
_DISTANCES_AT_ONCE = 1 << 23


class Hierarchy:
    """A directed graph without cycles; a node may have several parents.

    Args:
        edges: Child and parent; an edge that comes twice counts once.

    Attributes:
        nodes: Every end of an edge, in the order of their first occurrence.
        parents: The parents of each node, in the order of the edges.

    Raises:
        InputError: When there is no edge, or a cycle.
    """

    def __init__(self, edges: Iterable[tuple[str, str]]) -> None:
        found: dict[str, dict[str, None]] = {}
        for child, parent in edges:
            found.setdefault(child, {})[parent] = None
            found.setdefault(parent, {})
        if not found:
            raise InputError("A hierarchy needs at least one edge.")
        self.nodes = list(found)
        self.parents = {node: tuple(above) for node, above in found.items()}
        self._row = {node: row for row, node in enumerate(self.nodes)}
        self._refuse_cycles()

    def __contains__(self, node: str) -> bool:
        return node in self._row

    def ancestors(self, node: str) -> dict[str, int]:
        """Everything above a node, nearest first, with the number of steps up.

        Raises:
            InputError: When there is no such node.
        """
        return self._walk(node, lambda here: self.parents[here])

    def around(self, node: str, most: int) -> dict[str, int]:
        """What is at most so many steps away, up and down alike, nearest first.

        Raises:
            InputError: When there is no such node.
        """
        children = self._children
        return self._walk(node, lambda here: (*self.parents[here], *children.get(here, ())), most)

    def below(self, node: str) -> dict[str, int]:
        """Everything below a node, nearest first, with the number of steps down.

        Raises:
            InputError: When there is no such node.
        """
        return self._walk(node, lambda here: self._children.get(here, ()))

    def tops(self, node: str) -> list[str]:
        """The nodes without parents that a node is below; itself, if it has none.

        Raises:
            InputError: When there is no such node.
        """
        return [above for above in (node, *self.ancestors(node)) if not self.parents[above]]

    def distances(
        self, nodes: Sequence[str], most: int, *, beyond: int = -1
    ) -> Int[np.ndarray, "n n"]:
        """The steps between nodes, up and down alike: siblings are two apart.

        Args:
            nodes: Between which; a node may come several times.
            most: How far is looked.
            beyond: What pairs have that are further apart, or not connected.

        Raises:
            InputError: When one is not in the hierarchy.
            ValueError: When `most` is below 1.
        """
        from scipy.sparse.csgraph import dijkstra

        if most < 1:
            raise ValueError(f"most must be at least 1, not {most}")
        rows = self._rows(nodes)
        result = np.empty((len(rows), len(rows)), dtype=np.int64)
        block = max(1, _DISTANCES_AT_ONCE // len(self.nodes))
        for start in range(0, len(rows), block):
            some = slice(start, start + block)
            steps = dijkstra(
                self._up, directed=False, indices=rows[some], unweighted=True, limit=most
            )[:, rows]
            result[some] = np.where(np.isfinite(steps), steps, beyond)
        return result

    def _walk(
        self, start: str, ways: Callable[[str], Sequence[str]], most: int = sys.maxsize
    ) -> dict[str, int]:
        """Every node that ways lead to, nearest first, with the number of steps."""
        self._rows([start])
        steps = {start: 0}
        queue = deque([start])
        while queue and steps[queue[0]] < most:
            here = queue.popleft()
            for other in ways(here):
                if other not in steps:
                    steps[other] = steps[here] + 1
                    queue.append(other)
        del steps[start]
        return steps

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for child, parents in self.parents.items():
            for parent in parents:
                found.setdefault(parent, []).append(child)
        return found

    @cached_property
    def _up(self) -> csr_array:
        from scipy.sparse import csr_array

        steps = [
            (row, self._row[parent])
            for row, node in enumerate(self.nodes)
            for parent in self.parents[node]
        ]
        children, parents = np.array(steps, dtype=np.int32).T
        size = len(self.nodes)
        return csr_array((np.ones(len(steps), dtype=np.int8), (children, parents)), (size, size))

    def _rows(self, nodes: Sequence[str]) -> Int[np.ndarray, " n"]:
        for node in nodes:
            if node not in self._row:
                raise InputError(f"'{node}' is not in the hierarchy.")
        return np.array([self._row[node] for node in nodes], dtype=np.int64)

    def _refuse_cycles(self) -> None:
        from scipy.sparse.csgraph import connected_components

        for node, above in self.parents.items():
            if node in above:
                raise InputError(f"The hierarchy has a cycle: '{node}' stands above itself.")
        count, labels = connected_components(self._up, directed=True, connection="strong")
        if count < len(self.nodes):
            sizes = np.bincount(labels)
            circle = np.flatnonzero(labels == labels[sizes[labels] > 1][0])
            names = ", ".join(f"'{self.nodes[row]}'" for row in circle[:5])
            raise InputError(
                f"The hierarchy has a cycle among {len(circle)} concepts: {names}.",
                "Leave out one of the edges between them.",
            )
