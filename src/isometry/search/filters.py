"""Which documents a search may show: conditions on what is known of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from isometry.core.errors import InputError
from isometry.corpora.documents import SCHEMA
from isometry.search.lancedb import ChunkIndex, Hit
from isometry.search.view import Found, Rows, first_shown

# What can be asked for, besides the text that is searched.
COLUMNS = ("id", "title", "context", "group", "order", "kind", "source")
# So few vectors are compared one by one; among more, those that are not shown are passed over.
_COMPARED = 20_000
# Fewer still are fetched at once; among the others of a small table they may lie far down.
_FETCHED = 256
_MOST_VALUES = 1000
# What is no UTF-8, and what PostgreSQL cannot hold.
_UNSTORED = re.compile("[\0\ud800-\udfff]")
# Those of a column of 32 bits.
_NUMBERS = 2**31

_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "gte": pc.greater_equal,  # pyright: ignore[reportAttributeAccessIssue]
    "gt": pc.greater,  # pyright: ignore[reportAttributeAccessIssue]
    "lte": pc.less_equal,  # pyright: ignore[reportAttributeAccessIssue]
    "lt": pc.less,  # pyright: ignore[reportAttributeAccessIssue]
}
OPERATORS = ("in", "not", "prefix", *_COMPARISONS)
# As they are typed.
_TYPED = {
    "!=": "not",
    "^=": "prefix",
    ">=": "gte",
    ">": "gt",
    "<=": "lte",
    "<": "lt",
    "==": "in",
    "=": "in",
}
_TYPED_CONDITION = re.compile(r"\s*(\w+)\s*(!=|\^=|>=|<=|==|>|<|=)\s*(.*?)\s*", re.DOTALL)


class FilterError(InputError):
    """A filter that cannot be applied.

    Attributes:
        place: The part of it that is wrong: columns and operators, joined by dots; empty for all.
        kind: Whether the `column`, the `operator` or the `value` is wrong.
    """

    def __init__(self, message: str, place: str, kind: str) -> None:
        super().__init__(message)
        self.place = place
        self.kind = kind


@dataclass(frozen=True)
class Condition:
    """One condition.

    Attributes:
        column: One of `COLUMNS`.
        operator: One of `OPERATORS`.
        values: What to compare with, composed (Unicode's form NFC), as columns are for it; only
            `in` and `not` take several.
    """

    column: str
    operator: str
    values: tuple[str | int, ...]

    @property
    def is_accented(self) -> bool:
        """Whether Unicode has several forms of what it compares with."""
        return not all(isinstance(value, int) or value.isascii() for value in self.values)

    def mask(self, column: pa.ChunkedArray) -> Any:
        """For which documents it holds."""
        if self.is_accented:
            # Ids and paths are as the file system has them, with accents apart or not.
            column = pc.utf8_normalize(column, form="NFC")  # pyright: ignore[reportAttributeAccessIssue]
        if self.operator in ("in", "not"):
            values = pa.array(self.values, column.type)
            found = pc.is_in(column, values)  # pyright: ignore[reportAttributeAccessIssue]
            if self.operator == "in":
                return found
            # Nothing is known of what is missing: not that it is another value either.
            return pc.and_(pc.is_valid(column), pc.invert(found))  # pyright: ignore[reportAttributeAccessIssue]
        if self.operator == "prefix":
            return pc.starts_with(column, str(self.values[0]))  # pyright: ignore[reportAttributeAccessIssue]
        return _COMPARISONS[self.operator](column, pa.scalar(self.values[0], column.type))


@dataclass(frozen=True)
class Filter:
    """Conditions on documents, all of which must hold; make one by `parse`.

    Attributes:
        conditions: The conditions.
    """

    conditions: tuple[Condition, ...]

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Filter:
        """A filter as it is written in JSON.

        A column is given a value, a list of which any may be there, or operators:
        `{"kind": "code", "group": ["a.md", "b.md"], "source": {"prefix": "docs/"},
        "order": {"gte": 2, "lt": 9}, "title": {"not": ["Index", ""]}}`.

        Args:
            given: From columns to what is asked of them.

        Raises:
            FilterError: For unknown columns and operators, and values of another type.
        """
        conditions: list[Condition] = []
        for column, asked in given.items():
            if column not in COLUMNS:
                there = ", ".join(COLUMNS)
                raise FilterError(
                    f"There is no column '{str(column)[:100]}' to filter by; there are: {there}.",
                    str(column)[:100],
                    "column",
                )
            operators = asked if isinstance(asked, Mapping) else {"in": asked}
            if not operators:
                raise FilterError("It has no operator.", column, "operator")
            for operator, value in operators.items():
                conditions.append(_condition(column, operator, value))
        return cls(tuple(conditions))

    @classmethod
    def parse_text(cls, conditions: Sequence[str]) -> Filter:
        """A filter as it is typed: `kind=code`, `source^=guide/`, `group!=a.md`, `order>=2`.

        Raises:
            FilterError: As `parse` does.
        """
        parsed: list[Condition] = []
        for text in conditions:
            if (match := _TYPED_CONDITION.fullmatch(text)) is None:
                raise FilterError(
                    f"'{text}' is no condition; write, e.g., kind=code or source^=guide/.",
                    "",
                    "operator",
                )
            column, sign, value = match.groups()
            number = column == "order" and re.fullmatch(r"[+-]?\d{1,20}", value)
            asked = {_TYPED[sign]: int(value) if number else value}
            parsed += cls.parse({column: asked}).conditions
        return cls(tuple(parsed))

    def names(self, documents: pa.Table) -> list[str]:
        """The ids of the documents for which it holds.

        Args:
            documents: With `COLUMNS`.
        """
        return documents["id"].filter(self.mask(documents)).to_pylist()

    def mask(self, documents: pa.Table) -> Bool[np.ndarray, " documents"]:
        """For which documents it holds; what is not known of one holds for none.

        Args:
            documents: With the columns that it names.
        """
        holds = np.ones(documents.num_rows, dtype=bool)
        for condition in self.conditions:
            found = condition.mask(documents[condition.column])
            holds &= pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        return holds


def _condition(column: str, operator: object, value: Any) -> Condition:
    place = f"{column}.{operator}"[:100]
    if operator not in OPERATORS:
        there = ", ".join(OPERATORS)
        raise FilterError(
            f"There is no operator '{str(operator)[:100]}'; there are: {there}.",
            place,
            "operator",
        )
    several = isinstance(value, list | tuple) and operator in ("in", "not")
    values: list[Any] = list(value) if several else [value]
    if len(values) > _MOST_VALUES:
        raise FilterError(f"It has more than {_MOST_VALUES:,} values.", place, "value")
    is_number = pa.types.is_integer(SCHEMA.field(column).type)
    if operator == "prefix" and is_number:
        raise FilterError(f"'{column}' is a number and has no prefix.", place, "operator")
    if operator in _COMPARISONS and not is_number:
        raise FilterError(f"'{column}' is no number.", place, "operator")
    for each in values:
        # Neither NaN nor infinity lies between these.
        if is_number and not (
            isinstance(each, int | float)
            and not isinstance(each, bool)
            and -_NUMBERS <= each < _NUMBERS
            and int(each) == each
        ):
            limits = f"from {-_NUMBERS:,} to {_NUMBERS - 1:,}"
            raise FilterError(
                f"'{column}' is compared with whole numbers {limits} only.", place, "value"
            )
        if not is_number and not isinstance(each, str):
            raise FilterError(f"'{column}' is compared with text only.", place, "value")
        if not is_number and _UNSTORED.search(str(each)):
            raise FilterError(f"'{column}' has no such characters in any document.", place, "value")
    made = tuple(int(each) if is_number else unicodedata.normalize("NFC", each) for each in values)
    return Condition(column, str(operator), made)


class FilteredIndex(ChunkIndex):
    """A table of which a search shows some documents only.

    Rows keep their numbers. The best of all are searched, until enough of them may be shown; but
    by vectors, few chunks are compared one by one, which is exact.

    Args:
        index: The table.
        documents: The ids of those that may be shown.
    """

    def __init__(self, index: ChunkIndex, documents: Collection[str]) -> None:
        super().__init__(index._table, index._folder)
        self._index = index
        self._numbers = index.of_documents(documents)
        self._shown = np.zeros(len(index.rows), dtype=bool)
        self._shown[self._numbers] = True

    @property
    def rows(self) -> Rows:
        """Those of the table."""
        return self._index.rows

    @contextmanager
    def snapshot(self) -> Iterator[FilteredIndex]:
        """As the table is."""
        with self._index.snapshot():
            yield self

    def rank_dense(self, vector: Float[np.ndarray, " dim"], k: int) -> Found:
        """As the table does, of what may be shown."""
        # So small a table compares all of its vectors anyway, and has them at hand.
        most = _FETCHED if len(self.rows) <= _COMPARED else _COMPARED
        if len(self._numbers) > most:
            return first_shown(lambda limit: self._index.rank_dense(vector, limit), self._shown, k)
        query = np.ascontiguousarray(vector, dtype=np.float32)
        if query.shape != (self._index.dim,):
            raise InputError(f"The query has {query.size} dimensions, the index {self._index.dim}.")
        scores = np.vecdot(self._index.vectors(self._numbers), query)
        return self.rows.by_document(lambda _: (self._numbers, scores), k, len(scores) + 1)

    def rank_lexical(self, query: str, k: int) -> Found:
        """As the table does, of what may be shown."""
        return first_shown(lambda limit: self._index.rank_lexical(query, limit), self._shown, k)

    def fetch(self, found: Found) -> list[Hit]:
        """As the table does."""
        return self._index.fetch(found)

    def vectors(self, numbers: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows dim"]:
        """As the table does."""
        return self._index.vectors(numbers)

    def word_scores(
        self, words: Sequence[str], numbers: Int[np.ndarray, " rows"]
    ) -> Float[np.ndarray, "rows words"]:
        """As the table does."""
        return self._index.word_scores(words, numbers)
