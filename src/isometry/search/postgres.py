"""A Space's passages on a PostgreSQL server with pgvector: the tables, and searching them."""

from __future__ import annotations

import copy
import weakref
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, LiteralString

import numpy as np
from jaxtyping import Float, Int

from isometry.core.errors import InputError
from isometry.core.postgres import connect, reason, split_address, without_password
from isometry.search.filters import Filter
from isometry.search.lancedb import Hit
from isometry.search.passages import Exported
from isometry.search.terms import K1, B, terms
from isometry.search.view import Candidates, Found, best_of_documents

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composable

FORM = "postgresql://USER@HOST/DATABASE#SCHEMA"
# Where no schema is named.
SCHEMA = "isometry"
TABLES = ("space", "documents", "passages")
# A graph of more dimensions than that is beyond pgvector.
MOST_INDEXED = 2000
# So many vectors are compared one by one, as a Space's own index does it.
_COMPARED = 20_000
# So many rows are looked at in the graph at least, for a recall@10 of 0.99, and at most.
_CANDIDATES, _MOST_CANDIDATES = 200, 1000
_ITERATIVE_SINCE = (0, 8)

_EXTENSION = """
    SELECT n.nspname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'vector'
"""
_FORBIDDEN = """
    SELECT nspname FROM pg_namespace
    WHERE nspname = ANY(%s) AND NOT has_schema_privilege(oid, 'USAGE')
"""
_SPACE = "SELECT format, space, state, encoder, dim, lexical, passages, terms FROM space"
# An expression is not what the graph orders by, so that all rows are compared.
_COMPARE = """
    SELECT number, document, position, -(vector <#> %(vector)s::vector) AS score
    FROM passages {only} ORDER BY score DESC LIMIT %(limit)s
"""
_WALK = """
    SELECT number, document, position, -(vector <#> %(vector)s::vector) AS score
    FROM passages {only} ORDER BY vector <#> %(vector)s::vector LIMIT %(limit)s
"""
# Every passage with a term of the query is looked at, so it is known how many have each.
_SCORED = """
    WITH found AS (
        SELECT p.number, p.document, p.position, p.length, t.lexeme AS term,
            cardinality(t.positions)::float8 AS f
        FROM passages p CROSS JOIN LATERAL unnest(p.terms) AS t
        WHERE p.terms @@ %(any)s::tsquery AND t.lexeme = ANY(%(terms)s::text[])
    ), weights AS (
        SELECT term, ln(1 + (%(passages)s::float8 - count(*) + 0.5) / (count(*) + 0.5)) AS weight
        FROM found GROUP BY term
    ), scored AS (
        SELECT number, document, position, term,
            weight * f * (%(k1)s::float8 + 1)
            / (f + %(k1)s::float8 * (1 - %(b)s::float8 + %(b)s::float8 * length / %(mean)s::float8))
            AS score
        FROM found JOIN weights USING (term)
    )
"""
_RANKED = (
    _SCORED
    + """
    , ranked AS (
        SELECT number, document, position, sum(times * score)::real AS score
        FROM scored JOIN unnest(%(terms)s::text[], %(times)s::float8[]) AS a (term, times)
        USING (term) GROUP BY number, document, position
    ), best AS (
        SELECT DISTINCT ON (document) number, document, score
        FROM ranked {only} ORDER BY document, score DESC, position
    )
    SELECT number, score FROM best ORDER BY score DESC, document LIMIT %(limit)s
    """
)
_OF_ROWS = _SCORED + "SELECT number, term, score FROM scored WHERE number = ANY(%(numbers)s)"
# What a filter puts in the place of {only}.
_OPERATORS: Mapping[str, LiteralString] = {
    "in": "{column} = ANY({values})",
    # Of what is unknown nothing holds, not even that it is none of none.
    "not": "{column} IS NOT NULL AND {column} <> ALL({values})",
    "prefix": "starts_with({column}, ({values})[1])",
    "gte": "{column} >= ({values})[1]",
    "gt": "{column} > ({values})[1]",
    "lte": "{column} <= ({values})[1]",
    "lt": "{column} < ({values})[1]",
}
_NAMES = "SELECT number, document FROM passages WHERE number = ANY(%s)"
_FETCH = """
    SELECT number, document, title, position, start, "end", text
    FROM passages WHERE number = ANY(%s)
"""
# What pgvector sends: the width and two bytes of nothing, then big-endian floats.
_VECTORS = "SELECT number, vector_send(vector) FROM passages WHERE number = ANY(%s)"
_HEAD = 4


