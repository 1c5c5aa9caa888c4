"""What the user typed -> a source of documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isometry.core.errors import InputError
from isometry.core.postgres import SCHEMES
from isometry.corpora.readers import hub_rows, postgres_rows, sqlite_rows
from isometry.corpora.readers.arrow_rows import saved_dataset
from isometry.corpora.readers.folders import READABLE, Folder, made_here, suffix_of, walk
from isometry.corpora.readers.packages import package_files
from isometry.corpora.readers.reading import ReadingReport, Skipped, Source
from isometry.corpora.readers.rows import SQLITE, table_suffix
from isometry.corpora.readers.tables import Columns, TableSource, choose_columns
from isometry.corpora.readers.wordnet import open_wordnet

__all__ = ["ReadingReport", "Skipped", "Source", "open_source"]


def open_source(
    spec: str | Path,
    *,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    limit: int | None = None,
) -> Source:
    """Opens what the user typed and checks what is cheap.

    - A folder or a file. A folder in BEIR's layout (`corpus.jsonl` beside `queries.jsonl`) is its
      corpus alone; one that `datasets.save_to_disk` wrote is its table.
    - `python:PACKAGE` (`python:stdlib`): an installed package, which is not imported.
    - `sqlite:PATH#TABLE`, `postgresql://USER@HOST/DATABASE#SCHEMA.TABLE`: a table or a view.
    - `hf:OWNER/NAME#CONFIG/SPLIT`: a data set of the Hugging Face hub.
    - `wordnet:` or `wordnet:FOLDER`.

    Args:
        spec: One of these.
        text: The column of a table that holds the text.
        title: The column that holds the title.
        id: The column that holds the id.
        limit: Yield only this many documents, the first.

    Raises:
        InputError: When there is nothing to read, or a column is not there.
    """
    name, columns = str(spec), Columns(text, title, id)
    if limit is not None and limit < 1:
        raise InputError(f"--limit must be at least 1, not {limit}.")
    scheme, colon, rest = name.partition(":")
    if name.startswith(SCHEMES):
        return TableSource.open(postgres_rows.open_table(name), columns, limit)
    if colon and scheme == "hf":
        return TableSource.open(hub_rows.open_dataset(rest), columns, limit)
    if colon and scheme == "sqlite":
        return TableSource.open(sqlite_rows.open_table(rest, columns), columns, limit)
    if colon and scheme == "wordnet":
        _refuse_columns(name, columns)
        return open_wordnet(rest, name=name, limit=limit)
    if colon and scheme == "python":
        root, files = package_files(rest)
        return _folder(name, root, files, columns, limit)
    path = _local(name)
    if path.is_dir() and (saved := saved_dataset(path)) is not None:
        return TableSource.open(saved, columns, limit)
    if path.is_file() and table_suffix(path.name) in SQLITE:
        # Not as a file: what was written last may stand in a log beside it.
        return TableSource.open(sqlite_rows.only_table(path, columns), columns, limit)
    if path.is_dir() and all((path / f"{part}.jsonl").is_file() for part in ("corpus", "queries")):
        path = path / "corpus.jsonl"
    return _folder(name, *_files(name, path), columns, limit, alone=path.is_file())


def _folder(
    name: str,
    root: Path,
    files: tuple[str, ...],
    columns: Columns,
    limit: int | None,
    *,
    alone: bool = False,
) -> Folder:
    tables = [path for path in files if table_suffix(path)]
    if not tables:
        _refuse_columns(name, columns)
    elif len(files) == 1:
        choose_columns(root / files[0], columns)
    elif columns.named():
        _check_columns(name, root, tables, columns)
    return Folder(name, root, files, columns, limit, alone)


def _check_columns(name: str, root: Path, tables: Sequence[str], columns: Columns) -> None:
    """Refuses columns that no table of a folder has: it would be read without its tables."""
    for path in tables:
        try:
            choose_columns(root / path, columns)
        except InputError:
            continue
        return
    wanted = ", ".join(f"'{column}'" for column in columns.named())
    raise InputError(
        f"None of the {len(tables)} tables in {name} can be read by the columns {wanted}.",
        f"Give one of them, {tables[0]} for instance, to see which columns it has.",
    )


def _refuse_columns(name: str, columns: Columns) -> None:
    if columns.named():
        raise InputError(f"{name} holds no table, so it has no column '{columns.named()[0]}'.")


def _local(name: str) -> Path:
    if "://" in name:
        raise InputError(f"{name} is an address.", "Download it and give the local path.")
    if not name.strip():
        raise InputError("The source is empty.", "Give a folder or a file; . is the present one.")
    path = Path(name).expanduser()
    try:
        there = path.exists()
    except PermissionError:
        raise InputError(f"{name} may not be looked at.", "Ask who owns it.") from None
    if not there:
        raise InputError(
            f"There is no file or folder {name}.",
            "Give a path, python:PACKAGE for the source of an installed package, sqlite:PATH#TABLE,"
            " postgresql://..., hf:OWNER/NAME or wordnet:.",
        )
    return path


def _files(name: str, path: Path) -> tuple[Path, tuple[str, ...]]:
    if path.is_dir():
        kind = made_here(path)
        # A program's own folder may have a config.json, too, and a model somewhere below.
        if kind and (kind != "a model" or any(path.glob("*.safetensors"))):
            raise InputError(
                f"{name} is {kind}, no documents.", "Give what the documents were read from."
            )
        files = tuple(walk(path))
        if not files:
            raise InputError(
                f"The folder {name} is empty: hidden files, links and Spaces do not count."
            )
        return path, files
    suffix = suffix_of(path.name)
    if suffix not in READABLE:
        raise InputError(
            f"Cannot read {name}: no reader for "
            + (f"'{suffix}' files." if suffix else "files without an ending."),
            "Save .json as .jsonl (one object a line), .doc as .docx; docs/fit-your-documents.md"
            " lists what can be read.",
        )
    return path.parent, (path.name,)
