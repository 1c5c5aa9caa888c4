"""What the tests of a store share: documents with passages and vectors, and what must be there."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from isometry import Space
from isometry.corpora.documents import Document
from isometry.jobs.ranking import passages_of
from isometry.jobs.store import Store

WORDS = [
    "parcel",
    "letter",
    "heap",
    "queue",
    "calendar",
    "paragraph",
    "random",
    "element",
    "sorted",
    "copy",
]


@dataclass(frozen=True)
class Item:
    """A document as it is put."""

    document: Document
    passages: pa.Table
    vectors: np.ndarray
    encoder: str

    def put(self, store: Store) -> Any:
        return store.put([self.document], self.passages, self.vectors, self.encoder)


def document(id: str, version: int) -> Document:
    words = " ".join(WORDS[(version * 3 + place) % len(WORDS)] for place in range(4))
    # Some need several passages.
    text = f"Version {version} of {id}: {words}. " * (1 + 12 * (version % 3))
    return Document(id, text, title=f"The {WORDS[version % len(WORDS)]}", links=("one", "two"))


def items(space: Space, documents: list[Document]) -> list[Item]:
    """Cut into passages and encoded by the Space's model."""
    found: list[Item] = []
    for one in documents:
        passages = passages_of(space.encoder, [one.id], [(one.header(), one.body())])
        vectors = space.encoder.encode(
            passages["text"].to_pylist(),
            "document",
            precision=space.manifest["encoder"]["precision"],
        )
        found.append(Item(one, passages, vectors, space.manifest["encoder"]["fingerprint"]))
    return found


def check(store: Store, id: str, expected: Item | None) -> None:
    """A document is there as it was put: text, passages and vectors of one version; or none is."""
    found = store.get(id)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found.document == expected.document
    assert found.passages.to_pylist() == expected.passages.to_pylist()
    assert (found.vectors == expected.vectors).all()


def write_items(path: Path, found: list[Item]) -> None:
    path.write_bytes(pickle.dumps(found))


def read_items(path: Path) -> list[Item]:
    return pickle.loads(path.read_bytes())
