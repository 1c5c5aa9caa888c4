"""A Space's passages on a real PostgreSQL server with pgvector."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from living_spaces import QUERIES, alike, change, hits
from postgres_server import QUOTED, running_server

import isometry
from isometry import InputError, Space
from isometry.cli.main import main
from isometry.core.writing import write_json
from isometry.corpora.documents import Document
from isometry.jobs.ranking import passages_of
from isometry.jobs.store import Store
from isometry.search import postgres as module
from isometry.search.filters import Filter
from isometry.search.lancedb import Hit, Lexical
from isometry.search.passages import Exported, Passages
from isometry.search.postgres import PostgresPassages
from isometry.search.postgres_updates import writing

SECRETS = ("s3cret", "wr0ng", "guest-pw")
# What pgvector's graph is asked in spite of so few rows.
BY_GRAPH = "&options=-c%20enable_seqscan%3Doff"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The extension lies in a schema of its own, as many servers have it."""
    with running_server() as place:
        with psycopg.connect(f"postgresql://owner:{QUOTED}{place}", autocommit=True) as connection:
            connection.execute("CREATE SCHEMA extensions")
            connection.execute("CREATE EXTENSION vector SCHEMA extensions")
        yield place


@pytest.fixture(scope="module")
def address(server: str) -> str:
    return f"postgresql://owner:{QUOTED}{server}"


