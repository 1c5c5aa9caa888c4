"""`isometry fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isometry.cli.output import (
    MODEL_PANEL,
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

_LABELS = "Labels, if you have some"
_WRITER = "Queries written by a language model"


def fit(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder or file (documents, source code, tables, archives), python:PACKAGE,"
            " sqlite:PATH#TABLE, postgresql://USER@HOST/DB#SCHEMA.TABLE,"
            " hf:OWNER/NAME\\[#CONFIG/SPLIT] or wordnet:\\[FOLDER].",
            show_default=False,
        ),
    ],
    base: Annotated[
        str,
        typer.Option(
            help="The encoder to start from: a folder, packaged:minilm, or a hub id.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = "packaged:minilm",
    out: Annotated[
        Path | None, typer.Option(help="The folder of the Space.  \\[default: SOURCE-space]")
    ] = None,
    minutes: Annotated[
        float,
        typer.Option(help="How long it may take; encoding the final index comes on top."),
    ] = 10.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its estimate, and stop.")
    ] = False,
    plan: Annotated[
        Path | None,
        typer.Option(help="Follow a plan (of a Space, or of --dry-run --json), not the clock."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace a finished Space, discard unfinished work with other settings.",
        ),
    ] = False,
    seed: Seed = 0,
    limit: Limit = None,
    threads: Annotated[
        int | None, typer.Option(help="Processor threads.  \\[default: all]")
    ] = None,
    query_prompt: QueryPrompt = None,
    document_prompt: DocumentPrompt = None,
    nested: Annotated[
        str | None,
        typer.Option(
            help="Train smaller sizes too, as LAYERSxDIMENSIONS that rise, such as 2x96,4x192;"
            " isometry cut makes models of them. The whole may gain less.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries that people asked: JSONL with _id and text, TSV or TREC topics.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    judgements: Annotated[
        Path | None,
        typer.Option(
            help="Which documents answer them: BEIR's, TREC's or MS MARCO's layout.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="Both in one: JSONL with query and document (an id).", rich_help_panel=_LABELS
        ),
    ] = None,
    query_writer: Annotated[
        str | None,
        typer.Option(
            help="The address of an OpenAI-compatible server, such as http://localhost:11434/v1,"
            " whose model writes training queries. Passages of your training documents are sent to"
            " it. Its key, if any: ISOMETRY_QUERY_KEY in the environment (OpenAI's own:"
            " OPENAI_API_KEY).",
            rich_help_panel=_WRITER,
        ),
    ] = None,
    query_model: Annotated[
        str | None,
        typer.Option(
            help="The model that writes them, as that server names it.", rich_help_panel=_WRITER
        ),
    ] = None,
    text: TextColumn = None,
    title: TitleColumn = None,
    id: IdColumn = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Tune an encoder on your own documents, and prove on held-out data what that did.

    Needs no labels and no GPU. Makes a Space: a folder with the model (plain sentence-transformers
    loads it), an index to search, and report.html, which says first whether it got better, by how
    much, and how sure that is. Where tuning does not help, the base model is kept.

    A killed run goes on with the same command.

    Examples:
      isometry fit docs/

      isometry fit tickets.csv --text body --title subject --minutes 30

      isometry fit python:networkx --base ./my-model --out networkx-space

      isometry fit docs/ --nested 2x96,4x192 --out nested-space
    """
    from isometry.jobs import fit as job

    settings = job.FitSettings(
        source=source,
        base=base,
        minutes=minutes,
        seed=seed,
        text=text,
        title=title,
        id=id,
        limit=limit,
        queries=None if queries is None else str(queries),
        judgements=None if judgements is None else str(judgements),
        pairs=None if pairs is None else str(pairs),
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        query_writer=query_writer,
        query_model=query_model,
        threads=threads,
        nested=nested,
    )
    with progress(quiet):
        if dry_run:
            if plan is not None:
                from isometry.core.errors import InputError

                raise InputError("--dry-run makes a plan, and follows none.", "Leave --plan out.")
            made, facts = job.plan_only(settings)
            if as_json:
                print_json({**made.to_json(), "data": facts})
            else:
                from isometry.report.tables import render_plan

                print_rich(render_plan(made.to_json(), facts))
            return
        space = job.fit_by(settings, out=out, plan=plan, force=force)
    if as_json:
        print_json({"space": str(space.folder), **space.manifest})
        return
    from isometry.report.summary import render_summary

    print_rich(
        render_summary(space.manifest, space=space.folder, model=space.model, report=space.report)
    )
