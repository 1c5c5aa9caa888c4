"""Changes to a Space's passages on a PostgreSQL server: each one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.core.postgres import connect, reason, split_address, without_password
from isometry.core.progress import say
from isometry.search.lancedb import Hit, Lexical
from isometry.search.passages import Exported
from isometry.search.postgres import (
    FORM,
    MOST_INDEXED,
    SCHEMA,
    TABLES,
    extension_schema,
    quoted,
    search_path,
    written,
)
from isometry.search.terms import placed_terms

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed, Identifier

_LOCK_SECONDS = 10
_SETTINGS = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": f"{_LOCK_SECONDS}s",
}
# What a tsvector can hold: later places are noted as the last one.
_LAST_PLACE = 16_383
# Up to this width a row fits on a page. Without being told, the server keeps vectors elsewhere.
_MOST_IN_ROW = 1536
_COMMENT = "A Space of Isometry: isometry export"
_NEW = "isometry_new_"

_CREATE = """
    CREATE TABLE {space} (
        format int NOT NULL, space text NOT NULL, state bigint NOT NULL, encoder text NOT NULL,
        dim int NOT NULL, lexical jsonb NOT NULL, documents bigint NOT NULL,
        passages bigint NOT NULL, terms bigint NOT NULL, exported timestamptz NOT NULL
    );
    CREATE TABLE {documents} (
        id text COLLATE "C" PRIMARY KEY, text text NOT NULL, title text, context text,
        summary text, "group" text, "order" int, kind text, links text[], source text,
        origin text, own_id text, hash text NOT NULL, row_hash text NOT NULL
    );
    CREATE TABLE {passages} (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        document text COLLATE "C" NOT NULL REFERENCES {documents} ON DELETE CASCADE,
        title text NOT NULL, position int NOT NULL, start int NOT NULL, "end" int NOT NULL,
        text text NOT NULL, vector vector({dim}) NOT NULL, terms tsvector NOT NULL,
        length int NOT NULL
    );
    COMMENT ON TABLE {space} IS {comment}
"""
_INDEX = """
    CREATE UNIQUE INDEX ON {passages} (document, position);
    CREATE INDEX ON {passages} USING gin (terms)
"""
# As many edges and candidates as the graph of a Space's own index.
_GRAPH = """
    CREATE INDEX ON {passages} USING hnsw (vector vector_ip_ops)
    WITH (m = 16, ef_construction = 128)
"""
_COPY_PASSAGES = """
    COPY {passages} (document, title, position, start, "end", text, vector, terms, length)
    FROM STDIN
"""
_FIGURES = """
    INSERT INTO {space} SELECT %(format)s, %(space)s, %(state)s, %(encoder)s, %(dim)s, %(lexical)s,
        (SELECT count(*) FROM {documents}), count(*), coalesce(sum(length), 0), now()
    FROM {passages}
"""
_FOUND = """
    SELECT c.relname, obj_description(c.oid, 'pg_class')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = ANY(%s)
"""
_MADE = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND starts_with(c.relname, %s)
"""
_READERS = """
    SELECT c.relname, CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) AS a
    WHERE n.nspname = %s AND c.relname = ANY(%s) AND a.privilege_type = 'SELECT'
        AND a.grantee <> c.relowner
"""


