"""What a merge shall be good at: documents, with people's queries to them where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isometry.core.errors import InputError
from isometry.core.workspace import Workspace
from isometry.corpora.readers import Source, open_source
from isometry.corpora.readers.folders import Folder
from isometry.corpora.readers.judgements import beir_judgements
from isometry.corpora.readers.rows import table_suffix
from isometry.corpora.readers.tables import TableSource
from isometry.jobs.preparation import Prepared, prepare


@dataclass(frozen=True)
class Task:
    """A source, and what was asked of it.

    Attributes:
        source: The documents.
        judged: The files of queries and judgements; None where queries are made from documents.
    """

    source: Source
    judged: tuple[Path, Path] | None = None

    def prepared(self, work: Workspace, seed: int) -> Prepared:
        """The documents and their queries, divided as a fit with this seed divides them.

        Raises:
            InputError: When there are too few documents, or the judgements do not fit them.
        """
        queries, judgements = self.judged or (None, None)
        return prepare(work, self.source, seed=seed, queries=queries, judgements=judgements)


def open_tasks(
    sources: Sequence[str | Path],
    *,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
) -> list[Task]:
    """Opens sources as `fit` takes them; a folder in BEIR's layout with its queries.

    Args:
        sources: Each is a task of its own.
        text: The column that holds the text, of those that are tables.
        title: The column that holds the title.
        id: The column that holds the id.

    Raises:
        InputError: As `open_source` and `beir_judgements` do; and for columns where no source is a
            table.
    """
    tasks: list[Task] = []
    tables = False
    refused: list[InputError] = []
    for one in map(str, sources):
        judged = beir_judgements(Path(one).expanduser())
        try:
            # BEIR's layout says what its columns are called.
            columns = (None, None, None) if judged else (text, title, id)
            source = open_source(one, text=columns[0], title=columns[1], id=columns[2])
        except InputError as error:
            plain = _without_table(one)
            if plain is None:
                raise
            refused.append(error)
            source = plain
        else:
            tables = tables or not judged
        tasks.append(Task(source, judged))
    if refused and not tables:
        raise refused[0]
    if tasks and not tables and (text, title, id) != (None, None, None):
        raise InputError(
            "--text, --title and --id name columns of tables, and BEIR's layout says them itself.",
            "Leave them out.",
        )
    return tasks


def _without_table(spec: str) -> Source | None:
    """A source that can be read but has no table, so no columns; else None."""
    try:
        source = open_source(spec)
    except InputError:
        return None
    if isinstance(source, TableSource):
        return None
    if isinstance(source, Folder) and any(table_suffix(path) for path in source.files):
        return None
    return source
