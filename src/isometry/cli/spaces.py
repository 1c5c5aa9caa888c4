"""Commands about a finished Space: search, info, verify; and the models at hand."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from isometry.cli.output import Json, Quiet, print_json, print_rich, progress

if TYPE_CHECKING:
    from rich.console import RenderableType

    from isometry.search.explanation import Contribution

# So many contributions of a side are printed by name.
_REASONS = 8

SpaceFolder = Annotated[Path, typer.Argument(help="The folder that fit made.", show_default=False)]


def search(
    space: SpaceFolder,
    query: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    k: Annotated[int, typer.Option("-k", help="How many documents.")] = 5,
    mode: Annotated[
        Literal["hybrid", "dense", "lexical"],
        typer.Option(help="By vectors (dense), by words (lexical), or both."),
    ] = "hybrid",
    filter: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help="Find only documents with, e.g., kind=code, source^=guide/ (begins; below the"
            " source), group!=a.md, 'order>=2' (quoted, for the shell). Columns: id, title (the"
            " last heading alone), context (those above it), group, order, kind, source. May be"
            " repeated.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="Where export has put the passages: postgresql://..., s3://...  \\[default: SPACE]"
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which concepts and words make up each score.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Search a Space.

    Examples:
      isometry search docs-space "how do I rotate the keys" -k 3 --explain

      isometry search docs-space "rotate" --filter source^=guide/ --filter kind=prose

      isometry search docs-space "how do I rotate the keys" --at postgresql://me@localhost/shop#docs
    """
    from isometry.search.filters import Filter
    from isometry.space import Space

    chosen = Filter.parse_text(filter) if filter else None
    why: list[list[Contribution]] = []
    with progress(quiet):
        opened = Space.open(space)
        opened = opened if at is None else opened.at(at)
        if explain:
            explained = opened.explain(query, k, mode, filter=chosen)
            results, why = [each for each, _ in explained], [each for _, each in explained]
        else:
            results = opened.search(query, k, mode, filter=chosen)
    if as_json:
        rows = [asdict(result) for result in results]
        for row, parts in zip(rows, why, strict=False):
            row["contributions"] = [asdict(part) for part in parts]
        print_json({"query": query, "mode": mode, "results": rows})
        return
    if not results:
        print_rich("Nothing found.")
        return
    from rich.console import Group
    from rich.text import Text

    from isometry.report.figures import safe_line

    blocks: list[RenderableType] = []
    for number, result in enumerate(results, 1):
        places = ", ".join(
            f"{name} {rank}"
            for name, rank in (("dense", result.dense_rank), ("lexical", result.lexical_rank))
            if rank is not None
        )
        head = Text(f"{number}. ") + Text(safe_line(result.document), style="bold")
        head += Text(f"  {result.score:.4f}  ({places})", style="dim")
        blocks += [head, *(_reasons(why[number - 1]) if why else ()), _marked(result.text, query)]
        blocks.append(Text(""))
    print_rich(Group(*blocks))


def _reasons(found: list[Contribution]) -> list[RenderableType]:
    """A line for each side: what it adds, and the concepts or words that make it up."""
    from rich.padding import Padding
    from rich.text import Text

    from isometry.report.figures import safe_line

    lines: list[RenderableType] = []
    for side in dict.fromkeys(part.side for part in found):
        own = [part for part in found if part.side == side]
        shown = [f"{safe_line(part.name)} {part.value:+.3f}" for part in own[:_REASONS]]
        if others := own[_REASONS:]:
            shown.append(f"{len(others)} others {sum(part.value for part in others):+.3f}")
        line = Text(f"{side} {sum(part.value for part in own):+.4f} = ", style="dim")
        line += Text("; ".join(shown), style="cyan")
        lines.append(Padding(line, (0, 0, 0, 3), expand=False))
    return lines


def _marked(text: str, query: str) -> RenderableType:
    """The passage's first lines, with the query's words in bold."""
    from rich.padding import Padding
    from rich.text import Text

    from isometry.report.figures import safe_code

    lines = [line for line in text.splitlines() if line.strip()][:6]
    shown = Text("\n".join(safe_code(line[:200]) for line in lines))
    for word in set(re.findall(r"\w{3,}", query)):
        # A word's stem, roughly: "rotating" marks "rotate" too.
        stem = re.escape(word[: max(3, len(word) - 3)])
        shown.highlight_regex(rf"(?i)\b{stem}\w*", style="bold yellow")
    # Where it is not shown to a person, a line has no end to be filled up to.
    return Padding(shown, (0, 0, 0, 3), expand=False)


def info(space: SpaceFolder, as_json: Json = False) -> None:
    """Say what a Space holds and how good it is.

    Example:
      isometry info docs-space
    """
    from isometry.space import Space

    opened = Space.open(space)
    if as_json:
        print_json(opened.manifest)
        return
    from isometry.report.summary import render_summary

    print_rich(
        render_summary(
            opened.manifest, space=opened.folder, model=opened.model, report=opened.report
        )
    )


def verify(space: SpaceFolder, as_json: Json = False) -> None:
    """Compare every file of a Space with its manifest; names the damaged one.

    Example:
      isometry verify docs-space
    """
    from isometry.space import Space

    opened = Space.open(space)
    files = opened.verify()
    unfinished = opened.leftovers()
    if as_json:
        rest = {"unfinished": unfinished}
        print_json({"space": str(space), "files": files, "whole": True, **rest})
        return
    print_rich(f"{space}: {files} files, all as they were made.")
    if unfinished:
        print_rich(
            f"Besides, {len(unfinished)} files of a write that is under way or was stopped; the"
            " next add, migrate or compact removes what is not needed."
        )


def models(as_json: Json = False) -> None:
    """List the models that come with packages, and whether they are installed.

    Example:
      isometry models --json
    """
    from importlib.util import find_spec

    from isometry.encoders.packaged_models import MODELS, PREFIX

    rows = [
        {
            "name": PREFIX + model.name,
            "model": model.true_name,
            "about": model.about,
            "licence": model.licence,
            "installed": find_spec(model.package) is not None,
        }
        for model in MODELS
    ]
    if as_json:
        print_json({"models": rows})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(("yes" if v else "no") if isinstance(v, bool) else v for v in row.values()))
    print_rich(table)
    print_rich("Any sentence-transformers or transformers folder, or a hub id, serves as well.")
