from __future__ import annotations

import datetime
import inspect
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.readers import ReadingReport, open_source

NOTES = [(name, inspect.getdoc(getattr(textwrap, name)) or "") for name in textwrap.__all__]


def read(path: Path, **options: str) -> tuple[list[Document], list[tuple[str, str]]]:
    report = ReadingReport()
    documents = list(open_source(path, **options).documents(report))
    return documents, [(item.path, item.reason) for item in report.skipped]


def save(path: Path, *sheets: list[list[Any]], names: tuple[str, ...] = ()) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(names[number] if names else None)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def save_ods(path: Path, rows: list[list[str]], more: str = "") -> Path:
    cells = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p>'
            "</table:table-cell>"
            for cell in row
        )
        + "</table:table-row>"
        for row in rows
    )
    spaces = "".join(
        f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        file.writestr(
            "META-INF/manifest.xml",
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"'
            ' manifest:version="1.2"/>',
        )
        file.writestr(
            "content.xml",
            f"<office:document-content{spaces}><office:body><office:spreadsheet>"
            f'<table:table table:name="a">{cells}{more}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    return path


def test_the_first_sheet_with_rows_is_read(tmp_path: Path) -> None:
    header_only = [["id", "text"], [None, None]]
    path = save(
        tmp_path / "a.xlsx",
        [],
        header_only,
        [[], [None, " name ", "said"], *([None, *note] for note in NOTES)],
    )
    documents, skipped = read(path, id="name")
    assert [(item.id, item.text) for item in documents] == NOTES
    assert documents[0].source == "a.xlsx:3"
    assert skipped == []


def test_every_sheet_with_the_first_ones_header_is_read_and_no_other_is_lost_silently(
    tmp_path: Path,
) -> None:
    header = ["number", "text"]
    path = save(
        tmp_path / "a.xlsx",
        [["Tickets of the year"]],
        [header, [10, "said in January"], [11, "said at its end"]],
        [["code", "meaning"], ["x", "of another kind"]],
        # Cells to the right may be empty, or stand under no name.
        [[], ["number ", "text", " "], [20, "said in February", "a remark"]],
        [header],
        names=("Title", "Jan", "Codes", "Feb 1", "Mar"),
    )
    documents, skipped = read(path)
    assert [(item.id, item.text, item.source) for item in documents] == [
        ("1", "said in January", "a.xlsx:2"),
        ("2", "said at its end", "a.xlsx:3"),
        ("3", "said in February", "a.xlsx:Feb 1!3"),
    ]
    assert skipped == [("a.xlsx#Codes", "only sheets with the columns of 'Jan' are read")]
    assert [item.id for item in read(path, id="number")[0]] == ["10", "11", "20"]


def test_cells_are_what_a_person_sees(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.xlsx",
        [
            ["id", "text", "title", None],
            [7, "words", datetime.datetime(2020, 1, 2), "no column"],
            [1.5, "more words", True],
            [],
            [8, None, None],
            [9, 12.0, None],
        ],
    )
    documents, skipped = read(path)
    assert [(item.id, item.text, item.title) for item in documents] == [
        ("7", "words", "2020-01-02"),
        ("1.5", "more words", ""),
        ("9", "12", ""),
    ]
    assert skipped == [("a.xlsx:5", "no words")]


def test_opendocument_says_the_same(tmp_path: Path) -> None:
    rows = [["name", "said"], *([name, f"What it says: {name}"] for name, _ in NOTES)]
    path = save_ods(tmp_path / "a.ods", rows)
    documents, _ = read(path, id="name")
    assert [[item.id, item.text] for item in documents] == rows[1:]
    excel, _ = read(save(tmp_path / "a.xlsx", rows), id="name")
    assert [(item.id, item.text) for item in excel] == [(a.id, a.text) for a in documents]


def test_one_stray_cell_far_away_is_an_input_error(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["id", "text"], [1, "words"]):
        sheet.append(row)
    sheet["XFD1048576"] = "stray"
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(InputError, match="more memory than") as caught:
        open_source(tmp_path / "a.xlsx")
    assert "CSV" in caught.value.hint


def test_what_is_no_spreadsheet_is_an_input_error(tmp_path: Path) -> None:
    for name, content in (
        ("a.xlsx", b"words"),
        ("b.ods", b"PK\x03\x04words"),
        ("c.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600),
        ("d.xlsx", b""),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"Cannot read .*{name}: ") as caught:
            open_source(tmp_path / name)
        assert "\n" not in str(caught.value)
    save(tmp_path / "empty.xlsx", [["id", "text"]])
    with pytest.raises(InputError, match="no sheet has a header with rows below it"):
        open_source(tmp_path / "empty.xlsx")


def test_a_bomb_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = save_ods(tmp_path / "a.ods", [["text"], ["words"]], "<!-- -->" + " " * (64 << 20))
    with pytest.raises(InputError, match=r"Cannot read .*a\.ods: it inflates"):
        open_source(path)


def test_no_process_is_left_when_reading_stops(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", [["text"], *([f"row {n} of many"] for n in range(5000))])
    documents = open_source(path, limit=3).documents(ReadingReport())
    assert [item.text for item in documents] == [f"row {n} of many" for n in range(3)]
    children = Path("/proc/thread-self/children")
    if children.exists():
        pids = children.read_text().split()
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
        assert not [command for command in commands if b"spreadsheet_worker" in command]
