from __future__ import annotations

import pytest

from isometry.core.errors import InputError
from isometry.corpora.pairs.definitions import Definition
from isometry.corpora.pairs.lexicographer_files import lexicographer_files
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.wordnet import Synset, open_wordnet


def synset(key: str, file: int, gloss: str) -> Synset:
    return Synset(key, file, ("word",), gloss, (), "here")


def test_a_definition_has_its_file_and_no_examples() -> None:
    rows = lexicographer_files(
        [
            synset("1-n", 5, 'an animal; of the woods; "the animal ran"'),
            synset("2-v", 38, "to go"),
            synset("3-r", 2, "shared by two"),
            synset("4-a", 0, "Shared  by two"),
        ]
    )
    assert rows == [
        Definition("an animal; of the woods", "5", "1-n"), Definition("to go", "38", "2-v")
    ]  # fmt: skip


def test_wordnet_has_45_files_over_four_parts_of_speech() -> None:
    rows = lexicographer_files(
        open_wordnet("", name="wordnet:", limit=None).synsets(ReadingReport())
    )
    assert {int(row.entry) for row in rows} == set(range(45))
    assert {row.key[-1] for row in rows} == set("nvar")
    assert {row.entry for row in rows if row.key[-1] == "r"} == {"2"}
    assert len({row.text for row in rows}) == len(rows) > 100_000


def test_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="None of 2"):
        lexicographer_files([synset("1-n", 5, "the same"), synset("2-n", 6, "the same")])
