"""Searches in fewer dimensions: what is kept for them, and whom they keep waiting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import answering, until

from isometry import Space
from isometry.search.other_vectors import OtherVectors
from isometry.search.overlay import LayeredIndex, TableWords
from isometry.serving import searching
from isometry.serving.searching import Searcher


@pytest.fixture
def space(tiny_space: Path) -> Space:
    return Space.open(tiny_space)


def kept(space: Space) -> dict[int, OtherVectors]:
    return space.index.__dict__["_shortened"]


def test_what_is_kept_is_no_larger_than_the_index(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In several parts, the last one shorter.
    monkeypatch.setattr(searching, "_READ", 300)
    searcher = Searcher()
    numbers = np.arange(len(space.index.rows))
    whole = space.index.vectors(numbers)
    (query,) = whole[:1]

    def search(dimensions: int) -> list[Any]:
        return searcher.search(space, "a heap", query, 5, "dense", dimensions)

    for dimensions in (63, 33, 31, 16, 8, 62, 1):
        search(dimensions)
        tables = kept(space)
        assert sum(table.vectors(numbers).nbytes for table in tables.values()) <= whole.nbytes
        cut = whole[:, :dimensions]
        np.testing.assert_allclose(
            tables[dimensions].vectors(numbers),
            cut / np.linalg.norm(cut, axis=1, keepdims=True),
            atol=1e-6,
        )
    # The halves that a fit trains have room beside each other.
    for dimensions in (32, 16, 8):
        search(dimensions)
    tables = dict(kept(space))
    for dimensions in (32, 16, 8):
        search(dimensions)
        assert kept(space)[dimensions] is tables[dimensions]


def test_words_of_a_shortened_table_are_the_tables(space: Space) -> None:
    over = LayeredIndex(space.index, TableWords(space.index, space.lexical), [], [])
    numbers = np.arange(40)
    for index in (space.index, over):
        cut = OtherVectors(index, numbers, space.index.vectors(numbers)[:, :8])
        words = ["heap", "list"]
        scores = cut.word_scores(words, numbers)
        assert (scores == index.word_scores(words, numbers)).all() and scores.any()


def test_a_width_that_is_there_does_not_wait_for_one_that_is_not(space: Space) -> None:
    searcher = Searcher()
    query = space.index.vectors(np.arange(1))[0]
    with ThreadPoolExecutor(2) as threads:

        def search(dimensions: int) -> Any:
            return threads.submit(searcher.search, space, "a heap", query, 5, "dense", dimensions)

        found = search(32).result(120)
        with searcher._making:
            other = search(16)
            assert search(32).result(120) == found
            assert not other.done()
        assert other.result(120)


def test_who_waits_for_a_table_holds_up_no_other_search(tiny_space: Path) -> None:
    asked = {"query": "sort a list", "k": 3}
    with answering(str(tiny_space)) as (client, state), ThreadPoolExecutor(40) as threads:

        def search(**more: Any) -> int:
            return client.post("/search", json={**asked, **more}).status_code

        with state.searcher._making:
            waiting = [threads.submit(search, dimensions=32) for _ in range(40)]
            until(lambda: state.searcher.threads._work_queue.qsize() >= 36)
            assert search() == 200
            assert not any(each.done() for each in waiting)
        assert {each.result(120) for each in waiting} == {200}
