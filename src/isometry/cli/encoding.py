"""`isometry encode`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from isometry.cli.output import (
    DocumentPrompt,
    IdColumn,
    Json,
    Limit,
    QueryPrompt,
    Quiet,
    TextColumn,
    TitleColumn,
    print_json,
    print_rich,
    print_skipped,
    progress,
)

# As in encoders.text, which needs torch.
Precision = Annotated[
    Literal["float32", "bfloat16"],
    typer.Option(help="Number format to compute in; bfloat16 may be faster."),
]


def encode(
    model: Annotated[
        str,
        typer.Argument(help="A Space, a model folder, packaged:minilm, or a hub id."),
    ],
    source: Annotated[str, typer.Argument(help="What fit takes as a source.")],
    out: Annotated[str, typer.Option(help="The Parquet file to write.", show_default=False)],
    role: Annotated[
        Literal["query", "document"], typer.Option(help="Whose prompt to use.")
    ] = "document",
    query_prompt: QueryPrompt = None,
    document_prompt: DocumentPrompt = None,
    text: TextColumn = None,
    title: TitleColumn = None,
    id: IdColumn = None,
    limit: Limit = None,
    precision: Precision = "float32",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace an existing file, discard unfinished work with other settings.",
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Encode texts to a Parquet file: id, text, and vector as a fixed-size list.

    A killed run goes on with the same command. Of the prompts that of --role is used alone.

    Example:

      isometry encode docs-space tickets.csv --text body --out tickets.parquet
    """
    from isometry.jobs.encode import encode as job

    with progress(quiet):
        figures = job(
            model,
            source,
            out,
            role=role,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            text=text,
            title=title,
            id=id,
            limit=limit,
            precision=precision,
            force=force,
        )
    if as_json:
        print_json(figures)
        return
    print_rich(
        f"{figures['texts']:,} vectors of {figures['dim']} dimensions in {figures['out']};"
        f" {figures['truncated']:,} texts were longer than the model reads."
        + (
            f" {figures['blank']:,} have no token that the model knows: their vectors are zero."
            if figures["blank"]
            else ""
        )
        + (f" {figures['skipped']:,} files or rows were skipped:" if figures["skipped"] else "")
    )
    print_skipped(figures)
