"""`isometry evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isometry.cli.encoding import Precision
from isometry.cli.output import (
    DOCUMENT_PROMPT_HELP,
    MODEL_PANEL,
    QUERY_PROMPT_HELP,
    IdColumn,
    Json,
    Quiet,
    TextColumn,
    TitleColumn,
    print_json,
    print_rich,
    print_skipped,
    progress,
)


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Spaces, model folders, packaged:minilm, hub ids; the first is the one"
            " that the others are compared with."
        ),
    ],
    beir: Annotated[
        Path | None,
        typer.Option(
            help="A folder with corpus.jsonl, queries.jsonl and qrels/test.tsv; or dev.tsv,"
            " validation.tsv, or the only file in qrels/."
        ),
    ] = None,
    documents: Annotated[
        str | None, typer.Option(help="A source as fit takes it, with the two that follow.")
    ] = None,
    queries: Annotated[Path | None, typer.Option(help="JSONL with _id and text, or TSV.")] = None,
    judgements: Annotated[
        Path | None, typer.Option(help="BEIR's, TREC's or MS MARCO's layout.")
    ] = None,
    text: TextColumn = None,
    title: TitleColumn = None,
    id: IdColumn = None,
    query_prompt: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{QUERY_PROMPT_HELP} Once for each model that is no Space.",
            show_default=False,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    document_prompt: Annotated[
        list[str] | None,
        typer.Option(help=DOCUMENT_PROMPT_HELP, show_default=False, rich_help_panel=MODEL_PANEL),
    ] = None,
    precision: Precision = "float32",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare models on queries with known answers, by vectors, by words and by both.

    Words are matched as the first Space among the models does; without one, by the documents'
    language, as fit would.

    Example:

      isometry evaluate packaged:minilm docs-space --beir my-dataset/
    """
    from isometry.jobs.evaluate import evaluate as job

    with progress(quiet):
        result = job(
            models,
            beir=beir,
            documents=documents,
            queries=queries,
            judgements=judgements,
            text=text,
            title=title,
            id=id,
            query_prompts=query_prompt or (),
            document_prompts=document_prompt or (),
            precision=precision,
        )
    if as_json:
        print_json(result)
        return
    from isometry.report.tables import comparison_size, render_comparison

    print_rich(render_comparison(result["rows"]))
    print_rich(comparison_size(result["rows"], result["documents"]))
    for one in result["models"]:
        prompts = (("queries", one["query_prompt"]), ("documents", one["document_prompt"]))
        if said := [f"{prompt!r} before {whose}" for whose, prompt in prompts if prompt]:
            print_rich(f"{one['model']}: {' and '.join(said)}.")
    left_out = [
        f"{result[what]:,} {name}"
        for what, name in (
            ("dropped_queries", "queries without a relevant document"),
            ("skipped", "files or rows that could not be read"),
        )
        if result[what]
    ]
    if left_out:
        print_rich(f"Left out: {', '.join(left_out)}.")
    print_skipped(result)
