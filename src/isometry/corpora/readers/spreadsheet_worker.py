"""Prints the rows of a spreadsheet as JSON lines; a program of its own, see `spreadsheet_rows`.

Each line is [number of the row, cells], the first of them the header; a string says what is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import date, time, timedelta
from typing import Any


def rows(path: str) -> Iterator[tuple[int, list[Any]]]:
    """The rows of the first sheet that has two, the first of them as words; the empty ones not."""
    from python_calamine import CalamineWorkbook

    with CalamineWorkbook.from_path(path) as book:
        for name in book.sheet_names:
            filled = _filled(book, name)
            header, first = next(filled, None), next(filled, None)
            if header is not None and first is not None:
                yield header[0], [str(cell).strip() for cell in header[1]]
                yield first
                yield from filled
                return


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
