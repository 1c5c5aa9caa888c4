"""What the user typed -> a source of documents."""

from __future__ import annotations

from pathlib import Path

from isometry.core.errors import InputError
from isometry.corpora.readers.folders import READABLE, Folder, suffix_of, walk
from isometry.corpora.readers.packages import package_files
from isometry.corpora.readers.reading import ReadingReport, Skipped, Source
from isometry.corpora.readers.rows import TABLE_SUFFIXES
from isometry.corpora.readers.tables import Columns, choose_columns

__all__ = ["ReadingReport", "Skipped", "Source", "open_source"]


def open_source(
    spec: str | Path,
    *,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    limit: int | None = None,
) -> Source:
    """Opens a folder, a file, or `python:PACKAGE` (`python:stdlib`) and checks what is cheap.

    A folder in BEIR's layout (`corpus.jsonl` beside `queries.jsonl`) is its corpus alone.

    Args:
        spec: A path, or "python:" and the name of an installed package, which is not imported.
        text: The column of a table that holds the text.
        title: The column that holds the title.
        id: The column that holds the id.
        limit: Yield only this many documents, the first.

    Raises:
        InputError: When there is nothing to read, or a column is not there.
    """
    name, columns = str(spec), Columns(text, title, id)
    if limit is not None and limit < 1:
        raise InputError(f"A limit of {limit} documents leaves none.")
    if name.startswith("python:"):
        root, files = package_files(name.removeprefix("python:"))
    else:
        root, files = _local_files(name)
    tables = [path for path in files if suffix_of(path) in TABLE_SUFFIXES]
    if columns.named() and not tables:
        raise InputError(f"{name} holds no table, so it has no column '{columns.named()[0]}'.")
    if len(files) == 1 and tables:
        choose_columns(root / files[0], columns)
    return Folder(name, root, files, columns, limit)


def _local_files(name: str) -> tuple[Path, tuple[str, ...]]:
    path = Path(name).expanduser()
    if "://" in name:
        raise InputError(f"{name} is an address.", "Download it and give the local path.")
    if not path.exists():
        raise InputError(
            f"There is no file or folder {name}.",
            "Give a path, or python:PACKAGE for the source of an installed package.",
        )
    if path.is_dir() and all((path / f"{part}.jsonl").is_file() for part in ("corpus", "queries")):
        path = path / "corpus.jsonl"
    if path.is_dir():
        files = tuple(walk(path))
        if not files:
            raise InputError(f"The folder {name} is empty (hidden files and links do not count).")
        return path, files
    if suffix_of(path.name) not in READABLE:
        raise InputError(
            f"Cannot read {name}: no reader for this kind of file.",
            "Text, Markdown, reStructuredText, HTML, source code, JSONL, CSV, TSV and Parquet"
            " can be read.",
        )
    return path.parent, (path.name,)
