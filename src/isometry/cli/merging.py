"""`isometry merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from isometry.cli.output import (
    IdColumn,
    Json,
    Quiet,
    TextColumn,
    TitleColumn,
    print_json,
    print_rich,
    progress,
)
from isometry.core.errors import InputError
from isometry.jobs.merge_recipe import Method

_METHODS = "Methods"
_EVALUATION = "Evaluation"


def merge(
    out: Annotated[Path, typer.Option(help="The folder of the merge.", show_default=False)],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Model folders (sentence-transformers or transformers), Spaces, packaged:minilm,"
            " hub ids; all tuned from one base.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help="How they are merged.  \\[default: average]")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="What the models were tuned from: for task-arithmetic, ties, dare and"
            " self-positioning.",
            rich_help_panel=_METHODS,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="One for each model: 0.7,0.3. self-positioning learns them.  \\[default: equal"
            " shares; for task-arithmetic and ties 1 each]",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="task-arithmetic, ties, dare: how far from the base.  \\[default: 0.3; for ties"
            " and dare 1]",
            rich_help_panel=_METHODS,
        ),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            help="ties: the fraction of each model's changes that is kept.  \\[default: 0.2]",
            rich_help_panel=_METHODS,
        ),
    ] = None,
    drop: Annotated[
        float | None,
        typer.Option(
            help="dare: the fraction of each model's changes that is dropped.  \\[default: 0.9]",
            rich_help_panel=_METHODS,
        ),
    ] = None,
    elect_signs: Annotated[
        bool,
        typer.Option(
            "--elect-signs",
            help="dare: average only changes of the elected sign, as ties does.",
            rich_help_panel=_METHODS,
        ),
    ] = False,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            help="self-positioning: a source as fit takes it, once for each task; the weights are"
            " learned on queries made from its documents: those that the validation of fits without"
            " --queries, --pairs and --limit asks. Of a folder in BEIR's layout, those of its own"
            " queries that a fit with them validates on; where they are few, also those that it"
            " trains on.",
            show_default=False,
            rich_help_panel=_METHODS,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of what dare drops, and of the queries of probes and evaluation.  \\[default: 0]",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Merge as this file (JSON or YAML) says, such as the recipe.json of a merge; its"
            " 'tensors' give weights by name. MODELs take the places of its models, in its order."
        ),
    ] = None,
    prompts_from: Annotated[
        str | None, typer.Option(help="The model whose prompts to keep, where they differ.")
    ] = None,
    evaluate: Annotated[
        list[str] | None,
        typer.Option(
            help="A source as fit takes it, once for each task: compare each model and the merge on"
            " queries made from its documents: those that the test of fits without --queries,"
            " --pairs and --limit asks. Of a folder in BEIR's layout, those of its own queries that"
            " a fit with them would hold out.",
            show_default=False,
            rich_help_panel=_EVALUATION,
        ),
    ] = None,
    text: TextColumn = None,
    title: TitleColumn = None,
    id: IdColumn = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing folder.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Merge models that were tuned from one base into one model of the same size.

    Plain sentence-transformers loads the result. Its recipe.json makes the same bytes again.

    Examples:
      isometry merge tuned-on-tickets tuned-on-manuals --out both --evaluate manuals/

      isometry merge a b c --base packaged:minilm --method ties --keep 0.2 --out merged

      isometry merge a b --method self-positioning --base packaged:minilm --probe docs/ --out c

      isometry merge --recipe both/recipe.json --out again
    """
    from isometry.jobs import merge as job

    with progress(quiet):
        if recipe is not None:
            given = (method, weights, scale, keep, drop, seed, prompts_from)
            if elect_signs or probe or any(value is not None for value in given):
                raise InputError(
                    "With --recipe, method and settings are the recipe's.",
                    "Change them in a copy of the file.",
                )
            result = job.merge_by_recipe(
                recipe,
                out,
                models=models or (),
                base=base,
                evaluate=evaluate or (),
                text=text,
                title=title,
                id=id,
                force=force,
            )
        else:
            result = job.merge(
                models or (),
                out,
                method="average" if method is None else method,
                base=base,
                weights=None if weights is None else _numbers(weights),
                scale=scale,
                keep=keep,
                drop=drop,
                elect_signs=elect_signs,
                probe=probe or (),
                seed=seed or 0,
                prompts_from=prompts_from,
                evaluate=evaluate or (),
                text=text,
                title=title,
                id=id,
                force=force,
            )
    if as_json:
        print_json(result)
        return
    from rich.text import Text

    if result["evaluation"]:
        from isometry.report.tables import comparison_size, render_comparison

        for one in result["evaluation"]:
            print_rich(Text(one["source"], style="bold"))
            print_rich(render_comparison(one["rows"]))
            print_rich(comparison_size(one["rows"], one["documents"], one["kind"]))
            if one["skipped"]:
                print_rich(f"Left out: {one['skipped']:,} files or rows that could not be read.")
        print_rich(Text("Differences are to the merge: what is below 0 is worse than it."))
    for warning in result["warnings"]:
        print_rich(Text(f"Note: {warning}", style="yellow"))
    if result["learned"] is not None:
        print_rich(Text(_found(result["recipe"], result["learned"])))
    done = f"{result['tensors']:,} tensors by {result['recipe']['method']} in {result['out']}"
    print_rich(Text(f"{done}{'; its recipe.json makes it again' * result['repeatable']}."))


def _found(recipe: dict[str, Any], learned: dict[str, Any]) -> str:
    """What was learned, in a line."""
    shares = ", ".join(f"{weight:.2f}" for weight in recipe["weights"])
    whose = " of each tensor, on average" if recipe.get("tensors") else ""
    line = f"Learned weights{whose} {shares} at a scale of {recipe['scale']:.2f}"
    if learned["without_gain"]:
        return f"{line}."
    line += f": on the probe they keep {1 - learned['loss']:.0%} of what the best model of each"
    line += f" task gains; equal weights at the best fixed scale, {learned['start_scale']:.2f},"
    return f"{line} keep {1 - learned['start_loss']:.0%}."


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--weights are numbers with commas between them, not '{text}'.") from None
