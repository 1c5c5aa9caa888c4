"""`isometry distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isometry.cli.output import (
    DocumentPrompt,
    IdColumn,
    Json,
    Limit,
    QueryPrompt,
    Quiet,
    Seed,
    TextColumn,
    TitleColumn,
    print_json,
    print_rich,
    progress,
)


def distill(
    teacher: Annotated[
        str,
        typer.Argument(
            help="The encoder to distil: a Space, a model folder, packaged:minilm, or a hub id.",
            show_default=False,
        ),
    ],
    source: Annotated[
        str,
        typer.Option(
            help="Your own texts: a folder, a file, or python:PACKAGE, as fit takes them.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder of the student.", show_default=False)],
    layers: Annotated[
        int | None, typer.Option(help="Keep so many layers, from the lowest.  \\[default: all]")
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(help="Keep so many dimensions.  \\[default: all; 256 with --static]"),
    ] = None,
    static: Annotated[
        bool,
        typer.Option("--static", help="Make a table of word vectors: no layers, very fast."),
    ] = False,
    minutes: Annotated[float, typer.Option(help="How long it may take.")] = 10.0,
    seed: Seed = 0,
    limit: Limit = None,
    query_prompt: QueryPrompt = None,
    document_prompt: DocumentPrompt = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace a distilled model, discard unfinished work with other settings.",
        ),
    ] = False,
    text: TextColumn = None,
    title: TitleColumn = None,
    id: IdColumn = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a smaller encoder, or a table of word vectors, that finds what a bigger one finds.

    Needs no labels and no GPU: the student learns the teacher's vectors of your texts. Makes a
    folder that plain sentence-transformers loads, and says on held-out queries what was lost, and
    how much faster it is.

    A killed run goes on with the same command.

    Examples:
      isometry distill packaged:minilm --layers 2 --dim 128 --source docs/ --out small

      isometry distill docs-space --static --source docs/ --out docs-words
    """
    from isometry.jobs.distill import distill as job

    with progress(quiet):
        record = job(
            teacher,
            source,
            out,
            layers=layers,
            dim=dim,
            static=static,
            minutes=minutes,
            seed=seed,
            text=text,
            title=title,
            id=id,
            limit=limit,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            force=force,
        )
    if as_json:
        print_json({"out": str(out), **record})
        return
    from isometry.report.tables import render_distillation

    print_rich(render_distillation(record), "")
    print_rich(f"The student is in {out}.")
