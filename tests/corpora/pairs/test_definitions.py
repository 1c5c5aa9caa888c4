from __future__ import annotations

import re
from collections import Counter
from itertools import takewhile

import numpy as np
import pytest
import torch

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.pairs.definitions import (
    Definition,
    Dropped,
    definitions,
    split_definitions,
)
from isometry.corpora.readers import ReadingReport, open_source
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import rank_documents, score_rankings

# The page of 2DMSE: MiniLM untrained, MRR@10 of gloss -> lemmas among 800 held-out synsets.
SIZES = ((1, 32), (2, 64), (3, 96), (4, 128), (5, 256), (6, 384))
OF_THE_PAGE = (10.9, 17.4, 27.1, 31.7, 35.0, 58.5)


@pytest.fixture(scope="module")
def nouns() -> list[Document]:
    documents = open_source("wordnet:").documents(ReadingReport())
    return list(takewhile(lambda item: item.id.endswith("-n"), documents))


def noun(number: int, title: str, text: str, part: str = "n") -> Document:
    return Document(id=f"{number:08}-{part}", text=text, title=title)


def test_a_definition_is_the_gloss_without_examples_and_the_lemmas() -> None:
    rows, dropped = definitions(
        [
            noun(1, "whole, unit", 'an assemblage regarded as one; "how big is that?"; "a unit"'),
            noun(2, "living thing", "a living (or once living) entity"),
            noun(3, "object", "a tangible entity; one with a shadow; with sides"),
            noun(4, "run", "move fast; here a verb", "v"),
        ]
    )
    assert rows == [
        Definition("an assemblage regarded as one", "whole, unit", "00000001-n"),
        Definition("a living (or once living) entity", "living thing", "00000002-n"),
        Definition("a tangible entity; one with a shadow; with sides", "object", "00000003-n"),
    ]
    assert dropped == Dropped(0, 0, 0)


def test_what_has_no_single_answer_or_gives_it_away_is_dropped() -> None:
    rows, dropped = definitions(
        [
            noun(1, "bank", "sloping land beside water"),
            noun(2, "Bank", "an institution that lends money"),
            noun(3, "bank, cant", "a slope in the turn of a road"),
            noun(4, "aster", 'a variety of flower; "a blue one"'),
            noun(5, "daisy", "A variety of  flower"),
            noun(6, "shoe shop", "a Shoe-Shop is where one buys footwear"),
            noun(7, "auto, motor car", "a motor car with four wheels"),
            noun(8, "cat", "the category of purring beasts"),
            noun(9, "dog", 'a friend of man; "the dog barked"'),
            noun(10, "bank", "the verb is another entry", "v"),
        ]
    )
    assert [row.key[7] for row in rows] == ["3", "8", "9"]
    assert dropped == Dropped(ambiguous=2, repeated=2, leaking=2)


def test_without_a_noun_there_is_nothing_to_define() -> None:
    with pytest.raises(InputError, match="None of 0 noun synsets"):
        definitions([noun(1, "run", "move fast", "v")])


def test_the_nouns_of_wordnet(nouns: list[Document]) -> None:
    rows, dropped = definitions(nouns)
    assert len(rows) + dropped.ambiguous + dropped.repeated + dropped.leaking == len(nouns)
    # Of WordNet 3.1, counted by other means; lemmas are compared without case.
    assert (len(nouns), dropped.ambiguous) == (82192, 10876)
    assert 500 < dropped.repeated < 1000 and 2000 < dropped.leaking < 4000
    assert max(Counter(row.entry.lower() for row in rows).values()) == 1
    assert max(Counter(row.text.lower() for row in rows).values()) == 1
    assert not any(re.search('; "', row.text) or "_" in row.entry for row in rows)
    assert len({row.key for row in rows}) == len(rows)


def test_every_synset_has_one_side_that_others_have_no_say_in(nouns: list[Document]) -> None:
    rows, _ = definitions(nouns[:20_000])
    sizes = {"train": 8, "validation": 1, "test": 1}
    sides = split_definitions(rows, sizes)
    assert sorted(row.key for side in sides.values() for row in side) == sorted(
        row.key for row in rows
    )
    for side, size in sizes.items():
        assert len(sides[side]) / len(rows) == pytest.approx(size / 10, abs=0.01)
    fewer = split_definitions(rows[::-3], sizes)
    kept = {row.key for row in rows[::-3]}
    assert fewer == {name: [row for row in side if row.key in kept] for name, side in sides.items()}
    other = split_definitions(rows, sizes, seed=1)["test"]
    shared = {row.key for row in other} & {row.key for row in sides["test"]}
    assert len(shared) < 0.2 * len(other)
    # The file goes by kinds of things; the first rows of a side do not.
    place = {row.key: i / len(rows) for i, row in enumerate(rows)}
    for side in sides.values():
        assert np.mean([place[row.key] for row in side[:300]]) == pytest.approx(0.5, abs=0.06)


def test_every_side_needs_a_size() -> None:
    with pytest.raises(ValueError, match="size above 0"):
        split_definitions([], {"train": 1, "test": 0})


def test_untrained_prefixes_of_minilm_are_near_the_pages_figures(
    nouns: list[Document], minilm: TextEncoder
) -> None:
    rows = split_definitions(definitions(nouns)[0])["test"][:800]

    def pooled(texts: list[str]) -> np.ndarray:
        order = np.argsort([len(text) for text in texts], kind="stable")
        with torch.no_grad():
            parts = [
                minilm.pooled_layers(
                    minilm.collate([texts[i] for i in some], "document", tokens=32)
                )
                for some in np.array_split(order, 16)
            ]
        return torch.cat(parts, dim=1).numpy()[:, np.argsort(order)]

    # Half of the glosses, for speed, among all entries.
    glosses, entries = pooled([row.text for row in rows[:400]]), pooled([row.entry for row in rows])
    found: list[float] = []
    for layer, dim in SIZES:
        asked, answers = (part[layer - 1, :, :dim] for part in (glosses, entries))
        answers = answers / np.linalg.norm(answers, axis=1, keepdims=True)
        ranked, _ = rank_documents(asked, answers, np.arange(800), k=10)
        figures = score_rankings(ranked, [{i: 1} for i in range(400)], ("mrr@10",))
        found.append(100 * float(figures["mrr@10"].mean()))
    assert found == sorted(found)
    assert found[-1] == pytest.approx(OF_THE_PAGE[-1], abs=6)
    assert found[0] == pytest.approx(OF_THE_PAGE[0], abs=6)
