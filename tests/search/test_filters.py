from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isometry import InputError, Space
from isometry.cli.main import main
from isometry.corpora.documents import Document, from_table
from isometry.search import filters
from isometry.search.filters import COLUMNS, Filter, FilterError

QUERIES = ("push an item onto the heap", "days of a month", "parse a date")
FILTERS: list[tuple[dict[str, Any], Any]] = [
    ({"kind": "code"}, lambda each: each.kind == "code"),
    ({"kind": {"not": "code"}}, lambda each: each.kind != "code"),
    (
        {"group": ["heapq", "calendar"]},
        lambda each: each.group in ("heapq", "calendar"),
    ),
    ({"source": {"prefix": "heap"}}, lambda each: each.source.startswith("heap")),
    ({"order": {"gte": 2, "lt": 9}}, lambda each: 2 <= each.order < 9),
    ({"order": {"gt": 2, "lte": 9.0}}, lambda each: 2 < each.order <= 9),
    ({"order": [0, 3]}, lambda each: each.order in (0, 3)),
    (
        {"id": {"prefix": "heapq."}, "title": {"not": ["heappush", ""]}},
        lambda each: each.id.startswith("heapq.") and each.title not in ("heappush", ""),
    ),
    ({"group": []}, lambda _: False),
    ({}, lambda _: True),
]


@pytest.fixture(scope="module")
def space(tiny_space: Path) -> Space:
    return Space.open(tiny_space)


@pytest.fixture(scope="module")
def documents(space: Space) -> list[Document]:
    return from_table(pq.read_table(space.documents))


@pytest.fixture(scope="module")
def vectors(space: Space) -> dict[str, np.ndarray]:
    return dict(zip(QUERIES, space.encode(QUERIES), strict=True))


@pytest.mark.parametrize("size", ["small, few shown", "small", "large, few shown", "large"])
@pytest.mark.parametrize("mode", ["dense", "lexical"])
@pytest.mark.parametrize(("asked", "true"), FILTERS)
def test_it_finds_what_the_whole_search_finds_of_these(
    space: Space, documents: list[Document], vectors: dict[str, np.ndarray],
    asked: dict[str, Any], true: Any, mode: Any, size: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rows = len(space.index.rows)
    most = {"small": rows, "small, few shown": rows, "large, few shown": rows - 1, "large": 0}
    monkeypatch.setattr(filters, "_COMPARED", most[size])
    monkeypatch.setattr(filters, "_FETCHED", rows if "few shown" in size else 0)
    allowed = {document.id for document in documents if true(document)}
    assert asked in ({}, {"group": []}) or 0 < len(allowed) < len(documents)
    for query, vector in vectors.items():
        everything = space.search(query, len(documents), mode, vector=vector)
        expected = [(hit.document, hit.text) for hit in everything if hit.document in allowed]
        for k in (3, len(documents)):
            found = space.search(query, k, mode, vector=vector, filter=asked)
            assert [(hit.document, hit.text) for hit in found] == expected[:k]


def test_both_sides_are_filtered_before_they_are_fused(
    space: Space, vectors: dict[str, np.ndarray]
) -> None:
    asked = {"group": "heapq"}
    for query, vector in vectors.items():
        found = space.search(query, 10, vector=vector, filter=asked)
        assert found
        assert all(hit.document.startswith("heapq") for hit in found)
        # Standard scores of these candidates, not of all.
        assert {hit.dense_rank for hit in found} >= {1}
        assert space.explain(query, 3, filter=asked)[0][0].document == found[0].document


def test_what_is_not_known_of_a_document_holds_for_none(space: Space) -> None:
    column = pa.array([None, "code"], pa.string())
    known = space.known.slice(0, 2)
    known = known.set_column(known.column_names.index("kind"), "kind", column)
    assert Filter.parse({"kind": "code"}).mask(known).tolist() == [False, True]
    assert Filter.parse({"kind": {"prefix": ""}}).mask(known).tolist() == [False, True]
    assert Filter.parse({"kind": {"not": "prose"}}).mask(known).tolist() == [False, True]


def test_a_query_of_another_length_is_refused(space: Space) -> None:
    for chosen in (None, {"kind": "code"}):
        with pytest.raises(InputError, match="The query has 4 dimensions"):
            space.search("words", 3, "dense", vector=np.ones(4, np.float32), filter=chosen)


@pytest.mark.parametrize(
    ("asked", "place", "kind"),
    [
        ({"colour": "red"}, "colour", "column"),
        ({"text": "x"}, "text", "column"),
        ({"kind": {"like": "c%"}}, "kind.like", "operator"),
        ({"kind": {}}, "kind", "operator"),
        ({"kind": {"gte": "code"}}, "kind.gte", "operator"),
        ({"order": {"prefix": "1"}}, "order.prefix", "operator"),
        ({"order": "1"}, "order.in", "value"),
        ({"order": True}, "order.in", "value"),
        ({"order": {"gte": float("nan")}}, "order.gte", "value"),
        ({"order": {"gte": 0.5}}, "order.gte", "value"),
        ({"order": 2**31}, "order.in", "value"),
        ({"order": 10**400}, "order.in", "value"),
        ({"kind": 3}, "kind.in", "value"),
        ({"kind": None}, "kind.in", "value"),
        ({"kind": [["code"]]}, "kind.in", "value"),
        ({"source": {"prefix": ["a", "b"]}}, "source.prefix", "value"),
        ({"title": "\ud800"}, "title.in", "value"),
        ({"title": {"prefix": "a\0"}}, "title.prefix", "value"),
        ({"id": [str(number) for number in range(1001)]}, "id.in", "value"),
    ],
)
def test_what_cannot_be_applied_is_named(asked: Any, place: str, kind: str) -> None:
    with pytest.raises(FilterError) as caught:
        Filter.parse(asked)
    assert (caught.value.place, caught.value.kind) == (place, kind)


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("kind=code", {"kind": "code"}),
        (" kind = code ", {"kind": "code"}),
        ("group!=a=b.md", {"group": {"not": "a=b.md"}}),
        ("source^=docs/", {"source": {"prefix": "docs/"}}),
        ("order>=2", {"order": {"gte": 2}}),
        ("order<-2", {"order": {"lt": -2}}),
        ("order<=2", {"order": {"lte": 2}}),
        ("order>2", {"order": {"gt": 2}}),
        ("title=", {"title": ""}),
        ("kind==code", {"kind": "code"}),
        ("order==2", {"order": 2}),
        ("order>+2", {"order": {"gt": 2}}),
    ],
)
def test_what_is_typed_means_the_same(typed: str, asked: Any) -> None:
    assert Filter.parse_text([typed]) == Filter.parse(asked)


