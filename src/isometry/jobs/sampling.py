"""Which documents and queries an evaluation ranks, where all would take too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from isometry.jobs.preparation import Questions


@dataclass(frozen=True)
class Sample:
    """A random choice that holds every answer to the queries that it keeps.

    Attributes:
        documents: How many documents there are.
        pool: How many of them are ranked; answers may make them more.
        queries: How many queries each side asks at most.
        seed: Of the choice.
    """

    documents: int
    pool: int
    queries: int
    seed: int

    def asked(self, questions: Questions) -> Questions:
        """The queries of one side: all, or as many as are asked, in their order."""
        if len(questions.queries) <= self.queries:
            return questions
        rows = np.random.default_rng(self.seed).permutation(len(questions.queries))
        rows = np.sort(rows[: self.queries])
        return Questions(
            [questions.queries[row] for row in rows], [questions.relevance[row] for row in rows]
        )

    def ranked(self, asked: Sequence[Questions]) -> Bool[np.ndarray, " documents"]:
        """The answers to all these queries, and other documents."""
        return self.filled({row for side in asked for known in side.relevance for row in known})

    def filled(self, rows: set[int]) -> Bool[np.ndarray, " documents"]:
        """These documents and random others, as many in all as are ranked."""
        keep = np.zeros(self.documents, dtype=bool)
        keep[list(rows)] = True
        others = np.random.default_rng(self.seed).permutation(np.flatnonzero(~keep))
        keep[others[: max(0, self.pool - len(rows))]] = True
        return keep
