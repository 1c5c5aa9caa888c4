from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from postgres_server import QUOTED, running_server

from isometry.core.errors import InputError
from isometry.core.postgres import without_password
from isometry.corpora.documents import Document
from isometry.corpora.readers import ReadingReport, open_source

NOTES = [(name, inspect.getdoc(getattr(textwrap, name)) or "") for name in textwrap.__all__]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_server() as place:
        yield place


@pytest.fixture
def owner(server: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(f"postgresql://owner:{QUOTED}{server}", autocommit=True) as connection:
        connection.execute("CREATE TABLE notes (name text, said text, seen int DEFAULT 0)")
        connection.cursor().executemany("INSERT INTO notes (name, said) VALUES (%s, %s)", NOTES)
        yield connection
        connection.execute('DROP SCHEMA IF EXISTS "My.Schema" CASCADE')
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")


@pytest.fixture
def address(server: str, owner: psycopg.Connection[Any]) -> str:
    return f"postgresql://owner:{QUOTED}{server}"


def read(spec: str, **options: str) -> tuple[list[Document], list[tuple[str, str]]]:
    report = ReadingReport()
    documents = list(open_source(spec, **options).documents(report))
    return documents, [(item.path, item.reason) for item in report.skipped]


def test_rows_are_documents_and_the_password_stays_here(address: str, server: str) -> None:
    source = open_source(f"{address}#public.notes", id="name")
    report = ReadingReport()
    documents = list(source.documents(report))
    assert {item.id: item.text for item in documents} == dict(NOTES)
    assert source.name == f"postgresql://owner{server}#public.notes"
    assert documents[0].source == f"{source.name}:1"
    assert report.files == 1
    assert "s3cret" not in repr(source)
    assert {item.text for item in read(f"{address}#notes")[0]} == {text for _, text in NOTES}


def test_the_key_is_the_id_whatever_its_type(address: str, owner: psycopg.Connection[Any]) -> None:
    owner.execute("CREATE TABLE keyed (at uuid PRIMARY KEY, text varchar, id int, day date)")
    owner.execute(
        "INSERT INTO keyed SELECT (left(text, 1) || repeat('0', 31))::uuid, text, 1, day FROM"
        " (VALUES ('b second', '2020-02-01'::date), ('a first', '2020-01-01'), ('c', NULL))"
        " AS made (text, day)"
    )  # fmt: skip
    documents, skipped = read(f"{address}#keyed", title="day")
    assert [(item.id[0], item.text, item.title) for item in documents] == [
        ("a", "a first", "2020-01-01"),
        ("b", "b second", "2020-02-01"),
        ("c", "c", ""),
    ]
    assert skipped == []


def test_ids_and_fingerprint_do_not_depend_on_where_the_rows_lie(
    address: str, owner: psycopg.Connection[Any]
) -> None:
    spec = f"{address}#notes"
    before, first = read(spec)[0], open_source(spec).fingerprint()
    owner.execute("UPDATE notes SET seen = 1 WHERE name = %s", (NOTES[0][0],))
    assert owner.execute("SELECT name FROM notes").fetchone() != (NOTES[0][0],)  # it has moved
    assert read(spec)[0] == before
    assert open_source(spec).fingerprint() == first
    assert open_source(spec, limit=2).fingerprint() != first
    assert open_source(spec, title="name").fingerprint() != first
    owner.execute("UPDATE notes SET said = said || '.' WHERE name = %s", (NOTES[0][0],))
    changed = open_source(spec).fingerprint()
    assert changed != first
    # The same texts for other ids, and the same row twice, are other documents.
    owner.execute("INSERT INTO notes (said) VALUES ('a'), ('a')")
    twice = open_source(spec).fingerprint()
    owner.execute("UPDATE notes SET said = 'b' WHERE said = 'a'")
    assert len({changed, twice, open_source(spec).fingerprint()}) == 3


def test_names_are_quoted_and_views_are_read(address: str, owner: psycopg.Connection[Any]) -> None:
    owner.execute('CREATE SCHEMA "My.Schema"')
    owner.execute('CREATE VIEW "My.Schema"."no""tes; x" AS SELECT said AS "the ""%s" FROM notes')
    documents, _ = read(f'{address}#My.Schema.no"tes; x', text='the "%s')
    assert sorted(item.text for item in documents) == sorted(text for _, text in NOTES)


def test_rows_are_fetched_as_they_are_asked_for(
    address: str, owner: psycopg.Connection[Any]
) -> None:
    owner.execute(
        "INSERT INTO notes (said) SELECT 'The note of number ' || n FROM generate_series(1, 3000) n"
    )
    documents = open_source(f"{address}#notes").documents(ReadingReport())
    next(documents)
    states = owner.execute(
        "SELECT state, query FROM pg_stat_activity WHERE query LIKE 'FETCH%'"
    ).fetchall()
    assert [(state, query.split()[:3]) for state, query in states] == [
        ("idle in transaction", ["FETCH", "FORWARD", "1000"])
    ]
    assert len(list(documents)) == 3000 + len(NOTES) - 1


def test_nothing_is_written_and_nobody_waits(address: str, owner: psycopg.Connection[Any]) -> None:
    owner.execute(
        "CREATE FUNCTION spy(t text) RETURNS text LANGUAGE plpgsql VOLATILE AS"
        " $$ BEGIN DELETE FROM notes; RETURN t; END $$"
    )
    owner.execute("CREATE VIEW spied AS SELECT spy(said) AS text FROM notes")
    with pytest.raises(InputError, match="read-only transaction"):
        read(f"{address}#spied")
    assert owner.execute("SELECT count(*) FROM notes").fetchone() == (len(NOTES),)
    owner.execute(
        "CREATE VIEW limits AS SELECT 'the time-outs of this session are: '"
        " || current_setting('statement_timeout') || current_setting('lock_timeout') AS text"
    )
    assert read(f"{address}#limits")[0][0].text.endswith("10min10s")


def test_what_cannot_be_read_is_one_clear_line(
    address: str, server: str, owner: psycopg.Connection[Any]
) -> None:
    owner.execute("CREATE TABLE numbers (id int, b bytea)")
    owner.execute("CREATE ROLE guest LOGIN PASSWORD 'guest-pw'")
    try:
        cases = [
            (f"{address}#public.missing", "has no table 'public.missing'"),
            (f"{address}#missing", "has no table 'missing'"),
            (address, "names no table"),
            (f"{address}#numbers", "No column of .*#numbers looks like the text"),
            (f"postgresql://owner:wr0ng-pw{server}#notes", "password authentication failed"),
            (f"postgresql://guest:guest-pw{server}#notes", "permission denied for table notes"),
            ("postgresql://owner:wr0ng-pw@127.0.0.1:1/postgres#notes", "Connection refused"),
            ("postgresql://owner:wr0ng-pw@nowhere.invalid/a#notes", "nowhere.invalid"),
        ]
        for spec, message in cases:
            with pytest.raises(InputError, match=message) as caught:
                open_source(spec)
            said = str(caught.value)
            assert not any(word in said for word in ("s3cret", "wr0ng", "guest-pw"))
            assert "\n" not in said
    finally:
        owner.execute("DROP ROLE guest")
    with pytest.raises(InputError) as caught:
        open_source(f"{address}#missing")
    assert f"postgresql://owner{server}#public.notes" in caught.value.hint
    assert caught.value.hint.endswith("There are: public.notes, public.numbers.")


@pytest.mark.parametrize(
    "secret", ["p@s3", "p/s3", "p#s3", "1#s3", "p?s3", "1?s3", "1/s3", "p:s3", "p%s3"]
)
def test_a_password_that_nobody_quoted_is_told_to_nobody(secret: str) -> None:
    spec = f"postgresql://me:{secret}@127.0.0.1:1/db#public.notes"
    with pytest.raises(InputError) as caught:
        open_source(spec)
    assert "s3" not in str(caught.value)
    assert without_password(spec) == "postgresql://me@127.0.0.1:1/db#public.notes"
    assert "s3" not in without_password("postgresql://h/db?user=me&password=s3&x=1#notes")
    shown = without_password("postgresql://host:5432/db?user=me&password=s3@s3&x=1#notes")
    assert shown == "postgresql://host:5432/db?user=me&password=***&x=1#notes"
    for mark in "@:/#?":
        shown = without_password(f"postgresql://me:s3{mark}s3@host/db?x=1#notes")
        assert "s3" not in shown and shown.endswith("host/db?x=1#notes")
