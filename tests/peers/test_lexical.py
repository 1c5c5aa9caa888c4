"""The serving lexical engine against bm25s, on the source of the standard library."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path

import bm25s
import lancedb
import numpy as np
import pyarrow as pa
import pytest

from isometry.search.lancedb import ChunkIndex, Lexical, chunk_schema


def library() -> tuple[dict[str, str], list[str]]:
    """Functions of the standard library by qualified name, and first lines of docstrings."""
    bodies: dict[str, str] = {}
    questions: list[str] = []
    for module in ("argparse", "configparser", "shutil", "tarfile"):
        path = Path(sysconfig.get_path("stdlib")) / f"{module}.py"
        source = path.read_text(encoding="utf-8")
        lines = source.splitlines(keepends=True)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                body = "".join(lines[node.lineno - 1 : node.end_lineno])
                bodies[f"{module}.{node.name}:{node.lineno}"] = body[node.col_offset :]
                if words := ast.get_docstring(node):
                    questions.append(words.split("\n")[0])
    return bodies, questions


@pytest.mark.parametrize(
    "lexical", [Lexical(), Lexical(stem=False, remove_stop_words=False)], ids=["english", "plain"]
)
def test_scores_are_lucenes_bm25_times_k1_plus_1(tmp_path: Path, lexical: Lexical) -> None:
    bodies, questions = library()
    names = list(bodies)
    rows = [
        {"document": name, "title": "", "position": 0, "start": 0, "end": len(text), "text": text}
        for name, text in bodies.items()
    ]
    chunks = pa.RecordBatch.from_pylist(rows, schema=chunk_schema(1))
    index = ChunkIndex.create(tmp_path / "index", iter([chunks]), chunks.schema, lexical)
    table = lancedb.connect(tmp_path / "index").open_table("chunks")

    def tokens(text: str) -> list[str]:
        return [token.text for token in table.tokenize(text, column="text")]

    peer = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    peer.index([tokens(text) for text in bodies.values()], show_progress=False)
    questions = [*questions[:30], "archive archive member", "file"]
    assert len(bodies) > 200
    for question in questions:
        terms = [token for token in tokens(question) if token in peer.vocab_dict]
        expected = 2.2 * peer.get_scores(terms) if terms else np.zeros(len(names))
        hits = index.lexical(question, len(names))
        scores = {hit.document: hit.score for hit in hits}
        assert scores == pytest.approx(
            {name: score for name, score in zip(names, expected, strict=True) if score > 0},
            rel=1e-5,
        )
        order = expected[[names.index(hit.document) for hit in hits]]
        assert (np.diff(order) <= 1e-5 * order[:1].sum()).all()
