"""`isometry cut`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from isometry.cli.output import Json, Quiet, print_json, print_rich, progress


def cut(
    model: Annotated[
        str,
        typer.Argument(
            help="What to cut: a Space, a model folder, packaged:minilm, or a hub id.",
            show_default=False,
        ),
    ],
    size: Annotated[
        str,
        typer.Option(help="LAYERSxDIMENSIONS to keep, such as 2x96.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="The folder of the cut.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier cut.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Cut an encoder to its first layers, which is faster, and dimensions, for a smaller index.

    Cut a Space to a size that fit --nested trained it for: its report says how good each is. Other
    cuts are made too, and warned about. Makes a folder that plain sentence-transformers loads.

    The Space itself goes over to the cut by isometry migrate.

    Examples:
      isometry cut docs-space --size 2x96 --out small

      isometry migrate docs-space --model small
    """
    from isometry.jobs.cut import cut as job

    with progress(quiet):
        record = job(model, size, out, force=force)
    if as_json:
        print_json(record)
        return
    from rich.text import Text

    whole = record["from"]
    for warning in record["warnings"]:
        print_rich(Text(f"Note: {warning}", style="yellow"))
    if (test := record["test"]) is not None:
        print_rich(
            f"On {test['queries']:,} held-out queries this size reached"
            f" {100 * test['ndcg@10']:.1f} points of nDCG@10, the whole {100 * test['whole']:.1f}."
        )
    print_rich(
        Text(
            f"{out} has {record['layers']} of {whole['layers']} layers,"
            f" {record['dimensions']} of {whole['dimensions']} dimensions and"
            f" {record['parameters'] / 1e6:,.1f} M of {whole['parameters'] / 1e6:,.1f} M"
            " parameters. A Space goes over to it by: isometry migrate SPACE --model"
            f" {shlex.quote(str(out))}"
        )
    )
