from __future__ import annotations

from collections import Counter

import pytest

from isometry.corpora.curation.dedup import words
from isometry.corpora.curation.profile import languages
from isometry.corpora.packaged.debian_in_german import debian_in_german
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.packaged.questions import comparable


@pytest.fixture(scope="module")
def real() -> HumanQueries:
    return debian_in_german()


def test_counts(real: HumanQueries) -> None:
    assert (len(real.documents), len(real.queries)) == (1096, 117)
    assert sum(len(answers) for answers in real.relevance.values()) == 132
    assert Counter(document.group.partition("/")[0] for document in real.documents) == {
        "faq": 148,
        "reference": 450,
        "handbook": 498,
    }
    assert len({document.id for document in real.documents}) == 1096


def test_queries_are_questions_in_german(real: HumanQueries) -> None:
    english = {"the", "is", "what", "how", "should", "do", "where", "and"}
    for query in real.queries.values():
        assert "?" in query
        assert not query[0].isdigit()
        assert not english & set(words(query.casefold())), query


def test_no_document_shows_a_question(real: HumanQueries) -> None:
    shown = [
        f" {comparable(f'{document.id} {document.header()} {document.body()}')} "
        for document in real.documents
    ]
    for query in real.queries.values():
        needle = f" {comparable(query)} "
        assert not any(needle in text for text in shown), query


def test_answers_are_in_the_faq(real: HumanQueries) -> None:
    by_id = {document.id: document for document in real.documents}
    for answers in real.relevance.values():
        assert all(by_id[answer].group.startswith("faq/") for answer in answers)


def test_documents_are_german(real: HumanQueries) -> None:
    found = languages(real.documents)
    assert found["de"] > 0.97 * sum(found.values())
    sentences = ("please bear in mind", "You are advised not to use", "Firmware refers to")
    assert not any(line in document.text for line in sentences for document in real.documents)


def test_code_stays(real: HumanQueries) -> None:
    assert any("/dists/frozen -> bookworm/" in document.text for document in real.documents)


def test_headings_have_no_numbers_and_pages_no_navigation(real: HumanQueries) -> None:
    for document in real.documents:
        for heading in document.header().split(" > "):
            assert not heading.startswith(("Kapitel ", "1.", "2.", "3.", "Anhang ")), heading
        assert "Inhaltsverzeichnis\n" not in document.text
        assert "ZurückWeiter" not in document.text.replace(" ", "").replace("\n", "")


def test_a_reference_to_a_question_keeps_its_number(real: HumanQueries) -> None:
    (document,) = (each for each in real.documents if "POSIX (IEEE 1003.1)" in each.text)
    assert "siehe Abschnitt 4.4." in document.text


def test_what_stands_below_a_question_answers_it(real: HumanQueries) -> None:
    titles = {document.id: document.title for document in real.documents}
    query = "Welche Programme bietet Debian zur Paketverwaltung an?"
    (key,) = (key for key, text in real.queries.items() if text == query)
    assert [titles[answer] for answer in real.relevance[key]] == [
        *("", "dpkg", "APT", "aptitude", "synaptic", "tasksel", "dpkg-deb"),
    ]
