"""What every reader shares: the report of a reading, and names that are given only once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from isometry.core.errors import InputError
from isometry.corpora.documents import Document

_WORD = re.compile(r"[^\W_]")
# Of what was skipped.
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was not read, and why; one line each.

    Attributes:
        path: Where it stands.
        reason: Why.
        readable: Whether it could be read and held nothing, or less: what it once held is gone.
    """

    path: str
    reason: str
    readable: bool = False


@dataclass
class ReadingReport:
    """What a reading has met so far; filled while the documents stream.

    Attributes:
        files: Files looked at, the skipped ones among them.
        documents: Documents yielded.
        skipped: Files, rows and parts that could not be read.
    """

    files: int = 0
    documents: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, path: str, reason: object, *, readable: bool = False) -> None:
        """Notes that something was not read; see `Skipped`."""
        self.skipped.append(Skipped(path, " ".join(str(reason).split()), readable))


def skipped_first(report: ReadingReport) -> list[dict[str, str]]:
    """Place and reason of what was skipped first, for whoever shall look."""
    return [{"path": one.path, "reason": one.reason} for one in report.skipped[:_LISTED]]


class Source(Protocol):
    """Something that documents can be read from."""

    name: str

    def fingerprint(self) -> str:
        """The sha256 of names, contents and the options that change documents; parses nothing."""
        ...

    def documents(self, report: ReadingReport) -> Iterator[Document]:
        """Streams the documents and fills the report on the way.

        Raises:
            InputError: At the end, when there was not one document.
        """
        ...


class UniqueNames:
    """Gives every name once: a repeated "name" becomes "name-2", then "name-3"."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def take(self, name: str) -> str:
        """The name itself, or the name with the first free number."""
        number = self._taken.get(name, 0) + 1
        candidate = name if number == 1 else f"{name}-{number}"
        while candidate in self._taken:
            number += 1
            candidate = f"{name}-{number}"
        self._taken[name] = number
        self._taken.setdefault(candidate, 1)
        return candidate


def in_one_piece(text: str) -> str:
    """Prose without soft hyphens: they only say where a line may break, and would cut words."""
    return text.replace("\u00ad", "")


def as_read(query: str) -> str:
    """A query as documents are read: composed (Unicode's form NFC), without soft hyphens."""
    return unicodedata.normalize("NFC", in_one_piece(query))


def has_words(text: str) -> bool:
    """Whether there is a letter or a digit; blanks, punctuation and emoji are no words."""
    return _WORD.search(text) is not None


def counted(
    documents: Iterator[Document], report: ReadingReport, name: str, limit: int | None
) -> Iterator[Document]:
    """Passes the first `limit` documents on and counts them.

    Raises:
        InputError: At the end, when there was not one document.
    """
    empty = True
    for document in islice(documents, limit):
        empty = False
        report.documents += 1
        yield document
    if empty:
        reasons = "; ".join(f"{item.path}: {item.reason}" for item in report.skipped[:3])
        raise InputError(
            f"Nothing to read in {name}: {report.files} files looked at,"
            f" {len(report.skipped)} files or rows skipped.",
            f"The first reasons: {reasons}." if reasons else "They hold no words.",
        )
