"""A folder, one file or a package -> the documents of all its files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from isometry.core.errors import InputError
from isometry.core.files import hash_file, hash_value
from isometry.corpora.documents import Document
from isometry.corpora.readers import code, html, markdown, markup, other_code, restructured_text
from isometry.corpora.readers.decoding import decode, is_binary
from isometry.corpora.readers.reading import ReadingReport, UniqueNames, counted
from isometry.corpora.readers.rows import TABLE_SUFFIXES
from isometry.corpora.readers.tables import Columns, choose_columns, read_table

_MARKUP = {
    ".txt": markup.read_plain,
    ".md": markdown.read_markdown,
    ".markdown": markdown.read_markdown,
    ".rst": restructured_text.read_restructured_text,
    ".html": html.read_html,
    ".htm": html.read_html,
}
READABLE = frozenset({".py", *_MARKUP, *other_code.SUFFIXES, *TABLE_SUFFIXES})
_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__"})
_MOST_BYTES = 20 * 1024 * 1024


def suffix_of(path: str) -> str:
    """What decides how a file is read; Sphinx's copies "page.rst.txt" are ".rst"."""
    name = path.lower()
    return ".rst" if name.endswith(".rst.txt") else PurePosixPath(name).suffix


def walk(root: Path, skipped: Collection[str] = _SKIPPED_FOLDERS) -> list[str]:
    """The sorted POSIX paths of the files below a folder.

    Hidden files and folders, those of the names in `skipped`, and symbolic links are left out: a
    linked page would be its own duplicate.
    """
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in skipped and name not in _SKIPPED_FOLDERS
        ]
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


@dataclass
class Folder:
    """Files below one folder, read in the order of their paths.

    Attributes:
        name: What the user typed.
        root: The folder.
        files: POSIX paths below it.
        columns: The columns of the tables among them.
        limit: How many documents to yield at most.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    columns: Columns
    limit: int | None

    def fingerprint(self) -> str:
        """The sha256 of names, contents and options."""
        contents = {path: self._hash(path) for path in self.files if self._refusal(path) is None}
        columns = [self.columns.text, self.columns.title, self.columns.id]
        return hash_value([contents, columns, self.limit])

    def documents(self, report: ReadingReport) -> Iterator[Document]:
        """Streams the documents; see `Source`."""
        return counted(self._read(report), report, self.name, self.limit)

    def _read(self, report: ReadingReport) -> Iterator[Document]:
        names = UniqueNames()
        modules = {
            path: names.take(code.module_name(path)) for path in self.files if path.endswith(".py")
        }
        groups = {path: path for path in self.files if suffix_of(path) not in TABLE_SUFFIXES}
        links = markup.Links(groups | modules, self._labels())
        # Ids, apart from the modules' own names: a function may be called as a module beside it.
        identifiers = UniqueNames()
        known = frozenset(modules.values())
        for path in self.files:
            report.files += 1
            shown = path.encode("utf-8", errors="replace").decode("utf-8")
            refusal = self._refusal(path)
            if refusal is not None:
                report.skip(shown, refusal)
                continue
            try:
                if suffix_of(path) in TABLE_SUFFIXES:
                    yield from self._table(path, report)
                    continue
                text = self._text(path)
                if path.endswith(".py"):
                    found = code.read_module(
                        text, path, module=modules[path], modules=known, names=identifiers
                    )
                elif suffix_of(path) in other_code.SUFFIXES:
                    found = other_code.read_other_code(text, path)
                else:
                    page = _MARKUP[suffix_of(path)](text)
                    found = markup.page_documents(page, path, links)
            except InputError as error:
                report.skip(shown, error.message)
            except SyntaxError as error:
                report.skip(shown, f"line {error.lineno}: {error.msg}")
            except Exception as error:  # parsers meet what nobody thought of; a file is no reason
                report.skip(shown, f"cannot be parsed: {type(error).__name__}: {error}")
            else:
                if not found and PurePosixPath(path).name != "__init__.py":
                    report.skip(shown, "it holds nothing to read")
                yield from found

    def _refusal(self, path: str) -> str | None:
        """Why a file is not even opened, if so."""
        suffix = suffix_of(path)
        if suffix not in READABLE:
            return f"no reader for '{suffix}' files" if suffix else "no file extension"
        try:
            path.encode()
            size = (self.root / path).stat().st_size
        except UnicodeEncodeError:
            return "its name is not UTF-8"
        except OSError as error:
            return error.strerror
        if size > _MOST_BYTES and suffix not in TABLE_SUFFIXES:
            return f"{size / 2**20:.0f} MB are more than {_MOST_BYTES >> 20} MB"
        return None

    def _text(self, path: str) -> str:
        try:
            data = (self.root / path).read_bytes()
        except OSError as error:
            raise InputError(str(error.strerror)) from error
        if is_binary(data):
            raise InputError("binary")
        text = decode(data)
        if text is None:
            raise InputError("unknown encoding")
        return text

    def _table(self, path: str, report: ReadingReport) -> Iterator[Document]:
        columns = choose_columns(self.root / path, self.columns)
        yield from read_table(
            self.root / path, columns, report, shown=path, prefix=f"{path}#" * (len(self.files) > 1)
        )

    def _labels(self) -> dict[str, str]:
        """Where the labels of the reStructuredText pages stand: a link may name one ahead of it."""
        found: dict[str, str] = {}
        for path in self.files:
            if suffix_of(path) == ".rst" and self._refusal(path) is None:
                try:
                    text = self._text(path)
                except InputError:
                    continue
                found.update(dict.fromkeys(restructured_text.labels(text), path))
        return found

    def _hash(self, path: str) -> str:
        try:
            return hash_file(self.root / path)
        except OSError:
            return "unreadable"
