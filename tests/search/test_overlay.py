"""Documents over a table of chunks, searched with it as if they were in it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from test_lancedb import build

from isometry.search.filters import FilteredIndex
from isometry.search.lancedb import ChunkIndex, Lexical
from isometry.search.overlay import Chunks, LayeredIndex, TableWords, passage_schema

ROWS = [
    ("boats", 0, "A ferry crosses the wide river.", [1.0, 0.0]),
    ("boats", 1, "The ferry is old and the ferry is slow.", [0.6, 0.8]),
    ("birds", 0, "A heron waits at the river for the ferry.", [0.0, 1.0]),
    ("trees", 0, "An oak stands alone.", [0.8, 0.6]),
]


def over(document: str, *originals: int) -> Chunks:
    """A document of copies of these rows."""
    rows = [
        {
            "document": document,
            "title": document.title(),
            "position": position,
            "start": 0,
            "end": len(ROWS[number][2]),
            "text": ROWS[number][2],
        }
        for position, number in enumerate(originals)
    ]
    vectors = np.array([ROWS[number][3] for number in originals], dtype=np.float32)
    return Chunks(pa.Table.from_pylist(rows, schema=passage_schema()), vectors, Lexical())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ChunkIndex:
    return build(tmp_path_factory.mktemp("table") / "index", ROWS)


@pytest.fixture
def layered(table: ChunkIndex) -> LayeredIndex:
    """Copies of boats and birds are over the table, and its trees are gone."""
    return LayeredIndex(
        table,
        TableWords(table, Lexical()),
        [over("a boat", 0, 1), over("x bird", 2)],
        ["trees", "a boat", "x bird"],
    )


def test_a_word_that_a_query_repeats_counts_as_often_over_the_table(layered: LayeredIndex) -> None:
    for query in ("ferry river", "ferry ferry river", "river ferry river river"):
        found = {hit.document: hit for hit in layered.lexical(query, 10)}
        for copy, original in (("a boat", "boats"), ("x bird", "birds")):
            assert found[copy].score == pytest.approx(found[original].score, rel=1e-4)
            assert found[copy].position == found[original].position


def test_equal_scores_of_both_stand_in_the_order_of_ids_and_no_more_come_than_asked(
    layered: LayeredIndex,
) -> None:
    vector = np.array([1.0, 0.0], dtype=np.float32)
    every = [hit.document for hit in layered.dense(vector, 10)]
    assert every == ["a boat", "boats", "birds", "x bird"]
    for k in (1, 2, 3):
        assert [hit.document for hit in layered.dense(vector, k)] == every[:k]
        assert len(layered.lexical("ferry", k)) == k


def test_rows_of_both_are_read_in_the_order_in_which_they_are_asked_for(
    layered: LayeredIndex, table: ChunkIndex
) -> None:
    # Rows 4 to 6 lie over the table: copies of 0, 1 and 2.
    assert layered.chunks == 6
    asked, same = np.array([6, 1, 4, 2, 5]), np.array([2, 1, 0, 2, 1])
    # Where only some may be shown, everything else is as it was.
    for index in (layered, FilteredIndex(layered, ["boats", "birds", "a boat", "x bird"])):
        np.testing.assert_array_equal(index.vectors(asked), table.vectors(same))
        texts = [hit.text for hit in index.fetch((asked, np.zeros(5)))]
        assert texts == [hit.text for hit in table.fetch((same, np.zeros(5)))]
        words = ["ferry", "heron", "unsaid"]
        scores = index.word_scores(words, asked)
        alone = table.word_scores(words, np.arange(3))
        np.testing.assert_allclose(scores, alone[same], rtol=1e-4)
        assert (scores > 0).any(axis=1).all()


def test_what_is_gone_or_filtered_out_is_not_found(layered: LayeredIndex) -> None:
    vector = np.array([0.8, 0.6], dtype=np.float32)
    assert "trees" not in [hit.document for hit in layered.dense(vector, 10)]
    assert layered.lexical("oak", 10) == []
    assert layered.of_document("trees").tolist() == []
    assert layered.of_document("a boat").tolist() == [4, 5]
    some = FilteredIndex(layered, ["x bird", "trees", "boats"])
    assert [hit.document for hit in some.dense(vector, 10)] == ["boats", "x bird"]
    assert {hit.document for hit in some.lexical("ferry oak", 10)} == {"boats", "x bird"}


def test_documents_are_those_that_can_be_shown(layered: LayeredIndex) -> None:
    assert layered.documents == 4
