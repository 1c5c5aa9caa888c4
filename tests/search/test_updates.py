from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from test_lancedb import BODIES, DIM, QUESTIONS, VECTORS, library_batches

from isometry.core.errors import InputError
from isometry.search.lancedb import ChunkIndex, Hit, Lexical, chunk_schema
from isometry.search.updates import (
    compact_table,
    files_of_versions,
    fragments,
    replace_documents,
)
from isometry.search.versions import HINT, version_of

SCHEMA = chunk_schema(DIM)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "index"
    ChunkIndex.create(folder, library_batches(), SCHEMA, Lexical())
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "index"))


def rows_of(names: set[str]) -> list[pa.RecordBatch]:
    batches = [
        batch.filter(pa.array([name in names for name in batch["document"].to_pylist()]))
        for batch in library_batches()
    ]
    return [batch for batch in batches if batch.num_rows]


def ask(index: ChunkIndex) -> list[Hit]:
    return [
        hit
        for question, vector in zip(QUESTIONS[:25], VECTORS, strict=False)
        for hit in index.lexical(question, 10) + index.dense(vector, 10)
    ]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_documents_are_replaced_as_if_the_table_was_made_of_the_new_ones(
    folder: Path, tmp_path: Path
) -> None:
    pinned = ChunkIndex.open(folder)
    version = pinned.version
    before = ask(pinned)
    names = list(BODIES)
    gone, back = set(names[:20]), set(names[5:10])
    new = replace_documents(folder, version, sorted(gone), rows_of(back), SCHEMA, Lexical())
    kept = rows_of(set(names) - gone | back)
    fresh = ChunkIndex.create(tmp_path / "fresh", iter(kept), SCHEMA, Lexical())
    assert ask(ChunkIndex.open(folder, new)) == ask(fresh) != before
    # Who opened it before, and who opens that version now, sees the old one.
    assert ask(pinned) == ask(ChunkIndex.open(folder, version)) == before


def test_ids_are_text_and_many_of_them_may_go(tmp_path: Path) -> None:
    names = [f"it's \"{number}\" \\ ' OR 1=1 --" for number in range(25_000)]
    rows = pa.RecordBatch.from_pylist(
        [
            {
                "document": name,
                "title": "",
                "position": 0,
                "start": 0,
                "end": 1,
                "text": "word",
                "vector": None,
            }
            for name in names
        ],
        schema=chunk_schema(1),
    )
    index = ChunkIndex.create(tmp_path / "index", iter([rows]), rows.schema, Lexical())
    new = replace_documents(
        tmp_path / "index", index.version, names[1:], None, rows.schema, Lexical()
    )
    left = ChunkIndex.open(tmp_path / "index", new)
    assert [hit.document for hit in left.lexical("word", 5)] == names[:1]
    assert left.chunks == 1


def test_a_vector_that_is_not_finite_is_refused(folder: Path) -> None:
    version = ChunkIndex.open(folder).version
    batch = rows_of({next(iter(BODIES))})[0]
    broken = pa.array([np.full(DIM, np.nan)] * batch.num_rows, SCHEMA.field("vector").type)
    batch = batch.set_column(SCHEMA.get_field_index("vector"), SCHEMA.field("vector"), broken)
    with pytest.raises(InputError, match="not finite"):
        replace_documents(folder, version, [], [batch], SCHEMA, Lexical())


def test_a_table_that_something_else_wrote_into_is_left_alone(folder: Path) -> None:
    version = ChunkIndex.open(folder).version
    replace_documents(folder, version, [next(iter(BODIES))], None, SCHEMA, Lexical())
    there = files(folder)
    with pytest.raises(InputError, match=f"its Space at {version}"):
        replace_documents(folder, version, [], None, SCHEMA, Lexical())
    assert files(folder) == there


def test_pieces_are_joined_and_the_files_of_a_version_are_all_that_it_needs(
    folder: Path, tmp_path: Path
) -> None:
    first = version = ChunkIndex.open(folder).version
    old = ask(ChunkIndex.open(folder, first))
    names = list(BODIES)
    for start in range(0, 50, 10):
        part = set(names[start : start + 10])
        version = replace_documents(folder, version, sorted(part), rows_of(part), SCHEMA, Lexical())
    found = ask(ChunkIndex.open(folder, version))
    assert fragments(folder, version) == 6
    compacted = compact_table(folder, version, Lexical())
    assert fragments(folder, compacted) == 1
    assert ask(ChunkIndex.open(folder, compacted)) == found
    assert compact_table(folder, compacted, Lexical()) == compacted

    there = files(folder)
    both = files_of_versions(folder, {first, compacted}, tmp_path / "scratch")
    last = files_of_versions(folder, {compacted}, tmp_path / "scratch")
    assert files(folder) == there and not (tmp_path / "scratch").exists()
    assert last < both < there
    for name in there - both:
        (folder / name).unlink()
    assert ask(ChunkIndex.open(folder, first)) == old
    assert ask(ChunkIndex.open(folder, compacted)) == found
    with pytest.raises(InputError, match="damaged"):
        ChunkIndex.open(folder, version)
    for name in both - last:
        (folder / name).unlink()
    assert ask(ChunkIndex.open(folder)) == found
    # And one less is one too few.
    (folder / next(name for name in sorted(last) if name.endswith("invert.lance"))).unlink()
    with pytest.raises((RuntimeError, OSError, ValueError)):
        ask(ChunkIndex.open(folder))


def test_it_goes_back_by_removing_what_came_later(folder: Path) -> None:
    """What a killed writer left goes; the table is the old one, and can be written again."""
    there = files(folder)
    version = ChunkIndex.open(folder).version
    before = ask(ChunkIndex.open(folder))
    for _ in range(2):
        new = replace_documents(folder, version, list(BODIES)[:50], None, SCHEMA, Lexical())
        assert new > version
        for name in files(folder) - there:
            (folder / name).unlink()
        # The hint names a version that is no more.
        assert str(new) in next(folder.rglob(HINT)).read_text()
        index = ChunkIndex.open(folder)
        assert (index.version, ask(index)) == (version, before)


def test_the_names_of_versions(made: Path) -> None:
    versions = {version_of(path.name) for path in made.rglob("*.manifest")}
    assert versions == set(range(1, ChunkIndex.open(made).version + 1))
    assert version_of("7.manifest") == 7


def test_where_no_links_can_be_made_files_are_copied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, there = ChunkIndex.open(folder).version, files(folder)
    linked = files_of_versions(folder, {version}, tmp_path / "scratch")

    def refused(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refused)
    assert linked <= files_of_versions(folder, {version}, tmp_path / "scratch") <= there
    assert files(folder) == there and not (tmp_path / "scratch").exists()
