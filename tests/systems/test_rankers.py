from __future__ import annotations

from dataclasses import replace

import numpy as np

from isometry.compression.precision import round_trip
from isometry.encoders.cached import CachedEncoder
from isometry.jobs.ranking import DEPTH
from isometry.systems.rankers import (
    Asked,
    Library,
    by_reading,
    by_stored_vectors,
    by_vectors,
)

SECTIONS = 90


def test_words_search_all_and_vectors_the_first_passages(library: Library) -> None:
    owner, passages = library.collection.owner, library.collection.passages
    uncut = replace(library, most=1000).collection
    assert len(uncut.owner) > len(owner)
    for row in range(SECTIONS):
        own = [text for text, number in zip(passages, owner, strict=True) if number == row]
        every = uncut.chunks.filter(uncut.owner == row).column("text").to_pylist()
        assert own == every[:2]
    # What stands behind the second passage is found by words alone.
    header, body = max(library.texts, key=lambda text: len(text[1]))
    texts = [*library.texts[:3], (header, f"{body}\nxylophone")]
    few = Library(library.model, 2, list("abcd"), texts)
    assert [number for number, _ in few.by_words(["xylophone"]).found(0)] == [3]
    assert not any("xylophone" in passage for passage in few.collection.passages)
    assert few.collection.passages[-1].startswith(header.split("\n")[0][:20])


def test_a_library_keeps_the_answers_and_as_many_others_as_are_wanted(library: Library) -> None:
    texts = {name: ("", f"text {name}") for name in "abcdefg"}
    sides = [{"one": {"e": 1}, "two": {"b": 2, "e": 1}}, {"three": {"g": 1}}]
    for others, expected in ((None, "abcdefg"), (2, "abceg"), (0, "beg")):
        few = Library.of(library.model, 1, texts, sides, others)
        assert "".join(few.ids) == expected
        assert few.texts == [texts[name] for name in expected]
    asked = Asked.of(few, sides[0])
    assert (asked.library, asked.queries) == (few, ["one", "two"])
    assert asked.relevance == [{1: 1}, {0: 2, 1: 1}]


def test_a_store_that_loses_nothing_ranks_as_the_vectors(
    asked: Asked, encoder: CachedEncoder
) -> None:
    exact = by_vectors(encoder)(asked)
    for rescored in (False, True):
        same = by_stored_vectors(encoder, lambda vectors: vectors, rescored=rescored)(asked)
        assert (same.order[:, :10] == exact.order[:, :10]).all()
    assert (exact.order[:, :10] >= 0).all()


def test_rescoring_mends_what_the_store_lost(asked: Asked, encoder: CachedEncoder) -> None:
    exact = by_vectors(encoder)(asked)

    def binary(vectors: np.ndarray) -> np.ndarray:
        return round_trip(vectors, "binary")

    coarse = by_stored_vectors(encoder, binary)(asked)
    mended = by_stored_vectors(encoder, binary, rescored=True)(asked)
    assert (coarse.order[:, :10] != exact.order[:, :10]).any()
    found = len(asked.library.collection.owner)
    assert found > DEPTH  # or else everything would be scored again
    agree = [(ranks.order[:, :10] == exact.order[:, :10]).mean() for ranks in (coarse, mended)]
    assert agree[1] > 0.9 > agree[0]


def test_reading_orders_the_first_that_vectors_found(asked: Asked, encoder: CachedEncoder) -> None:
    first = by_vectors(encoder)(asked)
    passages = asked.library.collection.passages

    def score(pairs: list[tuple[str, str]]) -> np.ndarray:
        assert len(pairs) == 3 * len(asked.queries)
        return np.array([float(passages.index(text)) for _, text in pairs])

    done = by_reading(encoder, score, depth=3, weight=1.0)(asked)
    assert (done.order[:, :3] == -np.sort(-first.order[:, :3])).all()
    assert (done.order[:, 3:] == first.order[:, 3:]).all()
