"""What a corpus is made of, in numbers for the report."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from isometry.corpora.curation.dedup import normalize, words
from isometry.corpora.documents import Document

LANGUAGE_SAMPLE = 500
LANGUAGE_CHARACTERS = 2000
LANGUAGE_WORDS = 5
UNKNOWN = "unknown"


def languages(documents: Sequence[Document], seed: int = 0) -> dict[str, int]:
    """Counts the languages of at most 500 prose documents, by ISO 639-1 code, most common first.

    Source code is left out; texts under five words count as "unknown".
    """
    from py3langid import classify

    prose = [document for document in documents if document.kind == "prose"]
    if len(prose) > LANGUAGE_SAMPLE:
        prose = random.Random(seed).sample(prose, LANGUAGE_SAMPLE)
    counts: Counter[str] = Counter()
    for document in prose:
        text = document.body()[:LANGUAGE_CHARACTERS]
        enough = len(words(text)) >= LANGUAGE_WORDS
        counts[classify(text)[0] if enough else UNKNOWN] += 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def profile(
    documents: Sequence[Document], duplicates: Int[np.ndarray, " documents"]
) -> dict[str, Any]:
    """Describes a corpus.

    Args:
        documents: All documents.
        duplicates: The near-duplicate group of each, as `near_duplicates` numbers them.

    Returns:
        JSON values: `documents`, `groups`, `kinds` (counts), `words` (total, mean and quantiles of
        a document's body), `with_title`, `with_summary`, `with_links` (shares), `languages`
        (counts within a sample of the prose), `main_language` (the most common ISO 639-1 code, or
        "unknown"), `exact_duplicates` and `near_duplicates` (documents that repeat an earlier one).
    """
    if len(documents) != len(duplicates):
        raise ValueError(f"{len(documents)} documents but {len(duplicates)} duplicate groups.")
    lengths = np.array([len(words(document.body())) for document in documents], dtype=np.int64)
    found = languages(documents)
    distinct = {
        (group, normalize(document.body()))
        for group, document in zip(duplicates.tolist(), documents, strict=True)
    }
    clusters = len(set(duplicates.tolist()))
    return {
        "documents": len(documents),
        "groups": len({document.group for document in documents}),
        "kinds": dict(sorted(Counter(document.kind for document in documents).items())),
        "words": _lengths(lengths),
        "with_title": _share(documents, "title"),
        "with_summary": _share(documents, "summary"),
        "with_links": _share(documents, "links"),
        "languages": found,
        "main_language": next((code for code in found if code != UNKNOWN), UNKNOWN),
        "exact_duplicates": len(documents) - len(distinct),
        "near_duplicates": len(distinct) - clusters,
    }


def _share(documents: Sequence[Document], field: str) -> float:
    filled = sum(1 for document in documents if getattr(document, field))
    return filled / len(documents) if documents else 0.0


def _lengths(lengths: Int[np.ndarray, " documents"]) -> dict[str, float]:
    if len(lengths) == 0:
        return {"total": 0, "mean": 0.0}
    quantiles = {"shortest": 0.0, "10%": 0.1, "median": 0.5, "90%": 0.9, "longest": 1.0}
    return {
        "total": int(lengths.sum()),
        "mean": float(lengths.mean()),
        **{name: float(np.quantile(lengths, at)) for name, at in quantiles.items()},
    }