class PostgresPassages:
    """What `isometry export` put into a schema, searched there; make one by `open`.

    Searches see what is there when they begin, to their end, whatever is exported meanwhile. Up to
    20,000 vectors are compared one by one; more are searched in pgvector's graph, if the server's
    planner takes it. Words are ranked by the BM25 of `ChunkIndex.rank_lexical`, computed in SQL out
    of the same terms, each of which a `tsvector` counts 256 times in a passage at most. Safe to use
    from several threads: each search has a connection of its own.

    Attributes:
        shown: Where they lie, without the password.
        schema: The schema of the tables.
    """

    def __init__(self, address: str, shown: str, schema: str, encoder: str) -> None:
        self.shown = shown
        self.schema = schema
        self._address = address
        self._encoder = encoder
        self._idle: deque[Connection] = deque()
        self._connection: Connection | None = None
        self._space: Mapping[str, Any] = {}
        self._extension = ""
        self._filter = Filter(())
        weakref.finalize(self, _close, self._idle)

    @classmethod
    def open(cls, spec: str, encoder: str) -> PostgresPassages:
        """Opens what was exported.

        Args:
            spec: "postgresql://USER@HOST/DATABASE#SCHEMA"; without a schema "isometry" is meant.
            encoder: The fingerprint of what will make the queries' vectors.

        Raises:
            InputError: When the server cannot be reached or nothing was exported there, when
                reading is not allowed, or when another encoder made the vectors.
        """
        address, schema = split_address(spec, FORM)
        passages = cls(address, without_password(spec), schema or SCHEMA, encoder)
        with passages.snapshot():
            return passages

    @property
    def exported(self) -> Exported:
        """What lies there."""
        with self.snapshot() as held:
            return Exported.from_json(held._space)

    @property
    def dim(self) -> int:
        """The length of the vectors."""
        with self.snapshot() as held:
            return held._space["dim"]

    @property
    def chunks(self) -> int:
        """How many passages there are."""
        with self.snapshot() as held:
            return held._space["passages"]

    @contextmanager
    def snapshot(self) -> Iterator[PostgresPassages]:
        """The passages as they are now, whatever is exported within the block.

        Raises:
            InputError: As `open` does; also for what goes wrong within the block.
        """
        import psycopg

        if self._connection is not None:
            yield self
            return
        held = copy.copy(self)
        try:
            held._connection, held._space = self._begin()
            try:
                Exported.from_json(held._space).check_encoder(self._encoder, self.shown)
                yield held
                held._connection.rollback()
            except BaseException:
                held._connection.close()
                raise
            self._idle.append(held._connection)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            raise _nothing(self.shown) from None
        except (psycopg.Error, UnicodeError) as error:
            raise InputError(
                f"Cannot search {self.shown}: {reason(error, self._address)}."
            ) from None
        finally:
            held._connection = None

    def only(self, filter: Filter) -> PostgresPassages:
        """What a search may show of them; numbers of rows and scores stay the same."""
        restricted = copy.copy(self)
        restricted._filter = filter
        return restricted

    def rank_dense(self, vector: Float[np.ndarray, " dim"], k: int) -> Found:
        """The best row of each document by the inner product with a vector.

        Raises:
            InputError: When the vector's length is not that of the passages'.
        """
        with self.snapshot() as held:
            if vector.shape != (held.dim,):
                raise InputError(
                    f"The query has {vector.size} dimensions, {self.shown} {held.dim}.",
                    "Encode queries with the model that made the vectors.",
                )
            asked = written(vector)
            if held.chunks <= _COMPARED:
                return best_of_documents(lambda limit: held._nearest(_COMPARE, asked, limit), k)
            first = max(_CANDIDATES, 3 * k)
            return best_of_documents(lambda limit: held._walk(asked, limit), k, first)

    def rank_lexical(self, query: str, k: int) -> Found:
        """The best row of each document that shares terms with a query, by BM25."""
        with self.snapshot() as held:
            times = Counter(terms(query, held.exported.lexical))
            rows = held._scored(_RANKED, times, {"limit": max(0, k)}) if times else []
        numbers, scores = zip(*rows, strict=True) if rows else ((), ())
        return np.array(numbers, dtype=np.int64), np.array(scores, dtype=np.float32)

    def names(self, numbers: Int[np.ndarray, " rows"]) -> list[str]:
        """The documents of the passages in these rows."""
        found = dict(self._rows(_NAMES, [numbers.tolist()]))
        return [found[number] for number in numbers.tolist()]

    def fetch(self, found: Found) -> list[Hit]:
        """The passages in these rows, in their order."""
        numbers, scores = found
        rows = {row[0]: row[1:] for row in self._rows(_FETCH, [numbers.tolist()])}
        names = ("document", "title", "position", "start", "end", "text")
        return [
            Hit(score=score, **dict(zip(names, rows[number], strict=True)))
            for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)
        ]

    def vectors(self, numbers: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows dim"]:
        """The vectors of the passages in these rows."""
        found = dict(self._rows(_VECTORS, [numbers.tolist()]))
        rows = [np.frombuffer(found[number], ">f4", offset=_HEAD) for number in numbers.tolist()]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.dim)

    def word_scores(
        self, words: Sequence[str], numbers: Int[np.ndarray, " rows"]
    ) -> Float[np.ndarray, "rows words"]:
        """The BM25 of each word alone, for the passages in these rows."""
        scores = np.zeros((len(numbers), len(words)))
        with self.snapshot() as held:
            own = [Counter(terms(word, held.exported.lexical)) for word in words]
            times = Counter(term for counts in own for term in counts)
            rows = held._scored(_OF_ROWS, times, {"numbers": numbers.tolist()}) if times else []
        place = {number: row for row, number in enumerate(numbers.tolist())}
        for number, term, score in rows:
            scores[place[number]] += [counts[term] * score for counts in own]
        return scores

    def close(self) -> None:
        """Closes the connections that are idle."""
        _close(self._idle)

    def _begin(self) -> tuple[Connection, Mapping[str, Any]]:
        """A connection within a transaction that sees one state, and what it says of that."""
        from psycopg import OperationalError

        while True:
            try:
                connection, fresh = self._idle.pop(), False
            except IndexError:
                connection, fresh = self._connect(), True
            try:
                return connection, self._start(connection)
            except BaseException as error:
                connection.close()
                # A server that was started anew has closed what was idle.
                if fresh or not isinstance(error, OperationalError):
                    raise

    def _connect(self) -> Connection:
        from psycopg import IsolationLevel

        connection = connect(self._address)
        try:
            self._extension = extension_schema(connection, self.schema, self.shown)
            connection.rollback()
        except BaseException:
            connection.close()
            raise
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        return connection

    def _start(self, connection: Connection) -> Mapping[str, Any]:
        from psycopg.rows import dict_row
        from psycopg.sql import SQL, Identifier

        # Tables that are exchanged are new tables, which a transaction that began before sees as
        # empty. So they are locked against that first, by statements that take no view yet.
        search_path(connection, self.schema, self._extension)
        # By their schema: without one, tables beside the extension would be taken for them.
        tables = SQL(", ").join(Identifier(self.schema, table) for table in TABLES)
        connection.execute(SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(tables))
        connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
        row = connection.cursor(row_factory=dict_row).execute(_SPACE).fetchone()
        if row is None:
            raise _nothing(self.shown)
        return row

    def _rows(
        self, query: LiteralString, values: Sequence[Any] | Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        from psycopg.sql import SQL

        asked: Composable = SQL(query)
        if isinstance(values, Mapping):
            only, own = _restriction(self._filter)
            asked, values = SQL(query).format(only=only), {**values, **own}
        with self.snapshot() as held:
            assert held._connection is not None
            return held._connection.execute(asked, values).fetchall()

    def _nearest(self, query: LiteralString, vector: str, limit: int) -> Candidates:
        rows = self._rows(query, {"vector": vector, "limit": limit})
        numbers, documents, positions, scores = zip(*rows, strict=True) if rows else ((),) * 4
        return Candidates(
            np.array(numbers, dtype=np.int64),
            list(documents),
            np.array(positions, dtype=np.int32),
            np.array(scores, dtype=np.float32),
        )

    def _walk(self, vector: str, limit: int) -> Candidates:
        most = str(min(_MOST_CANDIDATES, limit))
        self._rows("SELECT set_config('hnsw.ef_search', %s, true)", [most])
        found = self._nearest(_WALK, vector, limit)
        if len(found.documents) < min(limit, self.chunks):
            # Not every vector is always reached over the edges.
            return self._nearest(_COMPARE, vector, limit)
        return found

    def _scored(
        self, query: LiteralString, times: Mapping[str, int], values: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        count = self._space["passages"]
        asked = {
            "terms": list(times),
            "times": [float(value) for value in times.values()],
            "any": " | ".join(map(quoted, times)),
            "passages": count,
            "mean": self._space["terms"] / count if count and self._space["terms"] else 1.0,
            "k1": K1,
            "b": B,
        }
        return self._rows(query, asked | dict(values))


def _restriction(filter: Filter) -> tuple[Composable, dict[str, Any]]:
    """Which passages a filter lets through, and the values in that."""
    from psycopg.sql import SQL, Identifier, Placeholder

    conditions: list[Composable] = []
    values: dict[str, Any] = {}
    for number, condition in enumerate(filter.conditions):
        name = f"filter_{number}"
        values[name] = list(condition.values)
        numbers = condition.column == "order"
        kind = SQL("::int[]" if numbers else "::text[]")
        column: Composable = Identifier(condition.column)
        if condition.is_accented:
            column = SQL("normalize({}, NFC)").format(column)
        conditions.append(
            SQL(_OPERATORS[condition.operator]).format(
                column=column, values=Placeholder(name) + kind
            )
        )
    if not conditions:
        return SQL(""), {}
    ids = SQL("WHERE document IN (SELECT id FROM documents WHERE {})")
    return ids.format(SQL(" AND ").join(conditions)), values


def search_path(connection: Connection, *schemas: str) -> None:
    """Where a transaction looks for tables, types and operators."""
    from psycopg.sql import SQL, Identifier

    names = SQL(", ").join(map(Identifier, dict.fromkeys(schemas)))
    connection.execute(SQL("SET LOCAL search_path = {}").format(names))


def extension_schema(connection: Connection, schema: str, shown: str) -> str:
    """The schema of pgvector.

    Args:
        connection: Of whoever wants to use it.
        schema: Where the tables lie, or will.
        shown: The address, for messages.

    Raises:
        InputError: When the database has none or one that is too old, or a schema is forbidden.
    """
    row = connection.execute(_EXTENSION).fetchone()
    if row is None:
        raise InputError(
            f"The database of {shown} has no extension 'vector'.",
            "Let an administrator run CREATE EXTENSION vector in it; Debian's package is"
            " postgresql-17-pgvector.",
        )
    if tuple(int(part) for part in row[1].split(".")[:2]) < _ITERATIVE_SINCE:
        raise InputError(
            f"The database of {shown} has version {row[1]} of the extension 'vector'.",
            "It takes 0.8 or newer: ALTER EXTENSION vector UPDATE.",
        )
    # The server would say that what lies in it does not exist.
    forbidden = connection.execute(_FORBIDDEN, [[schema, row[0]]]).fetchone()
    if forbidden is not None:
        raise InputError(
            f"{shown}: permission denied for schema {forbidden[0]}.",
            "It takes GRANT USAGE ON SCHEMA.",
        )
    return row[0]


def written(vector: Float[np.ndarray, " dim"]) -> str:
    """A vector as pgvector reads it; nothing is lost."""
    return f"[{','.join(map(repr, vector.astype(np.float32).tolist()))}]"


def quoted(term: str) -> str:
    """A term within a tsvector or tsquery."""
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


def _nothing(shown: str) -> InputError:
    return InputError(f"No Space was exported to {shown}.", "Run: isometry export SPACE ADDRESS")


def _close(connections: deque[Connection]) -> None:
    with suppress(IndexError):
        while True:
            connections.pop().close()
