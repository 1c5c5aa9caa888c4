from __future__ import annotations

import inspect
import shutil
import sqlite3
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.readers import ReadingReport, open_source
from isometry.corpora.readers.sqlite_rows import parted

NOTES = [(name, inspect.getdoc(getattr(textwrap, name)) or "") for name in textwrap.__all__]


def read(spec: str | Path, **options: str) -> tuple[list[Document], list[tuple[str, str]]]:
    report = ReadingReport()
    documents = list(open_source(spec, **options).documents(report))
    return documents, [(item.path, item.reason) for item in report.skipped]


def make(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = make(
        tmp_path / "notes.db",
        "CREATE TABLE notes (name TEXT, said TEXT)",
        "CREATE TABLE counts (name TEXT, count INTEGER)",
        "INSERT INTO counts VALUES ('a', 1)",
    )
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany("INSERT INTO notes VALUES (?, ?)", NOTES)
        connection.commit()
    return path


def test_the_only_table_with_text_is_read(notes: Path) -> None:
    documents, skipped = read(notes)
    assert [item.text for item in documents] == [text for _, text in NOTES]
    assert [item.id for item in documents] == [str(n) for n in range(1, len(NOTES) + 1)]
    assert documents[0].source == f"sqlite:{notes}#notes:1"
    assert skipped == []
    assert read(f"sqlite:{notes}")[0] == read(f"sqlite:{notes}#notes")[0] == documents
    # A column that only one table has says which one is meant.
    make(notes, "CREATE TABLE more AS SELECT said AS other FROM notes")
    assert len(read(notes, text="other")[0]) == len(NOTES)
    with pytest.raises(InputError, match="2 tables with text") as caught:
        open_source(notes)
    assert f"sqlite:{notes}#more" in caught.value.hint
    assert caught.value.hint.endswith("There are: more, notes.")


def test_a_database_in_a_folder_is_a_table_among_files(notes: Path) -> None:
    (notes.parent / "a.md").write_text("# Title\n\nwords")
    documents, _ = read(notes.parent)
    assert [item.id for item in documents][:2] == ["a.md#title", "notes.db#1"]


def test_an_index_changes_no_id(notes: Path) -> None:
    before, _ = read(notes)
    make(notes, "CREATE INDEX by_said ON notes (said DESC)")
    after, _ = read(notes)
    assert after == before


def test_the_primary_key_is_the_id(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.sqlite3",
        "CREATE TABLE a (id TEXT, number INTEGER PRIMARY KEY, text TEXT)",
        "INSERT INTO a VALUES ('x', 30, 'thirty'), ('x', 20, 'twenty')",
        "CREATE TABLE b (id TEXT, other INTEGER, n INTEGER, PRIMARY KEY (other, n))",
    )
    assert [(item.id, item.text) for item in read(path)[0]] == [("20", "twenty"), ("30", "thirty")]
    assert [item.id for item in read(f"sqlite:{path}#a", id="id")[0]] == ["x"]


def test_what_is_no_text_is_skipped_and_counted(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE a (text)",
        "INSERT INTO a VALUES ('words'), (NULL), (x'00ff'), (CAST(x'636166e9' AS TEXT)), ('--')",
    )
    documents, skipped = read(path)
    assert [(item.id, item.text) for item in documents] == [("1", "words"), ("4", "caf\ufffd")]
    assert [place.rpartition(":")[2] for place, _ in skipped] == ["2", "3", "5"]


def test_names_are_quoted(tmp_path: Path) -> None:
    name = 'no"tes; DROP TABLE x--#'
    quoted = '"' + name.replace('"', '""') + '"'
    path = make(
        tmp_path / "it's 100% a?b.db",
        f"CREATE TABLE {quoted} ({quoted} TEXT)",
        f"INSERT INTO {quoted} VALUES ('words')",
    )
    (document,), _ = read(f"sqlite:{path}#{name}", text=name)
    assert document.text == "words"


def test_views_and_virtual_tables(notes: Path) -> None:
    make(
        notes,
        "CREATE VIEW loud AS SELECT name, upper(said) AS said FROM notes",
        "CREATE VIEW gone AS SELECT * FROM nowhere",
    )
    assert read(f"sqlite:{notes}#loud")[0][0].text == NOTES[0][1].upper()
    assert read(notes)[0][0].text == NOTES[0][1]  # a table comes before views
    with pytest.raises(InputError, match="gone has no columns"):
        open_source(f"sqlite:{notes}#gone")
    path = notes.with_name("search.db")
    make(path, "CREATE VIRTUAL TABLE search USING fts5(body)")
    make(path, "INSERT INTO search VALUES ('some words that are long enough to be text')")
    assert [item.text for item in read(path)[0]] == [
        "some words that are long enough to be text"
    ]  # not its five shadow tables


def test_a_write_ahead_log_is_read_and_hashed_and_nothing_is_written(notes: Path) -> None:
    clean = open_source(notes).fingerprint()
    with closing(sqlite3.connect(notes)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
    before = sorted(notes.parent.iterdir())
    read(notes)
    assert sorted(notes.parent.iterdir()) == before == [notes]
    with closing(sqlite3.connect(notes)) as writer:
        writer.execute("INSERT INTO notes VALUES ('new', 'the newest of the notes')")
        writer.commit()
        assert notes.with_name("notes.db-wal").stat().st_size > 0
        assert read(notes)[0][-1].text == "the newest of the notes"
        first = open_source(notes).fingerprint()
        writer.execute("UPDATE notes SET said = 'changed' WHERE name = 'new'")
        writer.commit()
        assert len({clean, first, open_source(notes).fingerprint()}) == 3
    assert open_source(notes, limit=2).fingerprint() != open_source(notes).fingerprint()


def test_the_fingerprint_of_a_folder_is_of_what_stands_in_logs_too(notes: Path) -> None:
    (notes.parent / "a.md").write_text("# Title\n\nwords")
    source = open_source(notes.parent)
    with closing(sqlite3.connect(notes)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        content, before = notes.read_bytes(), source.fingerprint()
        writer.execute("INSERT INTO notes VALUES ('new', 'the newest of the notes')")
        writer.commit()
        *_, newest = source.documents(ReadingReport())
        assert newest.text == "the newest of the notes"
        assert notes.read_bytes() == content
        assert source.fingerprint() != before


def test_what_cannot_be_read_is_an_input_error(notes: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(notes.read_bytes()[:5000])
    (tmp_path / "words.sqlite").write_text("These are words, and no database at all. " * 100)
    make(tmp_path / "empty.db", "PRAGMA user_version = 1")
    make(
        tmp_path / "numbers.db", "CREATE TABLE numbers (a, b)", "INSERT INTO numbers VALUES (1, 2)"
    )
    cases = [
        (f"sqlite:{notes}#missing", r"has no table 'missing'"),
        (f"sqlite:{notes}#counts", "looks like the text"),
        (f"sqlite:{tmp_path}/none.db#a", "no file"),
        (str(broken), "as SQLite|no table"),
        (str(tmp_path / "words.sqlite"), "as SQLite: file is not a database"),
        (str(tmp_path / "empty.db"), "no table with a text column"),
        (str(tmp_path / "numbers.db"), "No column of .*numbers.db#numbers looks like the text"),
    ]
    for spec, message in cases:
        with pytest.raises(InputError, match=message):
            open_source(spec)


def test_a_path_may_have_a_mark_of_its_own(notes: Path, tmp_path: Path) -> None:
    there = Path(shutil.copy(notes, tmp_path / "a#b#c.db"))
    for spec in (f"sqlite:{there}", f"sqlite:{there}#notes"):
        assert [item.text for item in read(spec)[0]] == [item.text for item in read(notes)[0]]
    assert parted("none.db#t#u") == ("none.db", "#", "t#u")
    with pytest.raises(InputError, match=r"a#b#c\.db has no table 'other'"):
        open_source(f"sqlite:{there}#other")
