"""A Space's documents as they are shown: whole, and with those nearest to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from isometry.corpora.documents import Document
from isometry.search.lancedb import ChunkIndex
from isometry.search.view import Found


def shown(document: Document) -> dict[str, Any]:
    """A document's title, text and metadata, as JSON has them."""
    return {
        "id": document.id,
        "title": document.header(),
        "text": document.body(),
        "metadata": {
            "context": document.context,
            "group": document.group,
            "kind": document.kind,
            "links": list(document.links),
            "order": document.order,
            "source": document.source,
        },
    }


def nearest(
    index: ChunkIndex, document: str, vectors: Float[np.ndarray, "passages dim"], k: int
) -> Found:
    """The best passages of the documents that are nearest to one: a single search.

    Args:
        index: The Space's.
        document: The id of the one, which is never among them.
        vectors: Those of its passages; the mean is what is looked for.
        k: How many documents at most.
    """
    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length == 0:
        # Passages that cancel each other out point nowhere.
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    numbers, scores = index.rank_dense(mean / length, k + 1)
    others = np.array([name != document for name in index.rows.names(numbers)], dtype=bool)
    return numbers[others][:k], scores[others][:k]
