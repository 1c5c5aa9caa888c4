"""`isometry distill`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isometry.cli.output import (
    IdColumn,
    Json,
    Limit,
    Quiet,
    Seed,
    TextColumn,
    TitleColumn,
    print_json,
    print_rich,
    progress,
)

if TYPE_CHECKING:
    from rich.console import RenderableType


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
    force: Annotated[
        bool, typer.Option("--force", help="Replace a distilled model, discard unfinished work.")
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
            force=force,
        )
    if as_json:
        print_json({"out": str(out), **record})
        return
    print_rich(render_distillation(record), "", f"The student is in {out}.")


def render_distillation(record: Mapping[str, Any]) -> RenderableType:
    """Quality against size and speed: teacher, student, and the student before it learnt.

    Args:
        record: What `jobs.distill.distill` returns.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("", "layers", "dim", "parameters", "speed", "nDCG@10", "against the teacher"):
        table.add_column(name, justify="left" if name == "" else "right")
    test, speed = record["test"], record["speed"]
    quality: dict[str, float] = {}
    changes: dict[str, str] = {}
    if test is not None:
        quality = {row["system"]: 100 * row["ndcg@10"] for row in test["rows"]}
        changes = {
            row["what"]: "{:+.1f} [{:+.1f}, {:+.1f}]".format(
                *(100 * row[name] for name in ("difference", "low", "high"))
            )
            for row in test["differences"]
            if row["metric"] == "ndcg@10"
        }
    for name in ("teacher", "student", "untrained"):
        size = record["teacher" if name == "teacher" else "student"]
        factor = 1.0 if name == "teacher" else speed["times_as_fast"]
        table.add_row(
            "student, untrained" if name == "untrained" else name,
            str(size["layers"]) if size["layers"] else "table",
            str(size["dim"]),
            f"{size['parameters'] / 1e6:,.1f} M",
            f"x {factor:,.1f}",
            f"{quality[name]:.1f}" if quality else "",
            changes.get(f"{name} - teacher", ""),
        )
    lines = [
        f"{speed['teacher_texts_a_cpu_second']:,.1f} and"
        f" {speed['student_texts_a_cpu_second']:,.1f} texts a CPU second, on texts of"
        f" {speed['mean_tokens']:.0f} tokens; training kept {record['alpha']:.0%} of its way.",
    ]
    if test is None:
        lines.append("Too few queries can be made from these texts to say how good the student is.")
    else:
        lines.append(
            f"{test['queries']:,} queries made from held-out documents,"
            f" {test['documents']:,} documents; training gained"
            f" {changes['student - untrained']} points."
        )
    return Group(table, Text(), *(Text(line) for line in lines))
