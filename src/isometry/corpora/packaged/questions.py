"""Pages of frequently asked questions -> the questions, and the answers without them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from isometry.corpora.curation.dedup import normalize, words
from isometry.corpora.documents import Document

Asked = tuple[list[Document], dict[str, str], dict[str, dict[str, int]]]
"""Documents, queries, and relevance."""


def comparable(text: str) -> str:
    """The words alone, case-folded, with single spaces: for looking one text up in another."""
    return " ".join(words(text.casefold()))


def ask_headings(
    documents: Sequence[Document], is_question: Callable[[str, Document], bool]
) -> Asked:
    """Makes queries of the headings that are questions, and takes these out of the documents.

    What stands below a question answers it: its own section and every section below that is not
    below a further question. Such a section loses the question as a title, in the headings above it
    and in its id, so that nothing of a document repeats a query. The same
    question twice is one query.

    Args:
        documents: Sections of pages, as the readers yield them.
        is_question: Decides for a heading that is, or stands above, this document's title.
    """
    kept: list[Document] = []
    queries: dict[str, str] = {}
    answers: dict[str, list[str]] = defaultdict(list)
    for document in documents:
        above = [part for part in document.context.split(" > ") if part]
        asked = [part for part in (*above, document.title) if is_question(part, document)]
        if asked:
            is_own = is_question(document.title, document)
            document = replace(
                document,
                id=f"{document.group}#answer-{document.order}" if is_own else document.id,
                title="" if is_own else document.title,
                context=" > ".join(part for part in above if part not in asked),
            )
            # Punctuation counts here: "in C?" and "in C++?" are two questions.
            queries.setdefault(normalize(asked[-1]), asked[-1])
            answers[normalize(asked[-1])].append(document.id)
        kept.append(document)
    return (
        kept,
        {f"question-{number}": query for number, query in enumerate(queries.values(), 1)},
        {
            f"question-{number}": dict.fromkeys(answers[key], 1)
            for number, key in enumerate(queries, 1)
        },
    )
