"""Tables of an SQLite file -> rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from isometry.core.errors import InputError
from isometry.core.files import hash_file, hash_value
from isometry.corpora.readers.columns import Columns, choose
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.rows import Row

_MOST_LISTED = 40
_WAIT_SECONDS = 10


@dataclass(frozen=True)
class SqliteTable:
    """A table or a view of an SQLite file, opened read-only.

    Attributes:
        path: The file.
        table: The name of the table.
        kind: "table", "view" or "virtual".
        columns: The names of its columns.
        key: The primary key, where that is one column.
    """

    path: Path
    table: str
    kind: str
    columns: tuple[str, ...]
    key: str | None

    @property
    def shown(self) -> str:
        """As `sqlite:` takes it."""
        return f"sqlite:{self.path}#{self.table}"

    def names(self) -> list[str]:
        """See `Rows.names`."""
        if not self.columns:
            raise InputError(f"{self.shown} has no columns: what it is made from is not there.")
        return list(self.columns)

    def read(
        self, columns: Sequence[str] | None, report: ReadingReport, shown: str
    ) -> Generator[Row]:
        """See `Rows.read`; a table's rows come in the order of their row ids."""
        names = list(self.columns if columns is None else columns)
        chosen = ", ".join(map(_quoted, names))
        # Out of an index the rows would come in its order, which the next index changes.
        order = " NOT INDEXED" if self.kind == "table" else ""
        with _open(self.path) as connection:
            found = connection.execute(f"SELECT {chosen} FROM {_quoted(self.table)}{order}")
            for number, values in enumerate(found, start=1):
                yield number, dict(zip(names, values, strict=True))

    def fingerprint(self, columns: Sequence[str]) -> str:
        """The sha256 of the file, with what has been written to it but stands beside it."""
        log = _log(self.path)
        files = [hash_file(self.path), hash_file(log) if log else None]
        return hash_value([files, self.table])


def parted(spec: str) -> tuple[str, str, str]:
    """Path, mark and table of "PATH#TABLE" or "PATH"; a path may have a # of its own."""
    marks = [place for place, character in enumerate(spec) if character == "#"]
    for place in (len(spec), *marks):
        if Path(spec[:place]).expanduser().is_file():
            return spec[:place], spec[place : place + 1], spec[place + 1 :]
    return spec.partition("#")


def open_table(spec: str, wanted: Columns) -> SqliteTable:
    """The table that "PATH#TABLE" names; with "PATH" alone the only one that fits.

    Raises:
        InputError: When there is no such file or table; lists the tables.
    """
    name, mark, table = parted(spec)
    path = Path(name).expanduser()
    if not path.is_file():
        raise InputError(f"There is no file {path}.", "Give sqlite:PATH#TABLE.")
    if not mark:
        return only_table(path, wanted)
    tables = _tables(path)
    for item in tables:
        if item.table == table:
            return item
    raise InputError(f"{path} has no table '{table}'.", _listed(tables))


def only_table(path: Path, wanted: Columns) -> SqliteTable:
    """The only table of a file with a text column; without one, the only view.

    Raises:
        InputError: When there is none or several; lists the tables.
    """
    tables = _tables(path)
    for views in (False, True):
        fitting = [
            item for item in tables if (item.kind == "view") is views and _has_text(item, wanted)
        ]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise InputError(
                f"{path} has {len(fitting)} tables with text: say which.", _listed(fitting)
            )
    if len(tables) == 1:
        choose(tables[0], wanted)  # says what this one lacks
    raise InputError(f"{path} has no table with a text column.", _listed(tables))


def _has_text(table: SqliteTable, wanted: Columns) -> bool:
    try:
        choose(table, wanted)
    except InputError:
        return False
    return True


def _listed(tables: Sequence[SqliteTable]) -> str:
    if not tables:
        return "It has no tables at all."
    names = ", ".join(item.table for item in tables[:_MOST_LISTED])
    more = ", ..." if len(tables) > _MOST_LISTED else ""
    return f"Give one as {tables[0].shown}. There are: {names}{more}."


def _tables(path: Path) -> list[SqliteTable]:
    with _open(path) as connection:
        found = connection.execute(
            "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow'"
            " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
        ).fetchall()
        return [_table(connection, path, name, kind) for name, kind in found]


def _table(connection: sqlite3.Connection, path: Path, name: str, kind: str) -> SqliteTable:
    columns: list[str] = []
    key: list[str] = []
    try:
        for column, position in connection.execute(
            "SELECT name, pk FROM pragma_table_info(?)", (name,)
        ):
            columns.append(column)
            if position:
                key.append(column)
    except sqlite3.DatabaseError:
        pass  # a view of a table that is gone, or a virtual one whose module is not here
    return SqliteTable(path, name, kind, tuple(columns), key[0] if len(key) == 1 else None)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def hash_database(path: Path) -> str:
    """The sha256 of an SQLite file, with what has been written to it but stands beside it."""
    log = _log(path)
    return hash_value([hash_file(path), hash_file(log)]) if log else hash_file(path)


def _log(path: Path) -> Path | None:
    """The write-ahead log beside a file, if it holds something."""
    log = path.with_name(f"{path.name}-wal")
    return log if log.is_file() and log.stat().st_size else None


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    # With a write-ahead log switched on, opening makes files beside the database, unless it is
    # called immutable; that it may not be while there is something in the log.
    try:
        with path.open("rb") as file:
            logged = file.read(20)[18:] == b"\x02\x02"
        immutable = "&immutable=1" if logged and _log(path) is None else ""
        address = f"file:{quote(str(path.absolute()))}?mode=ro{immutable}"
        with closing(sqlite3.connect(address, uri=True, timeout=_WAIT_SECONDS)) as connection:
            # A schema may call functions; those of a file from elsewhere are not trusted.
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA query_only = ON")
            connection.text_factory = lambda data: data.decode("utf-8", errors="replace")
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise InputError(f"Cannot read {path} as SQLite: {error}.") from error
