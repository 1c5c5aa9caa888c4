"""Documents with queries that people wrote, and which documents answer them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isometry.core.writing import atomic_folder
from isometry.corpora.documents import Document


@dataclass(frozen=True)
class HumanQueries:
    """A corpus that a benchmark can trust: its queries were not made from its documents.

    Attributes:
        name: Short and unique.
        documents: In a fixed order; no query is a part of what answers it.
        queries: The text of a query by its id.
        relevance: By query id and document id, how relevant (> 0) the document is.
        language: Of documents and queries, as ISO 639-1 has it.
        about: Where documents and queries come from, in one line for people.
    """

    name: str
    documents: list[Document]
    queries: dict[str, str]
    relevance: dict[str, dict[str, int]]
    language: str
    about: str

    def write(self, folder: Path) -> None:
        """Writes BEIR's layout, whole or not at all: what `fit`, `evaluate` and others read.

        Beside BEIR's own `_id`, `title` and `text`, a row of the corpus has the document's
        `context`, `group` and `order`.

        Args:
            folder: The folder; an existing one is replaced.
        """
        with atomic_folder(folder) as temporary:
            _write_rows(
                temporary / "corpus.jsonl",
                (
                    {
                        "_id": document.id,
                        "title": document.title,
                        "text": document.body(),
                        "context": document.context,
                        "group": document.group,
                        "order": document.order,
                    }
                    for document in self.documents
                ),
            )
            _write_rows(
                temporary / "queries.jsonl",
                ({"_id": key, "text": text} for key, text in self.queries.items()),
            )
            (temporary / "qrels").mkdir()
            judged = (
                f"{query}\t{document}\t{score}\n"
                for query, documents in self.relevance.items()
                for document, score in documents.items()
            )
            (temporary / "qrels" / "test.tsv").write_text(
                "query-id\tcorpus-id\tscore\n" + "".join(judged), encoding="utf-8"
            )


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
