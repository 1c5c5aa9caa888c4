from __future__ import annotations

import pyarrow as pa
import pytest

from isometry.jobs.ranking import build_index
from isometry.search.first_stage import FirstStage, document_of, first_stage
from isometry.search.lancedb import Lexical, chunk_schema

TEXTS = {
    ("boats", 0): "A ferry crosses the river.",
    ("boats", 1): "The ferry is old, the ferry is slow, the ferry is red.",
    ("birds\nand bees", 0): "A heron waits for the ferry at the river.",
    ("trees", 0): "An oak.",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> FirstStage:
    schema = chunk_schema(1)
    chunks = pa.table(
        {
            "document": [document for document, _ in TEXTS],
            "title": [""] * len(TEXTS),
            "position": [position for _, position in TEXTS],
            "start": [0] * len(TEXTS),
            "end": [len(text) for text in TEXTS.values()],
            "text": list(TEXTS.values()),
        },
        schema=pa.schema([schema.field(name) for name in schema.names if name != "vector"]),
    )
    index = build_index(tmp_path_factory.mktemp("index") / "index", chunks, None, Lexical())
    judged = {"ferry": {"birds\nand bees": 2}, "oak": {"trees": 1}, "whale": {"boats": 1}}
    return first_stage(index, judged, 5)


def test_each_document_is_found_by_its_best_passage(found: FirstStage) -> None:
    assert found.queries == ["ferry", "oak", "whale"]
    names = [[name for name, _ in ranking] for ranking in found.rankings]
    assert names == [["boats\n1", "birds\nand bees\n0"], ["trees\n0"], []]
    assert [document_of(name) for name in names[0]] == ["boats", "birds\nand bees"]
    for name, text in found.texts.items():
        assert text == TEXTS[document_of(name), int(name[-1])]
    scores = [score for _, score in found.rankings[0]]
    assert scores[0] > scores[1] > 0
    assert found.relevance[0] == {"birds\nand bees": 2}


@pytest.fixture
def stage() -> FirstStage:
    """Two queries; no answer of the second is found."""
    return FirstStage(
        ["one", "two"],
        [[("a\n0", 9.0), ("b\n3", 5.0), ("c\n1", 4.0)], [("b\n2", 2.0), ("c\n0", 1.0)]],
        {"a\n0": "A0", "b\n3": "B3", "c\n1": "C1", "b\n2": "B2", "c\n0": "C0"},
        [{"c": 1}, {"d": 1}],
    )


def test_candidates_are_an_answer_and_the_best_of_the_others(stage: FirstStage) -> None:
    (row,) = stage.candidates(1)
    assert (row.query, row.positive, row.negatives) == ("one", "C1", ("A0",))
    (row,) = stage.candidates(5)
    assert row.negatives == ("A0", "B3")
