from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.readers import text_rows
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.source import open_source
from isometry.corpora.readers.tables import Columns, choose_columns, read_table

ROWS = [
    {"name": f"n{n}", "notes": f'A longer note, number {n}; with "quotes"\nand lines.', "rank": n}
    for n in range(3000)
]


def read(
    path: Path, columns: Columns | None = None
) -> tuple[list[Document], list[tuple[str, str]]]:
    report = ReadingReport()
    chosen = choose_columns(path, columns or Columns())
    documents = list(read_table(path, chosen, report, shown=path.name))
    return documents, [(item.path, item.reason) for item in report.skipped]


def write_csv(
    path: Path, rows: list[dict[str, Any]], encoding: str = "utf-8", **dialect: Any
) -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), **dialect)
        writer.writeheader()
        writer.writerows(rows)


def compress(data: bytes, packed: str) -> bytes:
    if packed == "zst":
        # As parallel compressors write it: several frames, one after the other.
        half = len(data) // 2
        codec = pa.Codec("zstd")
        return b"".join(codec.compress(part, asbytes=True) for part in (data[:half], data[half:]))
    return {"gz": gzip, "bz2": bz2, "xz": lzma}[packed].compress(data)


KINDS = ["csv", "semicolon.csv", "utf16.csv", "tsv", "parquet", "jsonl"]
PACKED = ["csv.gz", "utf16.csv.xz", "tsv.bz2", "tsv.zst", "jsonl.zst", "ndjson.gz", "CSV.GZ"]


