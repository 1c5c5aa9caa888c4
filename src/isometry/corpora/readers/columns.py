"""Which columns of a table hold the text, the title and the id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isometry.core.errors import InputError
from isometry.corpora.readers.rows import Rows, first_rows

_TEXT_NAMES = ("text", "content", "body", "contents")
_ID_NAMES = ("_id", "id")
_MEAN_CHARACTERS = 20  # a column of longer values is taken for text
_MOST_LISTED = 40
_PAGES = ("context", "group", "order")


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; `None` where the table decides.

    Attributes:
        text: The text.
        title: The title.
        id: The id.
        pages: Whether rows are sections of pages: `context` holds the headings above the title,
            `group` the page, `order` the place in it.
    """

    text: str | None = None
    title: str | None = None
    id: str | None = None
    pages: bool = False

    def named(self) -> list[str]:
        """Those that are given."""
        own = [name for name in (self.text, self.title, self.id) if name is not None]
        return [*own, *_PAGES] if self.pages else own


def choose(rows: Rows, wanted: Columns) -> Columns:
    """The columns to read: those that are wanted, else those whose names are well known.

    The id is the column that the table declares as its key, where nobody wants another. A table
    with all of `context`, `group` and `order` holds the sections of pages, as a Space's own
    `documents.parquet` does.

    Raises:
        InputError: When a wanted column is not there or none looks like text; lists the columns.
    """
    names = rows.names()
    listed = f"Its columns are: {', '.join(names[:_MOST_LISTED])}"
    listed += ", ..." if len(names) > _MOST_LISTED else "."
    for name in wanted.named():
        if name not in names:
            raise InputError(f"{rows.shown} has no column '{name}'.", listed)
    identifier = wanted.id or rows.key or _well_known(names, _ID_NAMES)
    title = wanted.title or _well_known(names, ("title",))
    text = wanted.text or _well_known(names, _TEXT_NAMES)
    # A column without a name is an index that somebody's program wrote.
    text = text or _longest(rows, [name for name in names if name.strip() and name != identifier])
    if text is None:
        raise InputError(
            f"No column of {rows.shown} looks like the text.", f"{listed} Name one with --text."
        )
    for name in (text, title, identifier):
        if name is not None and names.count(name) > 1:
            raise InputError(f"{rows.shown} has {names.count(name)} columns '{name}'.", listed)
    pages = set(_PAGES) <= set(names)
    return Columns(text, title if title != text else None, identifier, pages)


def _well_known(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    by_name = {name.casefold().strip(): name for name in reversed(names)}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _longest(rows: Rows, names: Sequence[str]) -> str | None:
    sample = first_rows(rows)
    means = {
        name: sum(len(row[name]) for row in sample if isinstance(row.get(name), str)) / len(sample)
        for name in (names if sample else ())
    }
    longest = max(means, key=lambda name: means[name], default=None)
    return longest if longest is not None and means[longest] > _MEAN_CHARACTERS else None
