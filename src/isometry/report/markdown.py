"""Pieces of Markdown that words of others cannot break."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from isometry.report.figures import safe_line


def words(text: object) -> str:
    """Words that are not ours, in one line, without meaning for Markdown or HTML.

    For the inside of a line: see `prose` for what begins one.
    """
    line = safe_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]#|~>])", r"\\\1", line)


def prose(text: str) -> str:
    """Paragraphs, each in one line; of all marks only `code` keeps its meaning."""
    paragraphs = [safe_line(paragraph) for paragraph in re.split(r"\n\s*\n", text)]
    return "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs if paragraph)


def _paragraph(line: str) -> str:
    pieces = re.split(r"(`[^`]+`)", line)
    done = "".join(
        # Spaces at the ends of a piece part it from the code beside it.
        piece if place % 2 else re.sub(r"\S(.*\S)?", lambda found: words(found[0]), piece)
        for place, piece in enumerate(pieces)
    )
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", done)  # no list, no rule


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    align: Literal["left", "right"] = "right",
) -> str:
    """A table of cells that are Markdown already.

    Args:
        head: The names of the columns.
        rows: The rows, as long as the head.
        align: Where the columns after the first stand; numbers stand right.
    """
    rule = ["---", *["---:" if align == "right" else "---"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])