@pytest.fixture(scope="module")
def sql(address: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def whole(tiny_space: Path, address: str) -> tuple[Space, str]:
    """A Space and where it was exported; nothing is changed there."""
    target = f'{address}#A "Space" of one'
    isometry.export(tiny_space, target)
    return Space.open(tiny_space), target


@pytest.fixture
def target(address: str, sql: psycopg.Connection[Any]) -> Iterator[str]:
    """A schema of a test's own."""
    yield f"{address}#own"
    sql.execute("DROP SCHEMA IF EXISTS own CASCADE")


def ranked(passages: Passages, found: Any) -> list[tuple[str, int]]:
    return [(hit.document, hit.position) for hit in passages.fetch(found)]


def found(space: Space) -> list[list[tuple[str, float]]]:
    """What words find for each query, in an order that rounding does not change."""
    return [
        sorted((hit.document, round(hit.score, 3)) for hit in space.search(query, 20, "lexical"))
        for query in QUERIES
    ]


def complaint(action: Any) -> str:
    """The one line of an error, in which no password stands."""
    with pytest.raises(InputError) as caught:
        action()
    said = str(caught.value)
    assert "\n" not in said
    assert not any(secret in said for secret in SECRETS)
    return said


def test_the_server_finds_what_the_space_finds(whole: tuple[Space, str]) -> None:
    space, target = whole
    there = space.at(target)
    assert alike(there, space)
    for query in QUERIES:
        for found, expected in zip(there.search(query, 5), space.search(query, 5), strict=True):
            assert found.text == expected.text
            assert (found.title, found.start, found.end) == (
                expected.title,
                expected.start,
                expected.end,
            )
            assert found.dense_rank == expected.dense_rank


def test_exact_search_has_the_order_of_the_table(whole: tuple[Space, str]) -> None:
    space, target = whole
    there = space.at(target).passages
    assert isinstance(there, PostgresPassages)
    assert there.chunks == space.index.chunks
    for number in range(0, space.index.chunks, 37):
        vector = space.index.vectors(np.array([number]))[0]
        found, expected = there.rank_dense(vector, 20), space.index.rank_dense(vector, 20)
        assert ranked(there, found) == ranked(space.index, expected)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
        np.testing.assert_array_equal(
            there.vectors(found[0]), space.index.vectors(expected[0]), strict=True
        )


def test_the_graph_finds_nearly_all(
    whole: tuple[Space, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, target = whole
    monkeypatch.setattr(module, "_COMPARED", 0)
    address, _, schema = target.partition("#")
    there = space.at(f"{address}{BY_GRAPH}#{schema}").passages
    assert isinstance(there, PostgresPassages)
    with there.snapshot() as held:
        values = {"vector": module.written(space.encode(["x"])[0]), "limit": 10}
        plan = held._rows("EXPLAIN " + module._WALK, values)
    assert any("_vector_idx" in line for (line,) in plan)
    right = asked = 0
    for number in range(0, space.index.chunks, 31):
        vector = space.index.vectors(np.array([number]))[0]
        expected = space.index.names(space.index.rank_dense(vector, 10)[0])
        found = there.names(there.rank_dense(vector, 10)[0])
        assert len(found) == len(expected)
        right += len(set(found) & set(expected))
        asked += len(expected)
    assert right / asked >= 0.99
    # More than the graph was asked for at first.
    everything = there.rank_dense(vector, 10_000)
    assert len(everything[0]) == space.index.documents


@pytest.mark.parametrize(
    "query",
    [
        "sorted sorted sorted list",
        "Queues, heaps & the day's \"priorities\" \\ 'single' | !not",
        "def __init__(self, maxsize=0):",
        "sort",
    ],
)
def test_words_score_as_lance_scores_them(whole: tuple[Space, str], query: str) -> None:
    space, target = whole
    there = space.at(target).passages
    found, expected = there.rank_lexical(query, 500), space.index.rank_lexical(query, 500)
    assert len(found[0]) > 5
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    assert sorted(there.names(found[0])) == sorted(space.index.names(expected[0]))
    words = query.split()
    ours = dict(zip(ranked(there, found), there.word_scores(words, found[0]), strict=True))
    scores = space.index.word_scores(words, expected[0])
    # Equal passages of one document may stand for it.
    for place, score in zip(ranked(space.index, expected), scores, strict=True):
        if place in ours:
            np.testing.assert_allclose(ours[place], score, rtol=1e-4, atol=1e-6)


def test_words_that_are_no_terms_find_nothing(whole: tuple[Space, str]) -> None:
    space, target = whole
    assert space.at(target).search("the of and", mode="lexical") == []
    assert space.at(target).search("' | '' \\", mode="lexical") == []


FILTERS: tuple[dict[str, Any], ...] = (
    {"id": {"prefix": "heapq"}},
    {"id": {"not": ["heapq.merge", "calendar.monthrange"]}, "order": {"gte": 2, "lt": 40}},
    {"id": ["heapq.merge", "heapq.heappush", "it's %(not)s there"]},
    {"kind": "prose"},
    {"title": {"prefix": "100%"}, "order": {"gt": -1, "lte": 3}},
)


@pytest.mark.parametrize("filter", FILTERS)
def test_a_filter_shows_what_it_shows_of_the_space(
    whole: tuple[Space, str], filter: dict[str, Any]
) -> None:
    space, target = whole
    there = space.at(target)
    for mode in ("dense", "lexical", "hybrid"):
        expected = space.search("heap sort of a queue", 8, mode, filter=filter)
        found = there.search("heap sort of a queue", 8, mode, filter=filter)
        assert [hit.document for hit in found] == [hit.document for hit in expected]
        scores = [hit.score for hit in expected]
        np.testing.assert_allclose([hit.score for hit in found], scores, rtol=1e-3, atol=1e-4)
    # The next search shows everything.
    assert there.search("heap", 5, "lexical")


def test_reasons_are_those_of_the_space(whole: tuple[Space, str]) -> None:
    space, target = whole
    for mode in ("hybrid", "dense", "lexical"):
        there = space.at(target).explain(QUERIES[0], 5, mode)
        for (result, parts), (other, others) in zip(
            there, space.explain(QUERIES[0], 5, mode), strict=True
        ):
            assert result.document == other.document
            assert sum(part.value for part in parts) == pytest.approx(result.score, abs=1e-3)
            assert {part.name for part in parts} == {part.name for part in others}


def test_only_what_changed_is_written(
    few: tuple[Path, Path], target: str, sql: psycopg.Connection[Any]
) -> None:
    space, docs = few
    first = isometry.export(space, target)
    assert first["added"] == first["documents"]
    assert first["passages"] == Space.open(space).index.chunks
    numbers = dict(sql.execute("SELECT number, document FROM own.passages").fetchall())
    again = isometry.export(space, target)
    assert (again["unchanged"], again["passages"]) == (first["documents"], 0)

    change(docs)
    added = isometry.add(space, docs, name="docs")
    figures = isometry.export(space, target)
    for what in ("added", "changed", "removed"):
        assert figures[what] == added[what] > 0
    assert figures["passages"] == added["passages"] < first["passages"] / 2
    kept = dict(sql.execute("SELECT number, document FROM own.passages").fetchall())
    stale = {name for number, name in numbers.items() if number not in kept}
    assert not any(name in stale for number, name in kept.items() if number in numbers)
    opened = Space.open(space)
    assert alike(opened.at(target), opened)
    assert figures["state"] == opened.at(target).passages.exported.state  # type: ignore[attr-defined]


def test_what_is_not_searched_is_brought_up_to_date_as_well(
    few: tuple[Path, Path], target: str, sql: psycopg.Connection[Any]
) -> None:
    space, docs = few
    isometry.export(space, target)
    heap = docs / "heapq.py"
    heap.write_text(f"\n\n\n{heap.read_text()}")
    isometry.add(space, docs, name="docs")
    place = "SELECT source FROM own.documents WHERE id LIKE '%heappush'"
    before = sql.execute(place).fetchone()
    figures = isometry.export(space, target)
    assert figures["passages"] == 0
    assert sql.execute(place).fetchone() != before


def test_documents_with_hostile_names_and_characters(
    few: tuple[Path, Path], target: str, sql: psycopg.Connection[Any]
) -> None:
    space, _ = few
    name = "it's a \"name\"\t\\N, '); DROP TABLE x; -- \u2603"
    text = "Zebras' \\stripes\\ are \0 black:1,2 and 'white'. 'Zebras'' \\'"
    document = Document(name, text, title="a\\nb", links=("x,y", '{"z"}', "null"))
    with Store.open(space) as store:
        encoder = store.space.encoder
        passages = passages_of(encoder, [name], [(document.header(), document.body())])
        vectors = store.space.encode(passages["text"].to_pylist(), "document")
        store.put([document], passages, vectors, encoder.fingerprint()).result()
        store.apply()
    isometry.export(space, target)
    (found, *_) = Space.open(space).at(target).search("zebras", mode="lexical")
    assert found.document == name
    row = sql.execute("SELECT text, title, links FROM own.documents WHERE id = %s", [name])
    assert row.fetchone() == (text.replace("\0", "\ufffd"), "a\\nb", list(document.links))
    assert isometry.export(space, target)["unchanged"] == Space.open(space).index.documents


def test_a_search_sees_one_state_from_its_beginning_to_its_end(
    few: tuple[Path, Path], target: str
) -> None:
    space, docs = few
    isometry.export(space, target)
    opened = Space.open(space)
    there = opened.at(target)
    vectors = opened.encode(QUERIES)
    old = [there.passages.rank_dense(vector, 10)[1].tolist() for vector in vectors]
    with there.passages.snapshot() as held:
        held.names(np.array([1]))
        change(docs)
        isometry.add(space, docs, name="docs")
        isometry.export(space, target)
        assert [held.rank_dense(vector, 10)[1].tolist() for vector in vectors] == old
        assert ranked(held, held.rank_lexical("parcels", 5)) == []
    assert ranked(there.passages, there.passages.rank_lexical("parcels", 5)) != []


def test_exchanged_tables_are_seen_whole(
    few: tuple[Path, Path], target: str, sql: psycopg.Connection[Any]
) -> None:
    space, docs = few
    isometry.export(space, target)
    sql.execute("CREATE ROLE reader LOGIN PASSWORD 'guest-pw'")
    sql.execute("GRANT USAGE ON SCHEMA own, extensions TO reader")
    sql.execute("GRANT SELECT ON ALL TABLES IN SCHEMA own TO reader")
    reading = target.replace(f"owner:{QUOTED}", "reader:guest-pw")
    opened = Space.open(space)
    before = found(opened.at(target))
    change(docs)
    isometry.add(space, docs, name="docs")
    over = threading.Event()
    seen: list[list[tuple[str, float]]] = []
    failures: list[BaseException] = []

    def search() -> None:
        there = opened.at(reading)
        try:
            while not over.is_set():
                seen.extend(found(there))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=search)
    thread.start()
    try:
        for _ in range(3):
            assert isometry.export(space, target, replace=True)["replaced"]
    finally:
        over.set()
        thread.join()
        sql.execute("DROP OWNED BY reader")
        sql.execute("DROP ROLE reader")
    assert failures == []
    after = found(opened.at(target))
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert len(seen) > 2 * len(before)
    assert all(each in [*before, *after] for each in seen)


def test_a_reader_in_the_middle_holds_the_exchange_up_and_nothing_is_lost(
    few: tuple[Path, Path], target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isometry.search import postgres_updates

    space, _ = few
    isometry.export(space, target)
    monkeypatch.setitem(postgres_updates._SETTINGS, "lock_timeout", "100ms")
    there = Space.open(space).at(target)
    with there.passages.snapshot() as held:
        said = complaint(lambda: isometry.export(space, target, replace=True))
        assert "Somebody has been reading" in said
        assert len(held.rank_lexical("heap", 3)[0]) == 3
    assert isometry.export(space, target, replace=True)["replaced"]
    # The connection is the same, and the tables are others.
    assert len(there.search("heap", 3, "lexical")) == 3


def test_what_fails_at_the_end_changes_nothing(
    few: tuple[Path, Path], target: str, sql: psycopg.Connection[Any]
) -> None:
    space, docs = few
    isometry.export(space, target)
    before = hits(Space.open(space).at(target))
    sql.execute("CREATE VIEW own.depends AS SELECT text FROM own.passages")
    change(docs)
    isometry.add(space, docs, name="docs")
    said = complaint(lambda: isometry.export(space, target, replace=True))
    assert "other objects depend on" in said
    assert hits(Space.open(space).at(target)) == before
    left = "SELECT relname FROM pg_class WHERE starts_with(relname, 'isometry_new')"
    assert sql.execute(left).fetchall() == []
    # What does not exchange the tables may go on under the view.
    assert isometry.export(space, target)["changed"] > 0


def test_a_killed_export_leaves_what_was_there(
    whole: tuple[Space, str], target: str, sql: psycopg.Connection[Any]
) -> None:
    from isometry.jobs.export import exported
    from isometry.search.postgres_updates import writing

    space, _ = whole

    def cut_off() -> None:
        with writing(target) as tables:
            tables.create(space.index.dim)
            assert "Another export" in complaint(lambda: isometry.export(space.folder, target))
            pid = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            assert sql.execute(pid).fetchall() == [(True,)]
            tables.finish(exported(space))

    assert "terminating connection" in complaint(cut_off)
    assert sql.execute("SELECT to_regnamespace('own')").fetchone() == (None,)
    isometry.export(space.folder, target)


def test_idle_connections_that_the_server_closed_are_replaced(
    whole: tuple[Space, str], sql: psycopg.Connection[Any]
) -> None:
    there = whole[0].at(whole[1])
    found = there.search("queue", 3, "lexical")
    sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    assert there.search("queue", 3, "lexical") == found


def test_another_space_or_encoder_is_refused(
    whole: tuple[Space, str], few: tuple[Path, Path], address: str, target: str
) -> None:
    space, exported_to = whole
    folder, _ = few
    isometry.export(folder, target)
    opened = Space.open(folder)
    manifest = opened.manifest

    def with_(**parts: Any) -> None:
        write_json(folder / "space.json", {**manifest, **parts})

    with_(created="2001-01-01T00:00:00Z")
    assert "another Space" in complaint(lambda: isometry.export(folder, target))
    with_(encoder={**manifest["encoder"], "fingerprint": "f" * 64})
    assert "another encoder" in complaint(lambda: isometry.export(folder, target))
    other = Space.open(folder)
    assert manifest["encoder"]["fingerprint"] in complaint(lambda: other.at(target))
    there = opened.at(target)
    assert isometry.export(folder, target, replace=True)["replaced"]
    # Who had it open before is told, too.
    assert "another encoder" in complaint(lambda: there.search("queue", mode="lexical"))
    wide = np.zeros(65, dtype=np.float32)
    said = complaint(lambda: space.at(exported_to).search("queue", mode="dense", vector=wide))
    assert "65 dimensions" in said
    assert "64" in said


def test_what_cannot_be_written_or_read_is_one_clear_line(
    whole: tuple[Space, str], address: str, server: str, sql: psycopg.Connection[Any]
) -> None:
    space = whole[0]
    bare = server.replace("/postgres?", "/bare?")
    sql.execute("CREATE DATABASE bare")
    sql.execute("CREATE ROLE guest LOGIN PASSWORD 'guest-pw'")
    sql.execute("CREATE SCHEMA taken CREATE TABLE documents (id int)")
    guest = f"postgresql://guest:guest-pw{server}#own"
    assert "schema extensions" in complaint(lambda: space.at(guest))
    sql.execute("GRANT USAGE ON SCHEMA extensions TO guest")
    schema = whole[1].partition("#")[2]
    cases = [
        (f"postgresql://owner:wr0ng-pw{server}#own", "password authentication failed"),
        ("postgresql://owner:wr0ng-pw@127.0.0.1:1/postgres#own", "Connection refused"),
        (f"postgresql://owner:{QUOTED}{bare}", "no extension 'vector'"),
        ("postgresql://me:s3cret@x@127.0.0.1:1/db", "is not of the form"),
    ]
    writing = [
        (guest, "permission denied for database"),
        (f"postgresql://guest:guest-pw{server}#{schema}", "permission denied"),
        (f"{address}#taken", "has a table 'documents' that no export made"),
        ("mysql://me:s3cret@host/db", "mysql://me@host/db is no place"),
    ]
    reading = [
        (f"{address}#nothing", "No Space was exported"),
        (f"{address}#taken", "No Space was exported"),
        (f"postgresql://guest:guest-pw{server}#{schema}", "permission denied"),
    ]
    try:
        for place, message in cases + writing:
            assert message in complaint(lambda place=place: isometry.export(space.folder, place))
        for place, message in cases + reading:
            assert message in complaint(lambda place=place: space.at(place))
        found = "SELECT to_regnamespace(n) FROM unnest(ARRAY['own', 'isometry']) AS n"
        assert sql.execute(found).fetchall() == [(None,), (None,)]
        assert sql.execute("SELECT * FROM taken.documents").fetchall() == []
    finally:
        sql.execute("DROP DATABASE bare WITH (FORCE)")
        sql.execute("DROP SCHEMA taken CASCADE")
        sql.execute("DROP OWNED BY guest")
        sql.execute("DROP ROLE guest")


def test_vectors_too_wide_for_a_graph_are_compared(target: str, address: str) -> None:
    from isometry.search.lancedb import Hit, Lexical
    from isometry.search.passages import Exported
    from isometry.search.postgres_updates import writing

    wide = np.eye(3, 2001, dtype=np.float32)
    found = [Hit(f"d{row}", 0.0, 0, 0, 1, "", "text") for row in range(3)]
    with writing(target) as tables:
        tables.create(2001)
        rows = [{"id": hit.document, "text": "", "hash": "", "row_hash": ""} for hit in found]
        tables.add_documents(rows, list(rows[0]))
        tables.add_passages([(found, wide)], Lexical())
        tables.finish(Exported("s", 1, "e", 2001, Lexical()))
    there = PostgresPassages.open(target, "e")
    assert there.names(there.rank_dense(wide[1], 1)[0]) == ["d1"]


def test_from_the_command_line(
    whole: tuple[Space, str], target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    space = str(whole[0].folder)
    assert main(["export", space, target, "--json"]) == 0
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    assert figures["added"] == figures["documents"] > 100
    assert main(["export", space, target]) == 0
    shown = capsys.readouterr()
    assert f"{figures['documents']:,} unchanged" in shown.out
    assert "s3cret" not in captured.out + captured.err + shown.out + shown.err
    assert main(["search", space, QUERIES[0], "--at", target, "--json", "--quiet"]) == 0
    there = json.loads(capsys.readouterr().out)
    assert main(["search", space, QUERIES[0], "--json", "--quiet"]) == 0
    here = json.loads(capsys.readouterr().out)
    assert [row["document"] for row in there["results"]] == [
        row["document"] for row in here["results"]
    ]
    assert main(["search", space, "x", "--at", target.replace("#own", "#none")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def stored(target: str, rows: Sequence[tuple[str, int, str]]) -> PostgresPassages:
    """Passages of no Space, by document, position and text; all have the same vector."""
    hits = [Hit(name, 0.0, position, 0, len(text), "", text) for name, position, text in rows]
    names = dict.fromkeys(name for name, _, _ in rows)
    documents = [
        {"id": name, "text": "", "order": order, "hash": "", "row_hash": ""}
        for order, name in enumerate(names)
    ]
    with writing(target) as tables:
        tables.create(2)
        tables.add_documents(documents, list(documents[0]))
        tables.add_passages([(hits, np.ones((len(hits), 2), dtype=np.float32))], Lexical())
        tables.finish(Exported("s", 1, "e", 2, Lexical()))
    return PostgresPassages.open(target, "e")


ONES = np.ones(2, dtype=np.float32)


def test_equal_scores_stand_in_the_order_of_ids_and_positions(
    target: str, sql: psycopg.Connection[Any]
) -> None:
    numbers = np.random.default_rng(0).permutation(60)
    names = ["b", "a", "ä", "B", "_", *(f"c{number:02}" for number in numbers)]
    there = stored(target, [(name, place, "same words") for name in names for place in (1, 0)])
    expected = [(name, 0) for name in sorted(names)]
    for k in (1, 5, 30, 65):
        assert ranked(there, there.rank_lexical("words", k)) == expected[:k]
        assert ranked(there, there.rank_dense(ONES, k)) == expected[:k]
    # So they do on a server that sorts as a dictionary does.
    collations = sql.execute(
        "SELECT collation_name FROM information_schema.columns WHERE table_schema = 'own'"
        " AND (table_name, column_name) IN (('documents', 'id'), ('passages', 'document'))"
    )
    assert collations.fetchall() == [("C",), ("C",)]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"order": {"gt": 1}}, ["c", "d_"]),
        ({"order": {"gte": 1}}, ["b", "c", "d_"]),
        ({"order": {"lt": 1}}, ["a"]),
        ({"order": {"lte": 1}}, ["a", "b"]),
        ({"order": [0, 3]}, ["a", "d_"]),
        ({"order": {"not": [0, 3]}}, ["b", "c"]),
        # Neither is a pattern.
        ({"id": {"prefix": "_"}}, []),
        ({"id": {"prefix": "d_"}}, ["d_"]),
        ({"id": {"prefix": "%"}}, []),
        # Nothing is known of it.
        ({"title": {"not": "x"}}, []),
    ],
)
def test_a_filter_lets_through_just_what_it_says(
    target: str, filter: dict[str, Any], expected: list[str]
) -> None:
    there = stored(target, [(name, 0, "same words") for name in ("a", "b", "c", "d_")])
    some = there.only(Filter.parse(filter))
    assert some.names(some.rank_dense(ONES, 9)[0]) == expected
    assert some.names(some.rank_lexical("words", 9)[0]) == expected


def test_a_filter_finds_a_name_whose_accents_stand_apart(target: str) -> None:
    apart, whole = "Cafe\u0301.md", "Caf\u00e9.md"
    there = stored(target, [(name, 0, "same words") for name in (apart, "Cafe.md")])
    for asked, expected in (
        (apart, [apart]),
        ([whole, "x"], [apart]),
        ({"prefix": "Caf\u00e9"}, [apart]),
        ({"not": whole}, ["Cafe.md"]),
    ):
        some = there.only(Filter.parse({"id": asked}))
        assert some.names(some.rank_lexical("words", 9)[0]) == expected


def test_a_search_that_fails_holds_nobody_up_and_leaves_nothing_behind(target: str) -> None:
    there = stored(target, [("a", 0, "old words")])
    with pytest.raises(InputError, match="3 dimensions"):
        there.rank_dense(np.ones(3, dtype=np.float32), 1)
    try:
        stored(target, [("b", 0, "new words")])
        assert ranked(there, there.rank_lexical("words", 5)) == [("b", 0)]
    finally:
        there.close()


def test_tables_beside_the_extension_are_not_touched(
    target: str, address: str, sql: psycopg.Connection[Any]
) -> None:
    sql.execute("CREATE TABLE extensions.documents (id int)")
    try:
        stored(target, [("a", 0, "words")])
        stored(target, [("a", 0, "words")])
        assert sql.execute("SELECT to_regclass('extensions.documents')").fetchone() == (
            "extensions.documents",
        )
    finally:
        sql.execute("DROP TABLE IF EXISTS extensions.documents")


def test_another_schemas_export_is_not_taken_for_this_one(
    address: str, sql: psycopg.Connection[Any]
) -> None:
    stored(f"{address}#extensions", [("a", 0, "words")])
    try:
        with pytest.raises(InputError, match="No Space was exported"):
            PostgresPassages.open(f"{address}#nothing", "e")
    finally:
        sql.execute(
            "DROP TABLE IF EXISTS extensions.passages, extensions.documents, extensions.space"
        )


def test_of_what_is_unknown_nothing_holds_not_even_not_nothing(target: str) -> None:
    there = stored(target, [("a", 0, "same words")])
    for filter, expected in (({"kind": {"not": []}}, []), ({"id": {"not": []}}, ["a"])):
        some = there.only(Filter.parse(filter))
        assert some.names(some.rank_dense(ONES, 9)[0]) == expected
