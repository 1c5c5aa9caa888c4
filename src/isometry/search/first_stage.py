"""What a cheap first stage finds for queries, by passage, for what puts it into a new order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isometry.learners.pairwise_ranking import CandidatesRow
from isometry.search.lancedb import ChunkIndex


@dataclass(frozen=True)
class FirstStage:
    """Queries with what was found for them, each document by its best passage.

    Attributes:
        queries: Their texts.
        rankings: For each, names of passages with their scores, best first.
        texts: Each passage by its name.
        relevance: For each query, the grade of every document that answers it.
    """

    queries: list[str]
    rankings: list[list[tuple[str, float]]]
    texts: dict[str, str]
    relevance: list[dict[str, int]]

    def candidates(self, negatives: int) -> list[CandidatesRow]:
        """The queries with an answer among what was found, and the best of what else was.

        Args:
            negatives: How many passages that do not answer are kept.
        """
        rows: list[CandidatesRow] = []
        for query, ranking, judged in zip(self.queries, self.rankings, self.relevance, strict=True):
            right = [self.texts[name] for name, _ in ranking if document_of(name) in judged]
            wrong = [self.texts[name] for name, _ in ranking if document_of(name) not in judged]
            if right and wrong:
                rows.append(CandidatesRow(query, right[0], tuple(wrong[:negatives])))
        return rows


def first_stage(index: ChunkIndex, judged: Mapping[str, dict[str, int]], depth: int) -> FirstStage:
    """What BM25 finds.

    Args:
        index: Of passages.
        judged: For each query, the grade of every document that answers it.
        depth: How many documents are kept.
    """
    found = [index.lexical(query, depth) for query in judged]
    named = [[(f"{hit.document}\n{hit.position}", hit) for hit in hits] for hits in found]
    return FirstStage(
        list(judged),
        [[(name, hit.score) for name, hit in hits] for hits in named],
        {name: hit.text for hits in named for name, hit in hits},
        list(judged.values()),
    )


def document_of(passage: str) -> str:
    """The document of a passage, by its name in a first stage."""
    return passage.rpartition("\n")[0]
