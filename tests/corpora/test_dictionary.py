from __future__ import annotations

import pytest

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import normalize, says
from isometry.corpora.dictionary import definition_files, gather, hold_out
from isometry.corpora.readers.concepts import Concepts, ConceptText, Edge


def test_entries_are_gathered_from_their_rows() -> None:
    rows = [
        ("Mercury", "a planet"),
        ("red  gum", "a tree"),
        ("mercury", "a metal"),
        ("mercury", "A  planet"),
    ]
    found = gather(rows)
    assert found == {"mercury": ["a planet", "a metal"], "red gum": ["a tree"]}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", "b"), ("ocean", " ")], "The entry 'ocean' has no definition"),
        ([("a", "b"), ("", "c")], "No entry"),
        ([("a", "b"), ("A", "c")], "nothing to tell apart: 1 entry"),
        ([], "nothing to tell apart: 0 entr"),
    ],
)
def test_rows_that_make_no_dictionary_are_refused(rows: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        gather(rows)


def test_what_is_held_out_is_left_to_no_entry_and_answered_by_all() -> None:
    shared = [f"number {number}" for number in range(30)]
    senses = {
        f"entry {name}": [f"only {name} has it", shared[name], shared[(name + 1) % 30].upper()]
        for name in range(30)
    }
    held = hold_out(senses)
    left = {normalize(text) for own in held.kept.values() for text in own}
    asked = {normalize(text) for text in held.answers}
    assert len(asked) == len(held.answers) > 20 and not left & asked
    for text, entries in held.answers.items():
        expected = {
            entry
            for entry in held.kept
            if normalize(text) in {normalize(each) for each in senses[entry]}
        }
        assert set(entries) == expected and len(entries) == len(expected)
    assert {len(entries) for entries in held.answers.values()} == {1, 2}
    # At least one of each is not left, and none is empty.
    for entry, own in held.kept.items():
        assert 1 <= len(own) < 3 and set(own) <= set(senses[entry])
    # Which ones does not depend on the order, and neither does theirs on that of the entries.
    turned = hold_out({entry: own[::-1] for entry, own in reversed(senses.items())})
    assert {normalize(text) for text in turned.answers} == asked
    entries = [int(own[0].split()[1]) for own in held.answers.values()]
    assert entries != sorted(entries)


def test_a_definition_with_its_entry_in_it_is_not_asked_and_is_not_learned_either() -> None:
    senses = {f"word {number}": [f"a word {number}, or", "b", "c", "d"] for number in range(9)}
    held = hold_out(senses)
    assert not any(says(text, entry) for text, own in held.answers.items() for entry in own)
    # Where nothing is left, there is no entry; what it alone defines is not asked.
    alone = hold_out({"x": ["one"], "y": ["two", "three"]})
    assert list(alone.kept) == ["y"] and set(alone.answers.values()) == {("y",)}


def test_a_definition_has_the_file_of_its_part_of_speech() -> None:
    texts = [
        ConceptText(key, "en", "definition", text)
        for key, text in (("1-n", "the act"), ("2-n", "a dog"), ("3-v", "the act"), ("4-v", "go"))
    ]
    texts += [ConceptText("5-n", "en", "name", "no gloss")]
    edges = [
        Edge(key, "category", file)
        for key, file in (
            ("1-n", "noun.act"), ("2-n", "noun.animal"), ("3-v", "verb.motion"),
            ("4-v", "verb.motion"), ("5-n", "noun.act"),
        )
    ]  # fmt: skip
    edges += [Edge("2-n", "is_a", "1-n")]
    concepts = Concepts(texts, edges)
    assert definition_files(concepts, "n") == {"the act": "noun.act", "a dog": "noun.animal"}
    assert definition_files(concepts, "v") == {"the act": "verb.motion", "go": "verb.motion"}