class PassageTables:
    """The tables of one schema within the transaction that changes them; made by `writing`."""

    def __init__(self, connection: Connection, shown: str, schema: str) -> None:
        self.shown = shown
        self._connection = connection
        self._schema = schema
        self._prefix = ""
        self._dim = 1

    def exported(self) -> Exported | None:
        """What lies there; None where nothing does.

        Raises:
            InputError: When tables of these names are something else.
        """
        from psycopg.rows import dict_row

        found = dict(self._connection.execute(_FOUND, [self._schema, list(TABLES)]).fetchall())
        if not found:
            return None
        if found.get("space") != _COMMENT:
            raise InputError(
                f"{self.shown} has a table '{min(found)}' that no export made.",
                "Name another schema.",
            )
        cursor = self._connection.cursor(row_factory=dict_row)
        row = cursor.execute(self._composed("SELECT * FROM {space}")).fetchone()
        return None if row is None else Exported.from_json(row)

    def hashes(self) -> list[tuple[str, str, str]]:
        """The id of each document, the hash of what is searched of it, and that of its row."""
        query = self._composed("SELECT id, hash, row_hash FROM {documents}")
        return self._connection.execute(query).fetchall()

    def create(self, dim: int) -> None:
        """Makes new tables, which nobody sees before the end; all that follows is about them.

        Args:
            dim: The length of the vectors.
        """
        from psycopg.sql import SQL, Identifier

        self._prefix, self._dim = _NEW, dim
        self._connection.execute(
            SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(self._schema))
        )
        self._execute(_CREATE)
        if dim <= _MOST_IN_ROW:
            self._execute("ALTER TABLE {passages} ALTER COLUMN vector SET STORAGE PLAIN")

    def remove(self, ids: Sequence[str]) -> None:
        """Removes documents with their passages."""
        query = self._composed("DELETE FROM {documents} WHERE id = ANY(%s)")
        self._connection.execute(query, [list(ids)])

    def update_documents(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes rows of documents anew, and leaves their passages alone."""
        from psycopg.sql import SQL, Identifier, Placeholder

        if not rows:
            return
        names = [name for name in rows[0] if name != "id"]
        values = SQL(", ").join(
            SQL("{} = {}").format(Identifier(name), Placeholder(name)) for name in names
        )
        query = SQL("UPDATE {} SET {} WHERE id = %(id)s").format(self._name("documents"), values)
        self._connection.cursor().executemany(query, [_stored(row) for row in rows])

    def add_documents(self, rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> None:
        """Adds documents.

        Args:
            rows: Theirs, with a value for each name.
            names: Of the columns.
        """
        from psycopg.sql import SQL, Identifier

        query = SQL("COPY {} ({}) FROM STDIN").format(
            self._name("documents"), SQL(", ").join(map(Identifier, names))
        )
        with self._connection.cursor().copy(query) as copy:
            for row in rows:
                stored = _stored(row)
                copy.write_row([stored[name] for name in names])

    def add_passages(
        self, blocks: Iterable[tuple[Sequence[Hit], Float[np.ndarray, "rows dim"]]], how: Lexical
    ) -> None:
        """Adds passages.

        Args:
            blocks: Some of them with their vectors, and so on.
            how: How their text becomes terms.
        """
        with self._connection.cursor().copy(self._composed(_COPY_PASSAGES)) as copy:
            for hits, vectors in blocks:
                for hit, vector in zip(hits, vectors, strict=True):
                    found = placed_terms(hit.text, how)
                    place = (hit.document, hit.title, hit.position, hit.start, hit.end, hit.text)
                    row = (*map(_without_nul, place), written(vector))
                    copy.write_row((*row, _tsvector(found), len(found)))

    def finish(self, exported: Exported) -> None:
        """Puts new tables in the place of the old ones, if any were made, and says what they hold.

        Whoever might read the old ones may read the new ones.

        Args:
            exported: What lies there now.
        """
        from psycopg.types.json import Jsonb

        if self._prefix:
            self._execute(_INDEX)
            if self._dim <= MOST_INDEXED:
                self._execute(_GRAPH)
            self._execute("ANALYZE {documents}, {passages}")
        values = exported.to_json()
        self._execute("DELETE FROM {space}")
        self._execute(_FIGURES, values | {"lexical": Jsonb(values["lexical"])})
        if self._prefix:
            self._swap()

    def _swap(self) -> None:
        from psycopg.sql import SQL, Identifier

        # In the order in which searches lock them: else both would wait for each other.
        found = dict(self._connection.execute(_FOUND, [self._schema, list(TABLES)]).fetchall())
        old = SQL(", ").join(Identifier(self._schema, name) for name in TABLES if name in found)
        if found:
            self._connection.execute(SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(old))
        readers = self._connection.execute(_READERS, [self._schema, list(TABLES)]).fetchall()
        for table, reader in readers:
            self._connection.execute(
                SQL("GRANT SELECT ON {} TO {}").format(
                    self._name(table), SQL("PUBLIC") if reader is None else Identifier(reader)
                )
            )
        if found:
            self._connection.execute(SQL("DROP TABLE {}").format(old))
        # Their indexes as well, so that names are the same after every exchange.
        for (name,) in self._connection.execute(_MADE, [self._schema, _NEW]).fetchall():
            self._connection.execute(
                SQL("ALTER TABLE {} RENAME TO {}").format(
                    Identifier(self._schema, name), Identifier(name.removeprefix(_NEW))
                )
            )
        self._prefix = ""

    def _name(self, table: str) -> Identifier:
        from psycopg.sql import Identifier

        # By its schema: without one, a name that is not there means the table of that name which
        # somebody has beside the extension.
        return Identifier(self._schema, self._prefix + table)

    def _composed(self, query: LiteralString) -> Composed:
        from psycopg.sql import SQL, Literal

        names = {table: self._name(table) for table in TABLES}
        return SQL(query).format(**names, dim=Literal(self._dim), comment=Literal(_COMMENT))

    def _execute(self, query: LiteralString, values: Mapping[str, Any] | None = None) -> None:
        self._connection.execute(self._composed(query), values)


@contextmanager
def writing(spec: str) -> Iterator[PassageTables]:
    """The tables of a schema; what is done to them is seen when the block ends, or not at all.

    Args:
        spec: As `PostgresPassages.open` takes it.

    Raises:
        InputError: For whatever the server refuses, and while another export is writing there.
    """
    address, schema = split_address(spec, FORM)
    shown, schema = without_password(spec), schema or SCHEMA
    import psycopg

    try:
        with connect(address) as connection:
            connection.add_notice_handler(_say)
            for name, value in _SETTINGS.items():
                connection.execute("SELECT set_config(%s, %s, true)", (name, value))
            search_path(connection, schema, extension_schema(connection, schema, shown))
            row = connection.execute(
                "SELECT pg_try_advisory_xact_lock(hashtextextended('isometry ' || %s, 0))", [schema]
            ).fetchone()
            if row != (True,):
                raise InputError(f"Another export is writing to {shown}.", "Wait for it.")
            yield PassageTables(connection, shown, schema)
    except psycopg.errors.LockNotAvailable:
        raise InputError(
            f"Somebody has been reading {shown} for more than {_LOCK_SECONDS} seconds.",
            "Nothing was changed; try again later.",
        ) from None
    except (psycopg.Error, UnicodeError) as error:
        raise InputError(
            f"Cannot write to {shown}: {reason(error, address)}.", "Nothing was changed."
        ) from None


def _say(diagnostic: Any) -> None:
    """What the server notes, such as that memory is too small for the graph."""
    if diagnostic.severity_nonlocalized == "NOTICE" and "hnsw" in (
        diagnostic.message_primary or ""
    ):
        say(f"{diagnostic.message_primary}. {diagnostic.message_hint or ''}")


def _tsvector(found: Sequence[tuple[str, int]]) -> str:
    places: dict[str, list[int]] = {}
    for term, place in found:
        places.setdefault(term, []).append(min(place + 1, _LAST_PLACE))
    return " ".join(
        f"{quoted(term)}:{','.join(map(str, own))}" for term, own in places.items()
    ).replace("\0", "\ufffd")


def _stored(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _without_nul(value) for name, value in row.items()}


def _without_nul(value: Any) -> Any:
    """A text of PostgreSQL cannot hold the character 0; another one takes its place."""
    if isinstance(value, list):
        return [_without_nul(each) for each in value]
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
