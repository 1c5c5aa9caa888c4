"""Tables of a PostgreSQL server -> rows."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isometry.core.errors import InputError
from isometry.core.files import hash_value
from isometry.core.postgres import connect, reason, split_address, without_password
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.rows import SAMPLE_ROWS, Row

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

_FORM = "postgresql://USER@HOST/DATABASE#SCHEMA.TABLE"
_LOCK_SECONDS = 10
_STATEMENT_SECONDS = 600
_FETCHED_ROWS = 1000
_MOST_LISTED = 40
_FIND = """
    SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (n.nspname || '.' || c.relname = %(name)s
        OR c.relname = %(name)s AND pg_table_is_visible(c.oid)) ORDER BY 2, 3
"""
_LIST = """
    SELECT n.nspname || '.' || c.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%%'
        AND n.nspname <> 'information_schema' ORDER BY 1 LIMIT %s
"""
_COLUMNS = """
    SELECT a.attname, t.typcategory = 'S',
        coalesce(i.indnkeyatts = 1 AND a.attnum = i.indkey[0], false)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
    WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


@dataclass(frozen=True)
class PostgresTable:
    """A table or a view of a PostgreSQL server, read in read-only transactions.

    Attributes:
        address: How to connect; may hold a password and is shown to nobody.
        shown: The address and the table without the password.
        schema: The schema of the table.
        table: Its name.
        columns: The names of its columns; true for those of a type of text.
        key: The primary key, where that is one column.
    """

    address: str
    shown: str
    schema: str
    table: str
    columns: dict[str, bool]
    key: str | None

    def __repr__(self) -> str:
        return f"PostgresTable({self.shown})"

    def names(self) -> list[str]:
        """See `Rows.names`."""
        return list(self.columns)

    def read(
        self, columns: Sequence[str] | None, report: ReadingReport, shown: str
    ) -> Generator[Row]:
        """See `Rows.read`; in the order of the key, without one in that of the rows as text."""
        from psycopg.sql import SQL

        names = [name for name, is_text in self.columns.items() if is_text]
        names = names if columns is None else list(columns)
        # A sample is read before the whole: sorting all rows for it would double the time.
        query = SQL("SELECT {} FROM {} ORDER BY {} LIMIT {}").format(
            SQL(", ").join(SQL("{}::text").format(name) for name in _quoted(names)),
            self._quoted(),
            self._order(names),
            SAMPLE_ROWS if columns is None else None,
        )
        with (
            _transaction(self.address, self.shown) as connection,
            connection.cursor(name="isometry") as cursor,
        ):
            cursor.itersize = _FETCHED_ROWS
            cursor.execute(query)
            for number, values in enumerate(cursor, start=1):
                yield number, dict(zip(names, values, strict=True))

    def fingerprint(self, columns: Sequence[str]) -> str:
        """Over the columns that are read, as the server adds it up.

        The number of rows, and the sum of the two halves of each row's MD5: it reads the table
        once on the server, sends two numbers, and does not depend on the order of the rows. A
        server has nothing cheaper that every change shows in: its statistics lag behind, and a
        count with the largest key is blind to edits.
        """
        from psycopg.sql import SQL

        names = list(columns)
        order = [name for name in (self.key,) if name is not None and name not in names]
        digest = SQL("md5(ROW({})::text)").format(SQL(", ").join(_quoted(names + order)))
        query = SQL(
            "SELECT count(*), sum(('x' || left(h, 16))::bit(64)::bigint::numeric),"
            " sum(('x' || right(h, 16))::bit(64)::bigint::numeric)"
            " FROM (SELECT {} AS h FROM {}) AS hashes"
        ).format(digest, self._quoted())
        with _transaction(self.address, self.shown) as connection:
            found = connection.execute(query).fetchone()
        return hash_value([self.schema, self.table, names, self.key, [str(v) for v in found or ()]])

    def _quoted(self) -> Any:
        from psycopg.sql import Identifier

        return Identifier(self.schema, self.table)

    def _order(self, names: Sequence[str]) -> Composed:
        from psycopg.sql import SQL, Identifier

        if self.key is not None:
            # Of the table: a column that is selected as text has the same name, and another order.
            return SQL("{}").format(Identifier(self.schema, self.table, self.key))
        return SQL('ROW({})::text COLLATE "C"').format(SQL(", ").join(_quoted(names)))


def open_table(spec: str) -> PostgresTable:
    """The table that "postgresql://USER@HOST/DATABASE#SCHEMA.TABLE" names.

    The schema may be left out where the server's search path finds the table.

    Raises:
        InputError: When the server cannot be reached, or there is no such table; lists the tables.
    """
    address, wanted = split_address(spec, _FORM)
    shown = without_password(spec)
    with _transaction(address, shown) as connection:
        found = connection.execute(_FIND, {"name": wanted}).fetchone()
        if found is None:
            raise _no_table(connection, shown, wanted)
        columns = connection.execute(_COLUMNS, (found[0],)).fetchall()
    key = [name for name, _, is_key in columns if is_key]
    return PostgresTable(
        address,
        shown,
        found[1],
        found[2],
        {name: is_text for name, is_text, _ in columns},
        key[0] if key else None,
    )


def _quoted(names: Sequence[str]) -> list[Any]:
    from psycopg.sql import Identifier

    return [Identifier(name) for name in names]


def _no_table(connection: Connection, shown: str, wanted: str) -> InputError:
    names = [name for (name,) in connection.execute(_LIST, (_MOST_LISTED + 1,))]
    listed = ", ".join(names[:_MOST_LISTED]) + (", ..." if len(names) > _MOST_LISTED else "")
    base = shown.partition("#")[0]
    hint = f"Give one as {base}#{names[0]}. There are: {listed}." if names else "It has none."
    if not wanted:
        return InputError(f"{base} names no table.", hint)
    return InputError(f"{base} has no table '{wanted}'.", hint)


@contextmanager
def _transaction(address: str, shown: str) -> Iterator[Connection]:
    import psycopg

    try:
        with connect(address) as connection:
            connection.read_only = True
            for name, seconds in (
                ("statement_timeout", _STATEMENT_SECONDS),
                ("lock_timeout", _LOCK_SECONDS),
            ):
                connection.execute("SELECT set_config(%s, %s, true)", (name, f"{seconds}s"))
            yield connection
    except psycopg.errors.QueryCanceled as error:
        raise InputError(
            f"{shown}: the server took more than {_STATEMENT_SECONDS} seconds.",
            "Make a materialized view of what you need, with a primary key in the table behind it.",
        ) from error
    except (psycopg.Error, UnicodeError) as error:
        raise InputError(f"Cannot read {shown}: {reason(error, address)}.") from None
