from __future__ import annotations

from itertools import pairwise

import pytest

from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.packaged.locate import data_path
from isometry.corpora.packaged.python_documentation import python_documentation
from isometry.corpora.packaged.questions import comparable


@pytest.fixture(scope="module")
def real() -> HumanQueries:
    return python_documentation()


def test_counts(real: HumanQueries) -> None:
    assert (len(real.documents), len(real.queries)) == (4705, 174)
    assert sum(len(answers) for answers in real.relevance.values()) == 175
    assert len({document.id for document in real.documents}) == 4705


def test_every_heading_of_the_faq_with_a_question_mark_is_a_query(real: HumanQueries) -> None:
    headings: list[str] = []
    for page in sorted((data_path("python3.13-doc") / "faq").glob("*.rst.txt")):
        lines = page.read_text(encoding="utf-8").split("\n")
        headings += [
            line
            for line, below in pairwise(lines)
            if "?" in line and below and not below.strip("-=*^")
        ]
    headings.remove('"Why is Python Installed on my Computer?" FAQ')
    plain = {
        comparable(line.replace("``", "").replace("\\", "").replace("*", "")) for line in headings
    }
    asked = {comparable(query) for query in real.queries.values()}
    assert asked == plain
    assert len(headings) == 175


def test_no_document_shows_a_question(real: HumanQueries) -> None:
    shown = [
        f" {comparable(f'{document.id} {document.header()} {document.body()}')} "
        for document in real.documents
    ]
    for query in real.queries.values():
        needle = f" {comparable(query)} "
        assert not any(needle in text for text in shown), query


def test_answers_are_sections_of_the_faq_without_a_title(real: HumanQueries) -> None:
    by_id = {document.id: document for document in real.documents}
    for answers in real.relevance.values():
        for answer in answers:
            assert by_id[answer].group.startswith("faq/")
            assert not by_id[answer].title
            assert "?" not in by_id[answer].header()


@pytest.mark.parametrize(
    ("query", "start"),
    [
        ("What is self?", "Self is merely a conventional name"),
        ('Do I have to like "Monty Python\'s Flying Circus"?', "No, but it helps."),
    ],
)
def test_the_answer_is_the_section_below(real: HumanQueries, query: str, start: str) -> None:
    texts = {document.id: document.text for document in real.documents}
    (key,) = (key for key, text in real.queries.items() if text == query)
    (answer,) = real.relevance[key]
    assert texts[answer].startswith(start)


def test_the_same_question_on_two_pages_has_two_answers(real: HumanQueries) -> None:
    (key,) = (key for key, text in real.queries.items() if text == "What is Python?")
    assert {answer.partition("#")[0] for answer in real.relevance[key]} == {
        "faq/general.rst.txt",
        "faq/installed.rst.txt",
    }
