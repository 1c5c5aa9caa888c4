"""Prints the rows of a spreadsheet as JSON lines; a program of its own, see `spreadsheet_rows`.

A sheet begins with [its name, its header], and lines of [number of the row, cells] follow; a string
says what is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import date, time, timedelta
from itertools import chain
from typing import Any


def rows(path: str) -> Iterator[tuple[str | int, list[Any]]]:
    """The sheets that have rows under a header; the rows of those with the first one's header."""
    from python_calamine import CalamineWorkbook

    read: list[str] | None = None
    with CalamineWorkbook.from_path(path) as book:
        for name in book.sheet_names:
            filled = _filled(book, name)
            top, first = next(filled, None), next(filled, None)
            if top is None or first is None:
                continue
            header = _header(top[1])
            yield name, header
            read = header if read is None else read
            if header == read:
                for number, cells in chain([first], filled):
                    yield number, cells[: len(header)]


def _header(cells: list[Any]) -> list[str]:
    """Its words, up to the last: how far a sheet's empty cells reach is no part of its header."""
    words = [str(cell).strip() for cell in cells]
    while words and not words[-1]:
        words.pop()
    return words


def _filled(book: Any, name: str) -> Iterator[tuple[int, list[Any]]]:
    for number, cells in enumerate(book.get_sheet_by_name(name).iter_rows(), start=1):
        values = [_plain(cell) for cell in cells]
        if any(value != "" for value in values):
            yield number, values


def _plain(cell: Any) -> Any:
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)  # a spreadsheet knows no whole numbers, and an id "7.0" is no id
    return str(cell) if isinstance(cell, date | time | timedelta) else cell


def main(path: str, most_bytes: int) -> None:
    """Prints the rows.

    Args:
        path: The spreadsheet.
        most_bytes: The address space that this process may take.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        pass
    else:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    sys.stdout.reconfigure(encoding="utf-8")  # pyright: ignore[reportAttributeAccessIssue]
    empty = True
    try:
        for row in rows(path):
            empty = False
            print(json.dumps(row))  # noqa: T201
        if empty:
            print(json.dumps("no sheet has a header with rows below it."))  # noqa: T201
    except BrokenPipeError:
        sys.stdout = None
    except Exception as error:  # the parser's own panics among them
        print(json.dumps(" ".join(str(error).split()) or type(error).__name__))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
