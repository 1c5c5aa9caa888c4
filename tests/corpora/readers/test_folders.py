from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from isometry.core.errors import InputError
from isometry.corpora import documents as module
from isometry.corpora.documents import Document, from_table, to_batches
from isometry.corpora.readers import ReadingReport, Source, open_source


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def read(source: Source) -> tuple[list[Document], ReadingReport]:
    report = ReadingReport()
    return list(source.documents(report)), report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    files: dict[str, bytes] = {
        "guide/index.md": b"# Guide\n\nSee [rows](../api.rst) and [code](../tool.py).",
        "api.rst": b".. _deep:\n\nAPI\n===\n\nwords :doc:`guide/index`\n",
        "uses.rst.txt": b"Uses\n====\n\nsee :ref:`deep`\n",
        "notes.txt": "Größe und Länge, in Köln gemessen.\n".encode("cp1252") * 5,
        "wide.txt": "UTF-16 words".encode("utf-16"),
        "page.html": b"<title>T</title><p>words",
        "tool.py": b'def run():\n    """Run it."""\n    return 1\n',
        "broken.py": b"x = 1\ndef (:\n",
        "lib/a.js": b"function a() {}\n",
        "rows.csv": b"id,text\n1,first row\n2,second row\n",
        "bad.csv": b"a,b\n1,2\n",
        "empty.md": b"",
        "image.md": b"\x89PNG\x00\x00",
        "photo.jpg": b"\xff\xd8",
        "README": b"words",
        "made/a.zip": zipped("in/a.md", b"# In\n\nwords [up](../../../page.html)"),
        "notes.ipynb": b'{"cells": [{"cell_type": "markdown", "source": "words"}]}',
        "page2.html.gz": gzip.compress(b"<p>words <a href=page.html>x</a>"),
        ".hidden/a.md": b"hidden",
        "node_modules/a.md": b"no",
        "lib/__pycache__/a.md": b"no",
    }
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (root / "linked.md").symlink_to(root / "guide/index.md")
    (root / "loop").symlink_to(root)
    return root


def test_spaces_and_unfinished_work_are_no_documents(folder: Path) -> None:
    before = open_source(folder)
    ids, print_before = [document.id for document in read(before)[0]], before.fingerprint()
    # What `isometry fit .` leaves, and then makes, where it reads.
    made = {
        "docs-space.partial/run.json": b"{}",
        "docs-space.partial/documents.parquet": b"rows",
        "docs-space.partial/space/model/README.md": b"# A model\n\nof words",
        "lib/docs-space/space.json": b"{}",
        "lib/docs-space/documents-2.parquet": b"rows",
        "lib/docs-space/report.html": b"<p>a report",
        # Of `distill` or `merge`, and of transformers.
        "small/README.md": b"# A student\n\nof words",
        "small/modules.json": b"[]",
        "small/0_Transformer/model.safetensors": b"weights",
        "plain/config.json": b"{}",
        "plain/vocab.txt": b"some words",
        "plain/model.safetensors": b"weights",
    }
    for name, data in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    after = open_source(folder)
    assert [document.id for document in read(after)[0]] == ids
    assert after.fingerprint() == print_before
    # Anybody may call a folder so.
    others = ("course.partial/a.md", "game/space.json", "game/a.md", "web/config.json", "web/a.md")
    for name in others:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("# A\n\nwords")
    found = {document.id for document in read(open_source(folder))[0]}
    assert found - {*ids} == {"course.partial/a.md#a", "game/a.md#a", "web/a.md#a"}


def test_a_mixed_folder(folder: Path) -> None:
    documents, report = read(open_source(folder))
    by_id = {document.id: document for document in documents}
    assert list(by_id) == [
        "api.rst#api", "guide/index.md#guide", "lib/a.js", "made/a.zip/in/a.md#in",
        "notes.ipynb#notes", "notes.txt#notes", "page.html#t", "page2.html.gz#page2-html",
        "rows.csv#1", "rows.csv#2", "tool.run", "uses.rst.txt#uses", "wide.txt#wide",
    ]  # fmt: skip
    assert len(by_id) == len(documents) == report.documents
    assert by_id["notes.txt#notes"].text.startswith("Größe und Länge, in Köln")
    assert by_id["wide.txt#wide"].text == "UTF-16 words"
    assert by_id["guide/index.md#guide"].links == ("api.rst", "tool")
    assert by_id["api.rst#api"].links == ("guide/index.md",)
    assert by_id["uses.rst.txt#uses"].links == ("api.rst",)
    assert by_id["page2.html.gz#page2-html"].links == ("page.html",)
    assert by_id["made/a.zip/in/a.md#in"].links == ("page.html",)
    assert {item.path: item.reason for item in report.skipped} == {
        "README": "no file extension",
        "bad.csv": f"No column of {folder / 'bad.csv'} looks like the text.",
        "broken.py": "line 2: invalid syntax",
        "empty.md": "it holds nothing to read",
        "image.md": "binary",
        "photo.jpg": "no reader for '.jpg' files",
    }
    assert report.files == 19
    assert from_table(pa.Table.from_batches(to_batches(documents))) == documents


