"""What the tests of add, migrate and compact share."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from isometry import Space
from isometry.core.files import read_json
from isometry.core.writing import write_json
from isometry.corpora.documents import from_table
from isometry.encoders.text import TextEncoder
from isometry.jobs.ranking import build_index, passages_of
from isometry.report.figures import additions_of

QUERIES = [
    "sort a list in place",
    "the day of the week",
    "copy a file",
    "wrap a long paragraph",
    "choose a random element",
    "a queue with priorities",
]


def living(tiny_space: Path, tiny_docs: Path, folder: Path) -> tuple[Path, Path]:
    """Copies of a Space and of its source, which may be changed."""
    docs = Path(shutil.copytree(tiny_docs, folder / "docs"))
    space = Path(shutil.copytree(tiny_space, folder / "space"))
    manifest = read_json(space / "space.json")
    manifest["source"] |= {"name": str(docs), "place": str(docs)}
    write_json(space / "space.json", manifest)
    return space, docs


def change(docs: Path) -> None:
    """One file goes, one changes, one comes."""
    (docs / "calendar.py").unlink()
    heap = docs / "heapq.py"
    heap.write_text(heap.read_text().replace("heap", "heap of sorted parcels", 40))
    (docs / "parcels.py").write_text(
        'def label(parcel):\n    """Print a label for a parcel, with its day of the week."""\n'
        "    return parcel.address + parcel.day\n"
    )


def hits(space: Space, mode: Any = "hybrid", k: int = 20) -> list[tuple[str, float]]:
    return [(hit.document, hit.score) for query in QUERIES for hit in space.search(query, k, mode)]


def alike(one: Space, other: Space) -> bool:
    """Whether two Spaces find the same documents with the same scores, in every mode."""
    # Fused scores are divided by the spread of each side's, so that rounding shows more.
    for mode, tolerance in (("dense", 2e-6), ("lexical", 1e-5), ("hybrid", 1e-4)):
        found, expected = hits(one, mode), hits(other, mode)
        # Where two scores differ by rounding alone, their order means nothing.
        if sorted(name for name, _ in found) != sorted(name for name, _ in expected):
            return False
        if not np.allclose([s for _, s in found], [s for _, s in expected], atol=tolerance):
            return False
    return True


def built_anew(space: Space, folder: Path) -> Space:
    """The Space's documents in an index of their own, searched like the Space."""
    documents = from_table(pq.read_table(space.documents))
    views = [(document.header(), document.body()) for document in documents]
    chunks = passages_of(space.encoder, [document.id for document in documents], views)
    vectors = space.encoder.encode(
        chunks.column("text").to_pylist(), precision=space.manifest["encoder"]["precision"]
    )
    fresh = Space(space.folder, space.manifest)
    fresh.__dict__["index"] = build_index(folder, chunks, vectors, space.lexical)
    fresh.__dict__["encoder"] = space.encoder
    return fresh


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are encoded from now on."""
    texts: list[str] = []
    encode = TextEncoder.encode

    def counting(self: TextEncoder, given: Any, *arguments: Any, **options: Any) -> np.ndarray:
        texts.extend(given)
        return encode(self, given, *arguments, **options)

    monkeypatch.setattr(TextEncoder, "encode", counting)
    return texts


PARCELS = 'def label(parcel):\n    """Print a label for a parcel."""\n    return parcel.address\n'


@dataclass(frozen=True, eq=False)
class State:
    """All that a Space holds, in an order that does not depend on how it came."""

    documents: list[dict[str, Any]]
    passages: list[dict[str, Any]]
    vectors: np.ndarray
    model: str
    found: list[tuple[str, float]]
    additions: list[tuple[Any, ...]]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, State)
        names = ("documents", "passages", "model", "found", "additions")
        return (
            all(getattr(self, name) == getattr(other, name) for name in names)
            # Batches of other sizes give vectors that differ in the last bits.
            and np.allclose(self.vectors, other.vectors, atol=1e-5)
        )


def state(space: Space) -> State:
    table = space.index._table.to_arrow().sort_by(
        [("document", "ascending"), ("position", "ascending")]
    )
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    counts = ("source", "added", "changed", "removed", "unchanged")
    return State(
        pq.read_table(space.documents).sort_by("id").to_pylist(),
        table.drop_columns("vector").to_pylist(),
        vectors,
        space.manifest["encoder"]["fingerprint"],
        [
            (hit.document, round(hit.score, 4))
            for query in QUERIES[:3]
            for hit in space.search(query, 10, "lexical")
        ],
        [tuple(entry[name] for name in counts) for entry in additions_of(space.manifest)],
    )