def test_the_command(space: Space, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["search", str(space.folder), "push an item", "--mode", "lexical", "-q", "--json"]
    assert main([*command, "--filter", "group^=heap", "--filter", "title=heappush"]) == 0
    out = capsys.readouterr().out
    assert out.count('"document"') == 1
    assert '"heapq.heappush"' in out
    assert main([*command, "--filter", "colour=red"]) == 2
    assert ", ".join(COLUMNS) in capsys.readouterr().err
    assert main([*command, "--filter", "heap"]) == 2
    assert main([*command, "--filter", "order>=x"]) == 2
    capsys.readouterr()
    assert main([*command, "--filter", "order>=99999999999"]) == 2
    assert "from -2,147,483,648 to 2,147,483,647 only" in capsys.readouterr().err


def test_a_prefix_stands_at_the_beginning_and_means_itself() -> None:
    known = pa.table({"title": ["a.c", "abc", "xa.c", "A.c", "a_c", "a%"]})
    for prefix, expected in (("a.c", "a.c"), ("a_", "a_c"), ("a%", "a%"), ("A", "A.c")):
        mask = Filter.parse({"title": {"prefix": prefix}}).mask(known)
        assert [t for t, m in zip(known["title"].to_pylist(), mask, strict=True) if m] == [expected]


def test_what_lies_just_within_the_bounds_is_applied() -> None:
    known = pa.table({"order": pa.array([-(2**31), 0, 2**31 - 1], pa.int32())})
    assert Filter.parse({"order": -(2**31)}).mask(known).tolist() == [True, False, False]
    assert Filter.parse({"order": {"gte": 2**31 - 1}}).mask(known).tolist() == [False, False, True]
    with pytest.raises(FilterError):
        Filter.parse({"order": -(2**31) - 1})
    many = [str(number) for number in range(1000)]
    assert Filter.parse({"id": many}).mask(pa.table({"id": ["999", "1000"]})).tolist() == [
        True,
        False,
    ]
    assert Filter.parse_text(["title=two\nlines"]) == Filter.parse({"title": "two\nlines"})


def test_as_many_results_as_anybody_could_ask_for_take_no_more_memory_than_there_are(
    space: Space,
) -> None:
    tracemalloc.start()
    try:
        found = space.search("a list", 1 << 30)
        assert len(space.explain("a list", 1 << 30)) == len(found) > 3
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_a_query_that_is_not_finite_is_refused(space: Space) -> None:
    for value in (np.nan, np.inf):
        vector = np.full(space.index.dim, value, dtype=np.float32)
        with pytest.raises(InputError, match="not finite"):
            space.search("words", 3, "dense", vector=vector)
