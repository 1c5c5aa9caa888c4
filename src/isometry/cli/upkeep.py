"""Commands that change a finished Space: add, migrate, compact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isometry.cli.output import (
    DocumentPrompt,
    IdColumn,
    Json,
    QueryPrompt,
    Quiet,
    TextColumn,
    TitleColumn,
    print_json,
    print_rich,
    print_skipped,
    progress,
)
from isometry.cli.spaces import SpaceFolder


def add(
    space: SpaceFolder,
    source: Annotated[str, typer.Argument(help="What fit takes as a source.")],
    name: Annotated[
        str | None,
        typer.Option(
            help="Under which name the Space knows the source, wherever that lies now. "
            " \\[default: as typed]"
        ),
    ] = None,
    keep_removed: Annotated[
        bool, typer.Option("--keep-removed", help="Keep documents that are no more in the source.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and stop.")
    ] = False,
    text: TextColumn = None,
    title: TitleColumn = None,
    id: IdColumn = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Bring a Space up to date with its source, or add a further one.

    Only new and changed documents are encoded; those that are no more in the source are removed.
    The source is read whole, also where the fit had a --limit.
    Searching goes on meanwhile. A killed run goes on with the same command.

    Examples:
      isometry add docs-space docs/

      isometry add docs-space python:networkx --dry-run
    """
    from isometry.jobs.add import add as job

    with progress(quiet):
        figures = job(
            space,
            source,
            name=name,
            text=text,
            title=title,
            id=id,
            keep_removed=keep_removed,
            dry_run=dry_run,
        )
    if as_json:
        print_json({"space": str(space), **figures})
        return
    counts = ", ".join(
        f"{figures[what]:,} {what}" for what in ("added", "changed", "removed", "unchanged")
    )
    print_rich(
        f"{'Would be' if dry_run else 'Documents'} {counts}"
        f" ({figures['skipped']:,} files or rows skipped);"
        f" {figures['documents']:,} documents in {space}. {figures['seconds']:.1f} s."
    )
    print_skipped(figures)


def migrate(
    space: SpaceFolder,
    model: Annotated[
        str | None,
        typer.Option(help="A folder, packaged:minilm, a hub id, or another Space."),
    ] = None,
    back: Annotated[
        bool, typer.Option("--back", help="Return to the model before the last migration.")
    ] = False,
    query_prompt: QueryPrompt = None,
    document_prompt: DocumentPrompt = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Encode a Space anew with another model, while everybody goes on searching.

    The old model and index stay for --back, until compact --drop-old. A killed run goes on with the
    same command.

    Example:
      isometry migrate docs-space --model packaged:minilm
    """
    from isometry.jobs.migrate import migrate as job

    with progress(quiet):
        figures = job(
            space, model, back=back, query_prompt=query_prompt, document_prompt=document_prompt
        )
    if as_json:
        print_json({"space": str(space), **figures})
        return
    if not figures["migrated"]:
        print_rich(f"Nothing to do: {space} has this model already.")
        return
    from isometry.report.figures import safe_line

    print_rich(
        f"{space} searches with {safe_line(figures['model'])} now ({figures['dim']} dimensions):"
        f" {figures['passages']:,} passages encoded. {figures['seconds']:.1f} s."
    )


def compact(
    space: SpaceFolder,
    keep_hours: Annotated[
        float, typer.Option(help="Keep what was current within so many hours, for its readers.")
    ] = 1.0,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Remove what migrate --back would return to.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Join the pieces of a Space's index, and remove what no reader needs any more.

    Example:
      isometry compact docs-space
    """
    from isometry.jobs.compact import compact as job

    with progress(quiet):
        figures = job(space, keep_hours=keep_hours, drop_old=drop_old)
    if as_json:
        print_json({"space": str(Path(space)), **figures})
        return
    kept = figures["kept_states"]
    print_rich(
        f"{space}: {figures['bytes_before']:,} bytes before, {figures['bytes_after']:,} after"
        + (f"; {kept} former states kept for their readers." if kept else ".")
    )
