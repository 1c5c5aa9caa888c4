from __future__ import annotations

from pathlib import Path

import pytest

from isometry.corpora.documents import Document
from isometry.corpora.packaged.questions import ask_headings, comparable
from isometry.corpora.readers import ReadingReport, open_source

PAGE = """
# Kitchen FAQ

Before you ask.

## Baking

### Why does bread rise?

Yeast makes gas.

#### Wild yeast

It is in the air.

##### Where does it come from?

From the grain.

### Which flours are there?

#### Rye

Dark and heavy.

#### Wheat

Light.

### Can I bake in C?

No.

### Can I bake in C++?

Not either.

### why does  BREAD rise?

It was said above.
"""


@pytest.fixture
def documents(tmp_path: Path) -> list[Document]:
    (tmp_path / "kitchen.md").write_text(PAGE)
    return list(open_source(tmp_path).documents(ReadingReport()))


def is_question(heading: str, document: Document) -> bool:
    return heading.endswith("?")


def test_a_question_is_answered_by_what_stands_below_it_up_to_the_next_question(
    documents: list[Document],
) -> None:
    found, queries, relevance = ask_headings(documents, is_question)
    texts = {document.id: document.text for document in found}
    answers = {
        query: [texts[document] for document in relevance[key]] for key, query in queries.items()
    }
    assert answers == {
        "Why does bread rise?": ["Yeast makes gas.", "It is in the air.", "It was said above."],
        "Where does it come from?": ["From the grain."],
        # It has no words of its own.
        "Which flours are there?": ["Dark and heavy.", "Light."],
        "Can I bake in C?": ["No."],
        "Can I bake in C++?": ["Not either."],
    }
    assert {score for scores in relevance.values() for score in scores.values()} == {1}


def test_no_document_repeats_a_question_and_the_rest_is_as_it_was(
    documents: list[Document],
) -> None:
    found, queries, _ = ask_headings(documents, is_question)
    for query in queries.values():
        for document in found:
            shown = comparable(f"{document.id} {document.header()} {document.body()}")
            assert comparable(query) not in shown
    assert [document.header() for document in found] == [
        "Kitchen FAQ",
        "Kitchen FAQ > Baking",
        "Kitchen FAQ > Baking > Wild yeast",
        "Kitchen FAQ > Baking > Wild yeast",
        *("Kitchen FAQ > Baking > Rye", "Kitchen FAQ > Baking > Wheat"),
        *["Kitchen FAQ > Baking"] * 3,
    ]
    assert [document.text for document in found] == [document.text for document in documents]
    assert found[0] is documents[0]
    assert len({document.id for document in found}) == len(found)


def test_a_heading_counts_only_where_it_is_asked(documents: list[Document]) -> None:
    found, queries, relevance = ask_headings(documents, lambda heading, document: False)
    assert found == documents
    assert queries == relevance == {}
