"""Jupyter notebooks -> a page."""

from __future__ import annotations

import json
from typing import Any

from isometry.core.errors import InputError
from isometry.corpora.readers.markdown import read_markdown
from isometry.corpora.readers.markup import Page


def read_notebook(text: str) -> Page:
    """A notebook of format 3 or 4: the headings and text of its Markdown, and its code.

    A code cell is text of the section in which it stands. Outputs, attachments and raw cells go.

    Raises:
        InputError: When it is no notebook.
    """
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"no notebook: {error}") from error
    cells = _cells(notebook)
    if cells is None:
        raise InputError("no notebook: it has no list of cells")
    metadata = notebook.get("metadata")
    title = metadata.get("title") if isinstance(metadata, dict) else None
    # JSON may bring half of a character.
    page = Page(title.encode(errors="replace").decode() if isinstance(title, str) else "")
    for cell in cells:
        if not isinstance(cell, dict):
            continue
        kind = cell.get("cell_type")
        if kind == "heading":
            page.heading(cell["level"] if isinstance(cell.get("level"), int) else 1, _source(cell))
        elif kind == "markdown":
            page.extend(read_markdown(_source(cell)))
        elif kind == "code":
            page.add(_source(cell))
    return page


def _cells(notebook: Any) -> list[Any] | None:
    if not isinstance(notebook, dict):
        return None
    cells = notebook.get("cells")
    if cells is None and isinstance(sheets := notebook.get("worksheets"), list):
        cells = [
            cell
            for sheet in sheets
            if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list)
            for cell in sheet["cells"]
        ]
    return cells if isinstance(cells, list) else None


def _source(cell: dict[str, Any]) -> str:
    """The lines of a cell; format 3 calls those of code its input."""
    lines = cell.get("source", cell.get("input", ""))
    if isinstance(lines, list):
        lines = "".join(line for line in lines if isinstance(line, str))
    text = lines if isinstance(lines, str) else ""
    # JSON may escape half a surrogate pair, which no file and no Arrow table can hold.
    text = text.encode("utf-8", errors="replace").decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")
