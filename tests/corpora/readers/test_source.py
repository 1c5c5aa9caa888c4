from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from isometry.core.errors import InputError
from isometry.corpora.readers import ReadingReport, open_source


def test_the_standard_library_reads_whole() -> None:
    report = ReadingReport()
    source = open_source("python:stdlib")
    documents = list(source.documents(report))
    assert source.name == "python:stdlib"
    assert report.documents == len(documents) == len({document.id for document in documents})
    assert len(documents) > 10_000
    assert not [item for item in report.skipped if "nothing to read" not in item.reason]
    by_id = {document.id: document for document in documents}
    dedent = by_id["textwrap.dedent"]
    assert dedent.summary.startswith("Remove any common leading whitespace")
    assert "Remove any common" not in dedent.text
    assert "json.decoder" in by_id["json.loads"].links
    groups = {document.group for document in documents}
    assert all(
        set(document.links) - {document.group} == set(document.links) for document in documents
    )
    linked = {link for document in documents for link in document.links}
    assert len(linked - groups) < 30  # modules of nothing but imports


def test_one_file_of_each_kind(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\nwords")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"id,text\nx,words\n"))
    (tmp_path / "b.jsonl").write_text(json.dumps({"_id": "x", "text": "words"}))
    for name, identifier in (("a.md", "a.md#title"), ("b.jsonl", "x"), ("c.csv.gz", "x")):
        report = ReadingReport()
        (document,) = open_source(str(tmp_path / name)).documents(report)
        assert document.id == identifier
        assert (report.files, report.documents) == (1, 1)


def test_queries_of_a_beir_folder_are_no_documents(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "d", "text": "a document"}))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "a query"}))
    assert [item.id for item in open_source(tmp_path).documents(ReadingReport())] == ["d"]


def test_bad_input_is_refused_before_reading(tmp_path: Path) -> None:
    (tmp_path / "empty" / ".git").mkdir(parents=True)
    (tmp_path / "empty" / ".git" / "a.md").write_text("words")
    (tmp_path / "a.xyz").write_bytes(b"words")
    (tmp_path / "a.csv").write_text("first,second\n1,2\n")
    for name in ("a-space", "a-model", "some.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text("words")
    (tmp_path / "a-space" / "space.json").write_text("{}")
    (tmp_path / "a-space" / "documents-3.parquet").write_bytes(b"")
    (tmp_path / "a-model" / "config.json").write_text("{}")
    (tmp_path / "a-model" / "model.safetensors").write_bytes(b"")
    (tmp_path / "some.partial" / "run.json").write_text("{}")
    shutil.copytree(tmp_path / "a-model", tmp_path / "program" / "a-model")
    for name in ("config.json", "a.md"):
        shutil.copy(tmp_path / "a-model" / name, tmp_path / "program")
    assert len(list(open_source(tmp_path / "program").documents(ReadingReport()))) == 1
    (tmp_path / "tables").mkdir()
    for name in ("a", "b"):
        (tmp_path / "tables" / f"{name}.csv").write_text("id,body\n1,some words\n")
    (tmp_path / "tables" / "c.md").write_text("words")
    assert len(list(open_source(tmp_path / "tables", text="body").documents(ReadingReport()))) == 3
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.md").write_text("words")
    cases = [
        (lambda: open_source(tmp_path / "missing"), "no file or folder"),
        (lambda: open_source(tmp_path / "empty"), "is empty"),
        (lambda: open_source(tmp_path / "a.xyz"), "Cannot read .* no reader for '.xyz' files"),
        (lambda: open_source(tmp_path / "a.csv", text="third"), "no column 'third'"),
        (lambda: open_source(tmp_path / "a.csv", text="first", id="x"), "no column 'x'"),
        (lambda: open_source(tmp_path / "a.csv"), "looks like the text"),
        (lambda: open_source(tmp_path / "pages", title="t"), "holds no table"),
        (lambda: open_source(""), "The source is empty"),
        (lambda: open_source(" "), "The source is empty"),
        (lambda: open_source(tmp_path / "a-space"), "is a Space, no documents"),
        (lambda: open_source(tmp_path / "a-model"), "is a model, no documents"),
        (lambda: open_source(tmp_path / "some.partial"), "is unfinished work, no documents"),
        (
            lambda: open_source(tmp_path / "tables", text="boddy"),
            "None of the 2 tables in .* by the columns 'boddy'",
        ),
        (lambda: open_source("python:json", text="t"), "holds no table"),
        (lambda: open_source("python:not_here"), "not installed"),
        (lambda: open_source("https://example.org/a.md"), "is an address"),
        (lambda: open_source(tmp_path / "pages", limit=0), "--limit must be at least 1, not 0"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in caught.value.message
