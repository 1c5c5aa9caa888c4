"""What a Space's journal holds: documents with their passages and vectors, or ids that go."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.core.journal import Journal
from isometry.corpora.documents import SCHEMA, Document, to_batches
from isometry.jobs.ranking import rows_of
from isometry.jobs.upkeep import HELD, Writer, held, held_documents
from isometry.search.lancedb import Lexical, chunk_schema
from isometry.search.overlay import Chunks, passage_schema
from isometry.search.updates import replace_documents
from isometry.space import Space
from isometry.space_files import JOURNAL

# Where a document came from that no source has brought.
PUT = "put"

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Change:
    """What one record of the journal does: all of it or nothing.

    Attributes:
        encoder: The fingerprint of what made the vectors.
        documents: Those that come, in the columns of `SCHEMA`.
        passages: Theirs, in the columns of `passage_schema`.
        vectors: One for each passage.
        gone: The ids of documents that go.
    """

    encoder: str
    documents: pa.Table
    passages: pa.Table
    vectors: Float[np.ndarray, "passages dim"]
    gone: Sequence[str] = ()

    @classmethod
    def put(
        cls,
        documents: Sequence[Document],
        passages: pa.Table,
        vectors: Float[np.ndarray, "passages dim"],
        encoder: str,
    ) -> Change:
        """Documents that come, or replace those of their ids.

        Raises:
            InputError: When ids are missing or twice there, passages are of other documents, text
                is no Unicode, or vectors are not one for each passage, or not finite.
        """
        names = [document.id for document in documents]
        if not names or not all(names) or len(set(names)) != len(names):
            raise InputError("Each document needs an id of its own.")
        try:
            table = pa.Table.from_batches(list(to_batches(documents)), SCHEMA)
            rows = passages.select(passage_schema().names).cast(passage_schema())
        except (UnicodeEncodeError, pa.ArrowInvalid, KeyError) as error:
            raise InputError(f"These documents cannot be stored: {error}") from error
        if strange := set(rows["document"].to_pylist()) - set(names):
            raise InputError(f"A passage is of '{min(strange, key=str)}', which is not put.")
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(vectors, dtype=np.float32)
        if values.ndim != 2 or len(values) != rows.num_rows:
            raise InputError(f"There are {rows.num_rows} passages and {len(values)} vectors.")
        broken = ~np.isfinite(values).all(axis=1)
        if broken.any():
            document = rows["document"][int(broken.argmax())]
            raise InputError(f"A vector of document '{document}' has values that are not finite.")
        return cls(encoder, table, rows, values)

    @classmethod
    def delete(cls, ids: Sequence[str], encoder: str, dim: int) -> Change:
        """Documents that go; those that are not there do not matter.

        Raises:
            InputError: When an id is no Unicode.
        """
        try:
            pa.array(list(ids), pa.string())
        except (UnicodeEncodeError, pa.ArrowInvalid) as error:
            raise InputError(f"There can be no document of such an id: {error}") from error
        nothing = np.empty((0, dim), dtype=np.float32)
        empty = SCHEMA.empty_table(), passage_schema().empty_table()
        return cls(encoder, *empty, nothing, list(ids))

    def to_bytes(self) -> bytes:
        """The payload of a record."""
        parts = [_to_bytes(self.documents), _to_bytes(self.passages), self.vectors.tobytes()]
        head = {
            "encoder": self.encoder,
            "gone": list(self.gone),
            "dim": self.vectors.shape[1],
            "sizes": [len(part) for part in parts],
        }
        said = json.dumps(head).encode()
        return b"".join([_LENGTH.pack(len(said)), said, *parts])

    @classmethod
    def from_bytes(cls, data: bytes) -> Change:
        """What `to_bytes` gave."""
        start = _LENGTH.size
        end = start + _LENGTH.unpack_from(data)[0]
        head = json.loads(data[start:end])
        parts: list[bytes] = []
        for size in head["sizes"]:
            parts.append(data[end : end + size])
            end += size
        vectors = np.frombuffer(parts[2], dtype=np.float32).reshape(-1, head["dim"])
        tables = [pa.ipc.open_stream(part).read_all() for part in parts[:2]]
        return cls(head["encoder"], tables[0], tables[1], vectors, head["gone"])


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


@dataclass(frozen=True)
class Entry:
    """What is known last of one document.

    Attributes:
        number: Of the record that says it.
        document: Its row; None when it is gone.
        chunks: Its passages with their vectors.
    """

    number: int
    document: dict[str, Any] | None = None
    chunks: Chunks | None = None


def entries_of(number: int, change: Change, lexical: Lexical) -> dict[str, Entry]:
    """What a record says of each document.

    Args:
        number: The record's.
        change: What it says.
        lexical: How the Space's text becomes terms.
    """
    found = {name: Entry(number) for name in change.gone}
    places: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(change.passages["document"].to_pylist()):
        places[name].append(place)
    for row in change.documents.to_pylist():
        own = places[row["id"]]
        rows = change.passages.take(pa.array(own, pa.int64()))
        found[row["id"]] = Entry(number, row, Chunks(rows, change.vectors[own], lexical))
    return found


def write_changes(writer: Writer, entries: Mapping[str, Entry], number: int) -> None:
    """Makes what a journal says of documents the Space's state, as one change.

    The manifest says up to which record that is; so a kill at any moment loses and doubles nothing.
    A document that a source brought stays that source's: the next `add` brings it up to date.

    Args:
        writer: Who writes.
        entries: What is known last of each document.
        number: Of the last record that is in them.

    Raises:
        InputError: When the disk is full.
    """
    space = writer.space
    before = held_documents(space)
    names = pa.array(list(entries), pa.string())
    known = pc.is_in(before["id"], names)  # pyright: ignore[reportAttributeAccessIssue]
    old = {row["id"]: row for row in before.filter(known).to_pylist()}
    rows: list[dict[str, Any]] = []
    for name, entry in entries.items():
        if entry.document is not None:
            was = old.get(name, {"origin": PUT, "own_id": name})
            rows.append(held(entry.document, was["origin"], was["own_id"]))
    current = space.current
    if old or rows:
        version = replace_documents(
            writer.folder / current.index,
            current.index_version,
            list(old),
            _batches(space, entries),
            chunk_schema(space.manifest["encoder"]["dim"]),
            space.lexical,
        )
        fresh = pa.Table.from_pylist(rows, schema=HELD)
        others = before.filter(pc.invert(known))  # pyright: ignore[reportAttributeAccessIssue]
        after = pa.concat_tables([others, fresh])
        documents = writer.write_documents(after)
        current = replace(current, index_version=version, documents=documents)
    changed = sum(row["id"] in old for row in rows)
    counts = {"added": len(rows) - changed, "changed": changed, "removed": len(old) - changed}
    manifest = {**space.manifest, "current": asdict(current), "applied": number}
    writer.commit(manifest, by=PUT, counts=counts)


def _batches(space: Space, entries: Mapping[str, Entry]) -> list[pa.RecordBatch] | None:
    """The passages that come, as a table of chunks holds them."""
    schema = chunk_schema(space.manifest["encoder"]["dim"])
    batches = [
        batch
        for entry in entries.values()
        if entry.chunks is not None
        for batch in rows_of(entry.chunks.rows, entry.chunks.vectors, schema)
    ]
    # One piece, however many documents came.
    return pa.Table.from_batches(batches).combine_chunks().to_batches() if batches else None


def open_journal(space: Space) -> Journal:
    """The journal of a Space.

    Raises:
        InputError: When it is damaged, open in another process, or not that of this Space's state.
    """
    applied = int(space.manifest.get("applied", 0))
    journal = Journal.open(space.folder / JOURNAL, applied + 1)
    if journal.first > applied + 1 or journal.last < applied:
        said = f"holds records {journal.first} to {journal.last}"
        journal.close()
        raise InputError(
            f"{space.folder / JOURNAL} {said}, and the Space has those up to {applied}.",
            "One of them was replaced: restore both from the same copy.",
        )
    return journal


def read_entries(journal: Journal, space: Space) -> dict[str, Entry]:
    """What a journal says that its Space does not hold yet.

    Raises:
        InputError: When another encoder made its vectors.
    """
    entries: dict[str, Entry] = {}
    for number, payload in journal.records(int(space.manifest.get("applied", 0))):
        change = Change.from_bytes(payload)
        check_encoder(space, change)
        entries |= entries_of(number, change, space.lexical)
    return entries


def check_encoder(space: Space, change: Change) -> None:
    """Refuses vectors that are not of a Space.

    Raises:
        InputError: When another encoder made them, or they have another width.
    """
    encoder = space.manifest["encoder"]
    if change.encoder != encoder["fingerprint"]:
        raise InputError(
            f"These vectors were made by another encoder than that of {space.folder}.",
            f"Its fingerprint is {encoder['fingerprint']}.",
        )
    if change.vectors.shape[1] != encoder["dim"]:
        raise InputError(
            f"These vectors have {change.vectors.shape[1]} dimensions,"
            f" and those of {space.folder} {encoder['dim']}."
        )


def fold_journal(writer: Writer) -> None:
    """Brings into a Space what a process that stored left in the journal.

    Raises:
        InputError: When the journal is damaged, or the disk is full.
    """
    with open_journal(writer.space) as journal:
        entries = read_entries(journal, writer.space)
        if journal.last > int(writer.space.manifest.get("applied", 0)):
            write_changes(writer, entries, journal.last)
        journal.forget(journal.last)
