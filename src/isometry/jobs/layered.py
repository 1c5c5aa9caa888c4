"""What a Space holds, with what was acknowledged since laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.corpora.documents import SCHEMA, Document
from isometry.jobs.changes import Entry
from isometry.search.overlay import LayeredIndex, TableWords, passage_schema
from isometry.space import Space


@dataclass(frozen=True)
class Stored:
    """A document as it is stored.

    Attributes:
        document: The document.
        passages: What is searched of it, in the columns of `passage_schema`, by position.
        vectors: Those of the passages.
    """

    document: Document
    passages: pa.Table
    vectors: Float[np.ndarray, "passages dim"]


class LayeredSpace(Space):
    """A Space with what is acknowledged and not in it yet.

    Args:
        base: What is in it.
        entries: What is laid over that, by document.
        words: How `base` is searched by words.
    """

    def __init__(self, base: Space, entries: Mapping[str, Entry], words: TableWords) -> None:
        super().__init__(base.folder, base.manifest)
        self._base = base
        self._entries = entries
        # What is loaded stays loaded.
        self.__dict__.update({**base.__dict__, **self.__dict__})
        self.__dict__.pop("known", None)
        over = [entry.chunks for entry in entries.values() if entry.chunks is not None]
        self.__dict__["index"] = LayeredIndex(base.index, words, over, entries)

    @cached_property
    def known(self) -> pa.Table:
        """What documents can be filtered by."""
        base = self._base.known
        names = pa.array(list(self._entries), pa.string())
        old = pc.is_in(base["id"], names)  # pyright: ignore[reportAttributeAccessIssue]
        rows = [entry.document for entry in self._entries.values() if entry.document is not None]
        new = pa.Table.from_pylist(rows, SCHEMA).select(base.column_names)
        return pa.concat_tables([base.filter(pc.invert(old)), new.cast(base.schema)])  # pyright: ignore[reportAttributeAccessIssue]


class StoredDocuments:
    """The documents of a state: read one by one out of their file, which is not read whole for it.

    Args:
        path: The Parquet file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        names = pq.read_table(path, columns=["id"])["id"].to_pylist()
        self._places = {name: place for place, name in enumerate(names)}

    def __contains__(self, id: object) -> bool:
        return id in self._places

    def document(self, id: str) -> Document | None:
        """The document of this id; none where there is none.

        Raises:
            InputError: When another file stands in this one's place.
        """
        place = self._places.get(id)
        if place is None:
            return None
        with pq.ParquetFile(self._path) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if place < rows:
                    row = file.read_row_group(group, SCHEMA.names).slice(place, 1).to_pylist()[0]
                    if row["id"] == id:
                        return document_from_row(row)
                    break
                place -= rows
        # The files of another fit have the same names.
        raise InputError(f"{self._path} was replaced since it was opened.", "Open the Space anew.")

    def get(self, id: str, space: Space) -> Stored | None:
        """The document of this id with its passages and vectors, which are those of `space`.

        Raises:
            InputError: As `document` does.
        """
        document = self.document(id)
        if document is None:
            return None
        index = space.index
        numbers = index.of_document(id)
        hits = index.fetch((numbers, np.zeros(len(numbers))))
        names = passage_schema().names
        rows = [{name: getattr(hit, name) for name in names} for hit in hits]
        vectors = (
            index.vectors(numbers) if len(numbers) else np.empty((0, index.dim), dtype=np.float32)
        )
        return Stored(document, pa.Table.from_pylist(rows, schema=passage_schema()), vectors)


def document_from_row(row: Mapping[str, Any]) -> Document:
    """A document out of its row; what else the row holds does not matter."""
    own = {field.name: row[field.name] for field in fields(Document)}
    return Document(**{**own, "links": tuple(own["links"] or ())})
