from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from isometry.core.files import hash_folder
from isometry.encoders.packaged_models import packaged_folder
from isometry.search import view as module
from isometry.search.lancedb import ChunkIndex, Lexical, chunk_schema
from isometry.search.view import Read, Rows, VectorView


def word_vectors() -> tuple[list[str], np.ndarray]:
    """1,500 common words with the vectors that MiniLM reads them by, of length 1."""
    from safetensors import safe_open

    words = (packaged_folder("minilm") / "vocab.txt").read_text(encoding="utf-8").splitlines()
    with safe_open(packaged_folder("minilm") / "model.safetensors", framework="numpy") as file:
        vectors = file.get_slice("embeddings.word_embeddings.weight")[2000:3500]
    vectors = vectors.astype(np.float32)
    return words[2000:3500], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


WORDS, VECTORS = word_vectors()
# Every third of them is another chunk of the document before.
DOCUMENTS = [WORDS[row - (row % 3 == 2)] for row in range(len(WORDS))]
POSITIONS = [int(row % 3 == 2) for row in range(len(WORDS))]
QUERIES = 0.7 * VECTORS[:60] + 0.3 * VECTORS[60:120]
DIM = VECTORS.shape[1]


def table(
    documents: Sequence[str], positions: Sequence[int], vectors: Sequence, dim: int = DIM
) -> pa.Table:
    """Row ids are as Lance's, whose high half is the number of a fragment."""
    ids = [(row // 1000 << 32) + row % 1000 for row in range(len(documents))]
    return pa.table(
        {
            "_rowid": pa.array(ids, pa.uint64()),
            "document": pa.array(documents, pa.string()),
            "position": pa.array(positions, pa.int32()),
            "vector": pa.array(list(vectors), pa.list_(pa.float32(), dim)),
        }
    )


def reader(whole: pa.Table, asked: list[str] | None = None) -> Read:
    def read(columns: list[str]) -> pa.Table:
        if asked is not None:
            asked.extend(columns)
        return whole.select(columns)

    return read


TABLE = table(DOCUMENTS, POSITIONS, VECTORS)


@pytest.fixture(params=["compared", "graph"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs with vectors compared one by one, and in a graph."""
    monkeypatch.setattr(module, "_COMPARED", 5000 if request.param == "compared" else 0)
    return request.param


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMPARED", 0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, VectorView]]:
    """A folder with the graph of version 7, and the view that wrote it."""
    folder = tmp_path_factory.mktemp("views")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_COMPARED", 0)
        yield folder, VectorView.open(folder, "7", reader(TABLE))


def expected(query: np.ndarray, k: int) -> list[tuple[str, int, float]]:
    """The best chunk of every document, by one plain loop."""
    best: dict[str, tuple[float, int]] = {}
    for document, position, score in zip(DOCUMENTS, POSITIONS, VECTORS @ query, strict=True):
        if document not in best or score > best[document][0]:
            best[document] = (float(score), position)
    ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))[:k]
    return [(document, position, score) for document, (score, position) in ranked]


def found(view: VectorView, query: np.ndarray, k: int) -> list[tuple[str, int, float]]:
    rows, scores = view.search(query, k)
    documents = [view.rows.documents[int(row)].as_py() for row in rows]
    return list(zip(documents, view.rows.positions[rows].tolist(), scores.tolist(), strict=True))


def same(hits: list[tuple[str, int, float]], others: list[tuple[str, int, float]]) -> bool:
    return [hit[:2] for hit in hits] == [hit[:2] for hit in others] and np.allclose(
        [hit[2] for hit in hits], [hit[2] for hit in others], atol=1e-6
    )


def test_few_vectors_are_searched_exactly_and_leave_no_file(tmp_path: Path) -> None:
    view = VectorView.open(tmp_path / "views", "1", reader(TABLE))
    for query in QUERIES:
        assert same(found(view, query, 10), expected(query, 10))
    assert not (tmp_path / "views").exists()


def test_a_graph_finds_99_of_100_and_their_true_scores(saved: tuple[Path, VectorView]) -> None:
    view = saved[1]
    hits = 0
    for query in QUERIES:
        right = {(document, position): score for document, position, score in expected(query, 10)}
        ours = found(view, query, 10)
        hits += sum(hit[:2] in right for hit in ours)
        scores = [score for *_, score in ours]
        assert scores == sorted(scores, reverse=True)
        rows, _ = view.search(query, 10)
        assert scores == pytest.approx((VECTORS[rows] @ query).tolist(), abs=1e-6)
    assert hits / (10 * len(QUERIES)) >= 0.99


def test_it_finds_what_the_table_itself_finds(tmp_path: Path, either: str) -> None:
    part = [row for row in range(600) if row % 50]
    chunks = [
        {
            "document": DOCUMENTS[row],
            "title": "",
            "position": POSITIONS[row],
            "start": 0,
            "end": 0,
            "text": WORDS[row],
            "vector": VECTORS[row] if row % 7 else None,
        }
        for row in part
    ]
    schema = chunk_schema(DIM)
    batches = [pa.RecordBatch.from_pylist(chunks[i : i + 100], schema) for i in range(0, 600, 100)]
    index = ChunkIndex.create(tmp_path / "index", iter(batches), schema, Lexical())

    def read(columns: list[str]) -> pa.Table:
        return index._table.search().select(columns).to_arrow()

    view = VectorView.open(tmp_path / "views", "1", read)
    for query in QUERIES:
        hits = [(hit.document, hit.position, hit.score) for hit in index.dense(query, 10)]
        assert same(found(view, query, 10), hits)
    rows, _ = view.search(QUERIES[0], 10)
    ids = view.rows.ids[rows]
    assert view.rows.numbers(ids).tolist() == rows.tolist()
    fetched = index._table.take_row_ids(ids.tolist()).select(["document"]).to_arrow()
    assert set(fetched["document"].to_pylist()) == {hit[0] for hit in found(view, QUERIES[0], 10)}


def test_a_saved_graph_is_opened_without_the_vectors(
    saved: tuple[Path, VectorView], graphs: None
) -> None:
    asked: list[str] = []
    again = VectorView.open(saved[0], "7", reader(TABLE, asked))
    assert asked == ["_rowid", "document", "position"]
    for query in QUERIES:
        assert found(again, query, 10) == found(saved[1], query, 10)


def test_the_same_table_makes_the_same_graph(
    saved: tuple[Path, VectorView], tmp_path: Path, graphs: None
) -> None:
    shuffled = TABLE.take(np.random.default_rng(0).permutation(len(TABLE)))
    view = VectorView.open(tmp_path, "7", reader(shuffled))
    assert hash_folder(tmp_path) == hash_folder(saved[0])
    assert found(view, QUERIES[0], 20) == found(saved[1], QUERIES[0], 20)


def test_a_graph_of_another_version_is_not_used(tmp_path: Path, graphs: None) -> None:
    fewer = table(DOCUMENTS[:300], POSITIONS[:300], VECTORS[:300])
    other = table(DOCUMENTS[:300], POSITIONS[:300], VECTORS[300:600])
    (tmp_path / "something else").mkdir()
    VectorView.open(tmp_path, "1", reader(fewer))
    asked: list[str] = []
    view = VectorView.open(tmp_path, "2", reader(other, asked))
    assert "vector" in asked
    assert found(view, VECTORS[305], 1)[0][:2] == (DOCUMENTS[5], POSITIONS[5])
    # Nobody needs the old one any more.
    assert {path.name for path in tmp_path.iterdir()} == {"2", "something else"}


def truncate(folder: Path) -> None:
    graph = folder / "vectors.usearch"
    graph.write_bytes(graph.read_bytes()[:-1000])


def flip(folder: Path) -> None:
    graph = folder / "vectors.usearch"
    content = bytearray(graph.read_bytes())
    content[-5000] ^= 255
    graph.write_bytes(content)


def unseal(folder: Path) -> None:
    (folder / "view.json").unlink()


def garble(folder: Path) -> None:
    (folder / "view.json").write_text("[")


def remove(folder: Path) -> None:
    (folder / "vectors.usearch").unlink()


def other_settings(folder: Path) -> None:
    seal = folder / "view.json"
    seal.write_text(seal.read_text().replace('"expansion": 1', '"expansion": 2'))


@pytest.mark.parametrize("damage", [truncate, flip, unseal, garble, remove, other_settings])
def test_a_damaged_graph_is_built_anew(tmp_path: Path, damage, graphs: None) -> None:
    part = table(DOCUMENTS[:300], POSITIONS[:300], VECTORS[:300])
    first = VectorView.open(tmp_path, "7", reader(part))
    whole = hash_folder(tmp_path)
    once = [found(first, query, 10) for query in QUERIES]
    damage(tmp_path / "7")
    asked: list[str] = []
    again = VectorView.open(tmp_path, "7", reader(part, asked))
    assert "vector" in asked
    assert [found(again, query, 10) for query in QUERIES] == once
    assert hash_folder(tmp_path) == whole


def test_where_nothing_can_be_written_it_stays_in_memory(tmp_path: Path, graphs: None) -> None:
    part = table(DOCUMENTS[:300], POSITIONS[:300], VECTORS[:300])
    (tmp_path / "views").write_text("no folder")
    view = VectorView.open(tmp_path / "views", "1", reader(part))
    assert found(view, VECTORS[5], 1)[0][:2] == (DOCUMENTS[5], POSITIONS[5])
    assert (tmp_path / "views").read_text() == "no folder"


def test_more_than_there_are(tmp_path: Path, either: str) -> None:
    view = VectorView.open(tmp_path, "1", reader(TABLE))
    for k in (1000, 1001, 10_000):
        hits = found(view, QUERIES[0], k)
        # So many scores come close to each other that rounding decides some of the order.
        assert {hit[:2] for hit in hits} == {hit[:2] for hit in expected(QUERIES[0], k)}
        assert len(hits) == 1000
        assert all(hit[2] >= after[2] for hit, after in pairwise(hits))
    assert found(view, QUERIES[0], 0) == []


def test_chunks_of_one_document_do_not_crowd_out_the_others(tmp_path: Path, either: str) -> None:
    near = [[1.0, i / 1e6] for i in range(900)]
    documents = ["long"] * 900 + ["other"] * 50 + ["short"]
    vectors = [*near, *[[-1.0, 0.0]] * 50, [0.6, 0.8]]
    view = VectorView.open(
        tmp_path, "1", reader(table(documents, [*range(900), *range(50), 0], vectors, 2))
    )
    hits = found(view, np.array([1.0, 0.0]), 2)
    assert [hit[0] for hit in hits] == ["long", "short"]


def test_equal_scores_stand_in_the_order_of_ids_even_at_the_end_of_the_list(
    tmp_path: Path, either: str
) -> None:
    names = [f"{i:03}" for i in np.random.default_rng(0).permutation(401)]
    view = VectorView.open(
        tmp_path, "1", reader(table(names, [0] * len(names), [VECTORS[7]] * len(names)))
    )
    for k in (1, 5, 60, 200):
        # A matrix product adds up the last rows in another order, and only some sums show it.
        for query in QUERIES[:10]:
            assert [hit[0] for hit in found(view, query, k)] == sorted(names)[:k]


def test_chunks_without_a_vector_are_left_out(tmp_path: Path, either: str) -> None:
    documents = ["a", "a", "b", "c"]
    some = table(documents, [0, 1, 0, 0], [None, [0.0, 1.0], None, [1.0, 0.0]], 2)
    view = VectorView.open(tmp_path, "some", reader(some))
    assert found(view, np.array([0.5, 1.0]), 5) == [("a", 1, 1.0), ("c", 0, 0.5)]
    none = table(documents, [0, 1, 0, 0], [None] * 4, 2)
    assert found(VectorView.open(tmp_path, "none", reader(none)), np.ones(2), 5) == []
    empty = table([], [], [], 2)
    assert found(VectorView.open(tmp_path, "empty", reader(empty)), np.ones(2), 5) == []


def test_the_same_again_in_every_thread(saved: tuple[Path, VectorView]) -> None:
    once = [found(saved[1], query, 10) for query in QUERIES]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda query: found(saved[1], query, 10), [*QUERIES, *QUERIES]))
    assert again == once + once


def test_rows_may_be_ranked_by_any_score() -> None:
    rows = Rows.read(reader(table(["b", "a", "b", "c"], [0, 0, 1, 0], [[0.0]] * 4, 1)))
    scores = np.array([2.0, 5.0, 5.0, 1.0])

    def best(limit: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(-scores)[:limit]
        return order, scores[order]

    numbers, kept = rows.by_document(best, 3)
    assert numbers.tolist() == [1, 2, 3]
    assert kept.tolist() == [5.0, 5.0, 1.0]


def test_importing_it_does_not_import_the_engine() -> None:
    program = "import sys, isometry.search.view; sys.exit('usearch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_of_equal_chunks_of_a_document_it_is_the_first(tmp_path: Path, either: str) -> None:
    rows = table(["a", "a", "b", "a"], [2, 1, 0, 0], [[0.6, 0.8]] * 4, 2)
    view = VectorView.open(tmp_path, "1", reader(rows))
    for k in (1, 2, 5):
        hits = found(view, np.array([1.0, 0.0]), k)
        assert [hit[:2] for hit in hits] == [("a", 0), ("b", 0)][:k]


def test_a_graph_of_another_number_of_rows_is_not_used(tmp_path: Path, graphs: None) -> None:
    VectorView.open(tmp_path, "7", reader(table(DOCUMENTS[:300], POSITIONS[:300], VECTORS[:300])))
    asked: list[str] = []
    fewer = table(DOCUMENTS[:200], POSITIONS[:200], VECTORS[:200])
    view = VectorView.open(tmp_path, "7", reader(fewer, asked))
    assert "vector" in asked
    assert len(found(view, VECTORS[5], 1000)) == len(set(DOCUMENTS[:200]))


def test_what_another_process_is_saving_stays(tmp_path: Path, graphs: None) -> None:
    saving = tmp_path / ".3.abcd"
    saving.mkdir()
    (saving / "view.json").write_text("{}")
    VectorView.open(tmp_path, "2", reader(table(DOCUMENTS[:30], POSITIONS[:30], VECTORS[:30])))
    assert {path.name for path in tmp_path.iterdir()} == {".3.abcd", "2"}
