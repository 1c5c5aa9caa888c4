"""A folder, one file, an archive or a package -> the documents of all its files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from isometry.core.errors import InputError, MissingExtraError
from isometry.core.files import hash_file, hash_value
from isometry.corpora.documents import Document, composed
from isometry.corpora.readers import code, epub, markup, other_code, restructured_text
from isometry.corpora.readers.archives import (
    SKIPPED_FOLDERS,
    Member,
    archive_members,
    archive_suffix,
)
from isometry.corpora.readers.compressed import megabytes, read_at_most
from isometry.corpora.readers.kinds import (
    PAGES,
    READABLE,
    TEXTS,
    most_bytes,
    open_member,
    page_of,
    plain_path,
    refused_name,
    suffix_of,
    text_of,
)
from isometry.corpora.readers.reading import ReadingReport, UniqueNames, counted
from isometry.corpora.readers.rows import SQLITE, TABLE_SUFFIXES
from isometry.corpora.readers.sqlite_rows import hash_database
from isometry.corpora.readers.tables import Columns, choose_columns, read_table

__all__ = ["READABLE", "Folder", "suffix_of", "walk"]


def made_here(folder: Path) -> str:
    """Whether a folder is "a Space", "a model" or "unfinished work", no documents; "" for none."""
    if folder.name.endswith(".partial") and _is_file(folder / "run.json"):
        return "unfinished work"
    if any(_is_file(folder / name) for name in ("modules.json", "config.json")) and any(
        next(folder.glob(weights), None) for weights in ("*.safetensors", "*/*.safetensors")
    ):
        return "a model"
    # Other programs may have a space.json, too.
    is_space = _is_file(folder / "space.json") and any(folder.glob("documents*.parquet"))
    return "a Space" if is_space else ""


def _is_file(path: Path) -> bool:
    """Whether this is a file that may be looked at: not so in a disk's lost+found."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def walk(root: Path, skipped: Collection[str] = SKIPPED_FOLDERS) -> list[str]:
    """The sorted POSIX paths of the files below a folder.

    Hidden files and folders, those of the names in `skipped`, and symbolic links are left out: a
    linked page would be its own duplicate. So are Spaces and models below it and unfinished work,
    which a command may have put there. A folder that may not be entered is listed itself.
    """
    found: list[str] = []

    def refused(error: OSError) -> None:
        if error.filename and Path(error.filename) != root:
            found.append(Path(error.filename).relative_to(root).as_posix())

    for folder, folders, files in os.walk(root, onerror=refused):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in skipped
            and name not in SKIPPED_FOLDERS
            and not made_here(Path(folder, name))
        ]
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and _is_file(path) and not path.is_symlink():
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


@dataclass(frozen=True)
class _Survey:
    """What must be known of all files before one is read.

    Attributes:
        links: Where a link leads.
        modules: The names of the Python modules, by path.
        known: These names.
        identifiers: The ids given, apart from the modules' own names: a function may be called as
            a module beside it.
    """

    links: markup.Links
    modules: dict[str, str]
    known: frozenset[str]
    identifiers: UniqueNames