@pytest.mark.parametrize("kind", KINDS + PACKED)
def test_every_format_gives_the_same_documents(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=700)
    elif "json" in kind:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    else:
        delimiter = "\t" if "tsv" in kind else ";" if "semicolon" in kind else ","
        encoding = "utf-16" if "utf16" in kind else "utf-8"
        write_csv(path, ROWS, encoding, delimiter=delimiter)
    if kind in PACKED:
        path.write_bytes(compress(path.read_bytes(), kind.lower().rpartition(".")[2]))
    columns = Columns(text="notes", id="name")
    assert choose_columns(path, columns) == columns
    documents, skipped = read(path, columns)
    assert [(item.id, item.text) for item in documents] == [
        (row["name"], row["notes"]) for row in ROWS
    ]
    assert skipped == []
    assert all(item.group == item.id and item.kind == "prose" for item in documents)
    # The longest column is the text by itself; rows are numbered where nothing is an id.
    automatic, _ = read(path)
    assert [item.text for item in automatic] == [row["notes"] for row in ROWS]
    assert [item.id for item in automatic] == [str(n) for n in range(1, len(ROWS) + 1)]


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz", "zst"])
def test_damaged_compression_gives_what_comes_before(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isometry.corpora.readers.text_rows._SAMPLE_BYTES", 10_000)
    path = tmp_path / f"a.jsonl.{packed}"
    rng = random.Random(0)  # words that do not compress away
    lines = [json.dumps({"text": f"{rng.getrandbits(4000):x}"}) + "\n" for _ in range(2000)]
    data = compress("".join(lines).encode(), packed)
    path.write_bytes(data[: len(data) * 3 // 4])
    documents: list[Document] = []
    with pytest.raises(InputError, match=rf"Cannot read a\.jsonl\.{packed}"):
        documents.extend(read_into(documents, path))
    assert 100 < len(documents) < 2000
    path.write_bytes(b"no compressed words")
    with pytest.raises(InputError, match="Cannot read"):
        choose_columns(path, Columns())


def read_into(found: list[Document], path: Path) -> list[Document]:
    for document in read_table(path, Columns("text"), ReadingReport(), shown=path.name):
        found.append(document)
    return []


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz", "zst"])
def test_a_bomb_is_given_up(tmp_path: Path, packed: str) -> None:
    path = tmp_path / f"a.jsonl.{packed}"
    path.write_bytes(compress(b'{"text": "one"}\n' + (b" " * 99_999 + b"\n") * 400, packed))
    with pytest.raises(InputError, match=r"Cannot read a\.jsonl.*inflates to more than 200 times"):
        list(read_table(path, Columns("text"), ReadingReport(), shown=path.name))


def test_a_line_without_end_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isometry.corpora.readers.text_rows._LINE_CHARACTERS", 1000)
    for name in ("a.jsonl", "a.csv"):
        (tmp_path / name).write_text('{"text": "one"}\n' + "[" * 2000)
        with pytest.raises(InputError, match=rf"{name}:2: a line of more than 1,000"):
            list(read_table(tmp_path / name, Columns("text"), ReadingReport(), shown=name))


@given(st.lists(st.tuples(st.text(), st.text(min_size=1)), min_size=1, max_size=5))
def test_cells_round_trip_through_csv(tmp_path_factory: Any, pairs: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    rows = [{"id": f"i{n}", "text": f"w{a}.", "title": b} for n, (a, b) in enumerate(pairs)]
    rows = [
        row | {key: value.replace("\0", "").replace("\r", "") for key, value in row.items()}
        for row in rows
    ]
    write_csv(path, rows, quoting=csv.QUOTE_ALL)
    documents, skipped = read(path)
    assert not skipped
    assert [item.text for item in documents] == [row["text"] for row in rows]


def test_json_lines_skip_what_is_broken_and_say_where(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"_id": "a", "title": "T", "text": "one"}\n'
        b'{"_id": "b", "text": \n'
        b"[1]\n"
        b"\n"
        b'{"_id": "c", "title": NaN, "text": NaN}\n'
        b'{"_id": "d", "text": " \xf0\x9f\x8e\x89 -- "}\n'
        b'{"_id": "a", "text": "again"}\n'
        b'{"_id": null, "text": "nameless"}\n'
        b'{"_id": "e", "title": "Only a title", "text": ""}\n'
        b'{"_id": 7, "text": "half \\ud83d pair"}\n'
    )
    documents, skipped = read(path)
    assert [(item.id, item.title, item.text, item.source) for item in documents] == [
        ("a", "T", "one", "corpus.jsonl:1"),
        ("e", "", "Only a title", "corpus.jsonl:9"),
        ("7", "", "half ? pair", "corpus.jsonl:10"),
    ]
    assert [place for place, _ in skipped] == [f"corpus.jsonl:{n}" for n in (2, 3, 5, 6, 7, 8)]
    assert [reason for _, reason in skipped][2:4] == ["no words", "no words"]


def test_csv_skips_rows_of_another_width(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"two\nlines"\n2,a,b\n\n3\n4,last\n')
    documents, skipped = read(path)
    assert [(item.id, item.source) for item in documents] == [("1", "a.csv:2"), ("4", "a.csv:7")]
    assert skipped == [
        ("a.csv:4", "3 cells for 2 columns"),
        ("a.csv:6", "1 cells for 2 columns"),
    ]


def texts_of(path: Path) -> list[str]:
    report = ReadingReport()
    found = [document.text for document in open_source(str(path)).documents(report)]
    assert report.skipped == []
    return found


def test_quotes_in_a_table_of_tabs_are_characters_unless_cells_are_in_them(tmp_path: Path) -> None:
    bare = ["id\ttext", '1\t"Hello" he said to all of them', '2\tan inch is 1" long', '3\t"open']
    (tmp_path / "bare.tsv").write_text("\n".join(bare), encoding="utf-8")
    assert texts_of(tmp_path / "bare.tsv") == [row.split("\t")[1] for row in bare[1:]]
    quoted = 'id\ttext\n1\t"two\nlines"\n2\t"a ""word"" in quotes"\n'
    (tmp_path / "quoted.tsv").write_text(quoted, encoding="utf-8")
    assert texts_of(tmp_path / "quoted.tsv") == ["two\nlines", 'a "word" in quotes']


def test_semicolons_are_found_beside_commas_quotes_and_lines_in_cells(tmp_path: Path) -> None:
    rows = "".join(f'{n};"Zeile, die ""so"" heißt; {n}\nund weiter, hier"\n' for n in range(30))
    (tmp_path / "deutsch.csv").write_text("id;text\n" + rows, encoding="utf-8")
    found = texts_of(tmp_path / "deutsch.csv")
    assert len(found) == 30 and found[3] == 'Zeile, die "so" heißt; 3\nund weiter, hier'


def test_cells_in_quotes_may_begin_after_a_blank(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id, text\n1, "hello, ""world""\nof words"\n2,  "plain words"\n')
    assert texts_of(path) == ['hello, "world"\nof words', "plain words"]
    path.write_text('id; text\n1; "hello; world"\n2; words, and more of them\n')
    assert texts_of(path) == ["hello; world", "words, and more of them"]
    # Quotes within a cell, whether that is in quotes itself or not, are its own.
    path.write_text('id,text\n1, "Hello" he said\n2,"as it, ""so"", is"\n3, an inch is 1"\n')
    assert texts_of(path) == ['"Hello" he said', 'as it, "so", is', 'an inch is 1"']


def test_where_a_quote_is_never_closed_no_row_is_lost(tmp_path: Path) -> None:
    path, report = tmp_path / "a.csv", ReadingReport()
    rows = ['0,"two\nlines"', '1,"never closed', "2,second row", '3,"third, row"', "4,fourth row"]
    rows += ['5,"nor this', "6,sixth row", '7,"seventh, with\na line"', '8,"at the end', "9,ninth"]
    path.write_text("\n".join(["id,text", *rows]), encoding="utf-8")
    found = {each.id: each.text for each in open_source(str(path)).documents(report)}
    assert found == {
        "0": "two\nlines", "1": '"never closed', "2": "second row", "3": "third, row",
        "4": "fourth row", "5": '"nor this', "6": "sixth row", "7": "seventh, with\na line",
        "8": '"at the end', "9": "ninth",
    }  # fmt: skip
    said = [(skip.path.rsplit(":", 1)[1], skip.reason) for skip in report.skipped]
    assert said == [(line, "its quote is never closed") for line in ("4", "8", "12")]
    # One that is closed at the very end is none, whatever stands in bare cells.
    path.write_text('id,text\n1,a 5" disk\n2,"its\nend"', encoding="utf-8")
    assert texts_of(path) == ['a 5" disk', "its\nend"]


def test_a_quote_that_opens_a_long_file_is_no_cell_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_rows, "_CELL_CHARACTERS", 2000)
    before = csv.field_size_limit(2000)
    try:
        path, report = tmp_path / "a.csv", ReadingReport()
        rows = "".join(f"{n},words of row {n}\n" for n in range(500))
        path.write_text('id,text\nx,"opened\n' + rows, encoding="utf-8")
        assert len(list(open_source(str(path)).documents(report))) == 501
        assert len(report.skipped) == 1
    finally:
        csv.field_size_limit(before)


def test_what_excel_and_pandas_write_before_a_table_is_no_row_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("sep=;\r\nid;text\r\n1;a row, with words\r\n", encoding="utf-8")
    (document,) = open_source(str(path)).documents(ReadingReport())
    assert (document.id, document.text, document.title) == ("1", "a row, with words", "")
    assert document.source.endswith(":3")
    path.write_text("\n  \nid;text\n1;a row with words\n", encoding="utf-8")
    assert texts_of(path) == ["a row with words"]
    # The index has no name, and is neither the title nor the text.
    rows = "".join(f'{n * 10**30},"words of row {n}"\n' for n in range(9))
    path.write_text(",note\n" + rows, encoding="utf-8")
    with pytest.raises(InputError, match="looks like the text"):
        open_source(str(path))
    path.write_text(",text\n" + rows, encoding="utf-8")
    found = list(open_source(str(path)).documents(ReadingReport()))
    assert [each.text for each in found] == [f"words of row {n}" for n in range(9)]
    assert {each.title for each in found} == {""}


def test_of_two_columns_with_one_name_none_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text,text,note\n1,one,two,words that are long enough\n", encoding="utf-8")
    with pytest.raises(InputError, match="has 2 columns 'text'"):
        open_source(str(path))
    documents = open_source(str(path), text="note").documents(ReadingReport())
    assert [each.text for each in documents] == ["words that are long enough"]


def test_a_quoted_cell_far_below_in_a_table_of_tabs_is_one(tmp_path: Path) -> None:
    rows = [f"{n}\tplain words of row {n}" for n in range(4000)]
    rows += ['x\t"quoted, as Excel writes ""it"""', 'y\t"Hello" he said']
    (tmp_path / "a.tsv").write_text("\n".join(["id\ttext", *rows]), encoding="utf-8")
    expected = ['quoted, as Excel writes "it"', '"Hello" he said']
    assert texts_of(tmp_path / "a.tsv")[-2:] == expected


def test_values_are_words_and_whole_numbers_whatever_type_stores_them(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "id": pa.array([1.0, 2.0, 3.5, None]),
        "text": pa.array([b"caf\xc3\xa9 of bytes", b"\xff\xfe", b"third", b"no id"], pa.binary()),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    report = ReadingReport()
    found = open_source(str(tmp_path / "a.parquet")).documents(report)
    assert [(each.id, each.text) for each in found] == [("1", "café of bytes"), ("3.5", "third")]
    assert [skip.reason for skip in report.skipped] == ["no words", "no id"]


def test_many_quotes_in_a_row_are_no_riddle(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text\n1,"a",\n' + '"' * 3000 + "x\n2,words here\n")
    list(open_source(str(tmp_path / "a.csv")).documents(ReadingReport()))


def test_what_is_no_utf_8_after_a_plain_beginning_is_of_windows(tmp_path: Path) -> None:
    plain = "".join(f"{n},plain words in row {n}\n" for n in range(60_000))
    data = ("id,text\n" + plain + "x,the café’s own\n").encode("cp1252")
    (tmp_path / "export.csv").write_bytes(data)
    assert texts_of(tmp_path / "export.csv")[-1] == "the café’s own"


def test_places_are_read_whatever_type_they_have(tmp_path: Path) -> None:
    rows = ["id,text,context,group,order"]
    rows += [f"{n},some words {n},c,g,{order}" for n, order in enumerate(("7", "x", "", 1 << 40))]
    (tmp_path / "a.csv").write_text("\n".join(rows), encoding="utf-8")
    found = open_source(str(tmp_path / "a.csv")).documents(ReadingReport())
    assert [document.order for document in found] == [7, 0, 0, 2**31 - 1]


def test_well_known_names_come_before_length(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ID,Title,Body,url\n1,t,short,https://example.org/very/long/address\n")
    assert choose_columns(path, Columns()) == Columns("Body", "Title", "ID")


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        ("a.csv", "a,b\n1,2\n", Columns(), "looks like the text"),
        ("a.csv", "a,b\n1,2\n", Columns(text="c"), "no column 'c'"),
        ("a.csv", "a,b\n1,2\n", Columns(text="a", id="B"), "no column 'B'"),
        ("a.csv", "", Columns(), "no header"),
        ("a.jsonl", '{"a": "x"}\n', Columns(), "looks like the text"),
        ("a.jsonl", "words\n", Columns(), "no JSON objects"),
        ("a.parquet", "words", Columns(), "as Parquet"),
    ],
)
def test_what_cannot_work_is_an_input_error(
    tmp_path: Path, name: str, content: str, columns: Columns, message: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        choose_columns(path, columns)
    if "column" in message:
        assert "Its columns are: a" in caught.value.hint


def test_parquet_reads_only_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["one", None, "three"], "id": [1, 2, 3], "big": [[0.0] * 100] * 3})
    pq.write_table(table, path)
    documents, skipped = read(path)
    assert [(item.id, item.source) for item in documents] == [
        ("1", "a.parquet:1"),
        ("3", "a.parquet:3"),
    ]
    assert skipped == [("a.parquet:2", "no words")]


def test_sections_of_pages_keep_their_headings_page_and_place(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from isometry.corpora.documents import Document, to_batches
    from isometry.corpora.readers import ReadingReport, open_source

    page = [
        Document("b#2", "Press the second button.", "Stop", "Guide", group="b", order=1),
        Document("b#1", "Press the first button.", "Start", group="b", order=0),
    ]
    path = tmp_path / "documents.parquet"
    pq.write_table(pa.Table.from_batches(to_batches(page)), path)
    found = list(open_source(path).documents(ReadingReport()))
    assert [(d.id, d.text, d.title, d.context, d.group, d.order) for d in found] == [
        (d.id, d.text, d.title, d.context, d.group, d.order) for d in page
    ]
    # One of these names alone says nothing.
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"text": "Press the first button.", "group": "staff", "context": "x"}\n')
    (row,) = open_source(lines).documents(ReadingReport())
    assert row.context == "" and row.group == row.id