def test_long_documents_make_batches_of_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they would take more than an array holds."""
    monkeypatch.setattr(module, "_MOST_CHARACTERS", 100)
    rows = [Document(f"{n}", "x" * length) for n, length in enumerate((60, 60, 10, 300, 5, 5))]
    batches = list(to_batches(rows, size=3))
    assert [batch.num_rows for batch in batches] == [2, 2, 2]
    assert from_table(pa.Table.from_batches(batches)) == rows


def test_the_fingerprint_follows_content_names_and_options(folder: Path, tmp_path: Path) -> None:
    first = open_source(folder).fingerprint()
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    assert open_source(moved).fingerprint() == first
    (moved / "photo.jpg").write_bytes(b"another picture")
    assert open_source(moved).fingerprint() == first  # no document comes from it
    (moved / "book.pdf").write_bytes(b"%PDF damaged")
    assert open_source(moved).fingerprint() != first  # it is not opened to see
    (moved / "book.pdf").unlink()
    assert open_source(moved, limit=3).fingerprint() != first
    assert open_source(moved, text="text").fingerprint() != first
    (moved / "page.html").rename(moved / "page2.html")
    renamed = open_source(moved).fingerprint()
    assert renamed != first
    (moved / "api.rst").write_bytes(b"changed")
    assert open_source(moved).fingerprint() not in (first, renamed)


def test_a_tables_ids_stay_when_another_file_comes_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\nx,some words\n")
    assert [document.id for document in read(open_source(tmp_path))[0]] == ["a.csv#x"]
    (tmp_path / "photo.jpg").write_bytes(b"a picture")
    (tmp_path / "b.csv").write_text("id,text\nx,other words\n")
    found = [document.id for document in read(open_source(tmp_path))[0]]
    assert found == ["a.csv#x", "b.csv#x"]
    # One that is named itself, and a collection in BEIR's layout, have those that others judge by.
    assert [document.id for document in read(open_source(tmp_path / "a.csv"))[0]] == ["x"]
    beir = tmp_path / "beir"
    beir.mkdir()
    for name in ("corpus", "queries"):
        (beir / f"{name}.jsonl").write_text('{"_id": "d1", "text": "some words"}\n')
    assert [document.id for document in read(open_source(beir))[0]] == ["d1"]


def test_a_limit_takes_the_first(folder: Path) -> None:
    everything, _ = read(open_source(folder))
    some, report = read(open_source(folder, limit=4))
    assert some == everything[:4]
    assert report.documents == 4


def test_two_readings_are_the_same(folder: Path) -> None:
    source = open_source(folder)
    assert read(source) == read(source)


def test_same_names_stay_apart(tmp_path: Path) -> None:
    for path in ("pkg/__init__.py", "pkg.py", "pkg/f.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("LIMIT = 1\ndef f(): return 1\n")
    documents, _ = read(open_source(tmp_path))
    assert len({document.id for document in documents}) == len(documents) == 6
    assert len({document.group for document in documents}) == 3


def test_large_files_are_skipped_unless_they_stream(tmp_path: Path) -> None:
    line = json.dumps({"id": "x", "text": "word " * 20000}) + "\n"
    (tmp_path / "big.jsonl").write_text(line * 210)
    (tmp_path / "big.txt").write_text(line * 210)
    documents, report = read(open_source(tmp_path))
    assert [document.id for document in documents] == ["big.jsonl#x"]
    assert "more than 20 MB" in next(i.reason for i in report.skipped if i.path == "big.txt")
    before = open_source(tmp_path).fingerprint()
    (tmp_path / "big.txt").write_text(line * 211)
    assert open_source(tmp_path).fingerprint() == before  # no document comes from it


def test_a_folder_of_unreadable_files_says_so_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.ppt").write_bytes(b"slides")
    (tmp_path / "b.txt").write_bytes(b"\0")
    source = open_source(tmp_path)
    with pytest.raises(InputError, match=r"2 files looked at, 2 .*skipped") as caught:
        read(source)
    assert "a.ppt: no reader for '.ppt' files; b.txt: binary" in caught.value.hint


def test_a_folder_that_may_not_be_entered_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As lost+found on every disk; who runs the tests may enter all of them."""
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "a.md").write_text("# One\n\nwords", encoding="utf-8")
    is_file = Path.is_file

    def forbidden(path: Path) -> bool:
        if path.parent.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", forbidden)
    (document,) = open_source(str(tmp_path)).documents(ReadingReport())
    assert document.text == "words"


def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "b.md").write_text("# Two\n\nhidden words", encoding="utf-8")
    (tmp_path / "a.md").write_text("# One\n\nwords", encoding="utf-8")
    scandir = os.scandir

    def refused(path: Any = ".") -> Any:
        if Path(path) == private:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    report = ReadingReport()
    (document,) = open_source(str(tmp_path)).documents(report)
    assert document.text == "words"
    assert [(each.path, each.readable) for each in report.skipped] == [("private", False)]
    assert "may not be entered" in report.skipped[0].reason


def test_whatever_an_archive_makes_its_reader_raise_ends_that_archive_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.zip").write_bytes(zipped("a.md", b"words in it"))
    (tmp_path / "good.md").write_text("words outside", encoding="utf-8")

    def broken(*_: object) -> None:
        raise ValueError("invalid literal for int()")

    monkeypatch.setattr("isometry.corpora.readers.archives._zip_entries", broken)
    report = ReadingReport()
    (document,) = open_source(str(tmp_path)).documents(report)
    assert document.text == "words outside"
    assert [(each.path, each.reason) for each in report.skipped] == [
        ("bad.zip", "cannot be read: ValueError: invalid literal for int()")
    ]