@dataclass
class Folder:
    """Files below one folder, read in the order of their paths.

    Attributes:
        name: What the user typed.
        root: The folder.
        files: POSIX paths below it.
        columns: The columns of the tables among them.
        limit: How many documents to yield at most.
        alone: Whether it is one file that was named itself: then the ids of its table stand for
            themselves. In a folder, where another may come beside it, they begin with its path.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    columns: Columns
    limit: int | None
    alone: bool = False

    def fingerprint(self) -> str:
        """The sha256 of names, contents and options; an archive is one content."""
        contents = {path: self._hash(path) for path in self.files if self._refusal(path) is None}
        columns = [self.columns.text, self.columns.title, self.columns.id]
        return hash_value([contents, columns, self.limit])

    def documents(self, report: ReadingReport) -> Iterator[Document]:
        """Streams the documents; see `Source`."""
        return counted(map(composed, self._read(report)), report, self.name, self.limit)

    def _read(self, report: ReadingReport) -> Iterator[Document]:
        survey = self._survey()
        for member in self._members(report):
            shown, empty = _shown(member.path), True
            try:
                for document in self._documents(member, survey, report):
                    empty = False
                    yield document
            except MissingExtraError as error:
                report.skip(shown, error)
            except InputError as error:
                report.skip(shown, error.message)
            except SyntaxError as error:
                report.skip(shown, f"line {error.lineno}: {error.msg}")
            except Exception as error:  # parsers meet what nobody thought of; a file is no reason
                report.skip(shown, f"cannot be parsed: {type(error).__name__}: {error}")
            else:
                table = suffix_of(member.path) in TABLE_SUFFIXES
                if empty and not table and PurePosixPath(member.path).name != "__init__.py":
                    report.skip(shown, "it holds nothing to read", readable=True)

    def _members(self, report: ReadingReport) -> Iterator[Member]:
        """The files to read, those in archives among them; what is refused goes to the report."""
        for path in self.files:
            report.files += 1
            refusal = self._refusal(path)
            if refusal is not None:
                report.skip(_shown(path), refusal)
            elif archive_suffix(path):
                try:
                    for member in archive_members(self.root / path, path, report):
                        refusal = refused_name(member.path)
                        if refusal is None:
                            yield member
                        else:
                            report.skip(_shown(member.path), refusal)
                except InputError as error:
                    report.skip(path, error.message)
                except Exception as error:  # as of a file: an archive is no reason
                    report.skip(path, f"cannot be read: {type(error).__name__}: {error}")
            else:
                yield Member(path, path, _opener(self.root / path), self.root / path)

    def _survey(self) -> _Survey:
        groups, labels, modules = dict[str, str](), dict[str, str](), dict[str, str]()
        names = UniqueNames()
        for member in self._members(ReadingReport()):
            path, suffix = member.path, suffix_of(member.path)
            if suffix == ".py":
                modules[path] = names.take(code.module_name(plain_path(member.name)))
            if suffix not in TABLE_SUFFIXES:
                groups[path] = modules.get(path, path)
                # A compressed page is linked to by its plain name.
                groups.setdefault(plain_path(path), groups[path])
            if suffix == ".rst":
                try:
                    labels.update(dict.fromkeys(restructured_text.labels(text_of(member)), path))
                except Exception:  # told when it is read
                    continue
        return _Survey(
            markup.Links(groups, labels), modules, frozenset(modules.values()), UniqueNames()
        )

    def _documents(
        self, member: Member, survey: _Survey, report: ReadingReport
    ) -> Iterable[Document]:
        path, suffix = member.path, suffix_of(member.path)
        if suffix in TABLE_SUFFIXES:
            yield from self._table(member, report)
        elif suffix in PAGES:
            page = page_of(member)
            for note in page.notes:
                report.skip(_shown(path), note, readable=True)
            yield from markup.page_documents(page, path, survey.links)
        elif suffix == ".epub":
            with open_member(member) as file:
                yield from epub.read_epub(file, path, report)
        elif suffix == ".py":
            yield from code.read_module(
                text_of(member),
                path,
                module=survey.modules[path],
                modules=survey.known,
                names=survey.identifiers,
            )
        else:
            yield from other_code.read_other_code(text_of(member), path, survey.identifiers)

    def _table(self, member: Member, report: ReadingReport) -> Iterator[Document]:
        if member.file is None:
            raise InputError("a table inside an archive; it is read when unpacked")
        columns = choose_columns(member.file, self.columns)
        prefix = "" if self.alone else f"{member.path}#"
        yield from read_table(member.file, columns, report, shown=member.path, prefix=prefix)

    def _refusal(self, path: str) -> str | None:
        """Why a file is not even opened, if so."""
        try:
            status = (self.root / path).stat()
        except OSError as error:
            return error.strerror
        if stat.S_ISDIR(status.st_mode):
            return "the folder may not be entered"
        refusal = refused_name(path)
        if refusal is not None:
            return refusal
        size, suffix = status.st_size, suffix_of(path)
        if suffix in TEXTS and size > most_bytes(suffix):
            return f"{megabytes(size)} are more than {megabytes(most_bytes(suffix))}"
        return None

    def _hash(self, path: str) -> str:
        try:
            is_database = suffix_of(path) in SQLITE
            return (hash_database if is_database else hash_file)(self.root / path)
        except OSError:
            return "unreadable"


def _shown(path: str) -> str:
    return path.encode("utf-8", errors="replace").decode("utf-8")


def _opener(file: Path) -> Callable[[int], bytes]:
    def read(most: int) -> bytes:
        try:
            with file.open("rb") as stream:
                return read_at_most(stream, most)
        except OSError as error:
            raise InputError(str(error.strerror)) from error

    return read
