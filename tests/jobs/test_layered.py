from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isometry import InputError
from isometry.corpora.documents import Document, to_batches
from isometry.jobs.layered import StoredDocuments
from isometry.jobs.upkeep import Writer, held


def many(number: int) -> pa.Table:
    documents = (Document(f"page-{row}", f"Text {row}.", links=("a",)) for row in range(number))
    return pa.Table.from_batches(to_batches(documents))


def test_each_of_many_documents_is_read_by_itself(few: tuple[Path, Path]) -> None:
    table = many(5000)
    rows = [held(row, "docs", row["id"]) for row in table.to_pylist()]
    with Writer(few[0], "add") as writer:
        path = few[0] / writer.write_documents(pa.Table.from_pylist(rows))
        stored = StoredDocuments(path)
        read: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            read_row_group = pq.ParquetFile.read_row_group

            def counting(self: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
                found = read_row_group(self, group, columns)
                read.append(found.num_rows)
                return found

            patch.setattr(pq.ParquetFile, "read_row_group", counting)
            for row in (0, 1, 1023, 1024, 2500, 4999):
                assert stored.document(f"page-{row}") == Document(
                    f"page-{row}", f"Text {row}.", links=("a",)
                )
    assert len(read) == 6 and max(read) <= 1024
    assert stored.document("page-5000") is None


def test_no_document_of_another_file_is_taken_for_its_own(tmp_path: Path) -> None:
    path = tmp_path / "documents.parquet"
    pq.write_table(many(10), path)
    stored = StoredDocuments(path)
    for other in (many(10).slice(1), many(10).slice(0, 5)):
        pq.write_table(other, path)
        with pytest.raises(InputError, match="was replaced since it was opened"):
            stored.document("page-7")
