"""`isometry merge`: several models of one architecture -> one, by a recipe that can be repeated."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isometry.core.errors import InputError
from isometry.core.progress import say
from isometry.core.workspace import Workspace
from isometry.core.writing import (
    atomic_folder,
    check_writable,
    out_folder,
    write_json,
    write_text,
)
from isometry.encoders.locate import public_name
from isometry.jobs.merge_recipe import (
    RECIPE,
    MergeSettings,
    Method,
    TensorWeights,
    check,
    check_fingerprints,
    read_recipe,
    recipe_of,
    tensor_weights,
)
from isometry.jobs.places import (
    as_typed,
    check_model_alone,
    check_place,
    check_replaceable,
    is_model,
    several,
)

if TYPE_CHECKING:
    from isometry.jobs.merge_evaluation import Comparison
    from isometry.jobs.merge_tasks import Task
    from isometry.merging.checkpoints import Checkpoint

__all__ = ["TensorWeights", "merge", "merge_by_recipe"]


def merge(
    models: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    method: Method = "average",
    base: str | Path | None = None,
    weights: Sequence[float] | None = None,
    tensors: Sequence[TensorWeights | Mapping[str, Any]] = (),
    scale: float | None = None,
    keep: float | None = None,
    drop: float | None = None,
    elect_signs: bool = False,
    probe: str | Path | Sequence[str | Path] = (),
    seed: int = 0,
    prompts_from: str | Path | None = None,
    evaluate: str | Path | Sequence[str | Path] = (),
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Merges models tensor by tensor: memory for a few tensors, whatever the models' size.

    Only learning the weights of `self-positioning` holds the base, the models and their differences
    to it in memory, in float32.

    The folder has a `recipe.json`, from which `isometry.jobs.merge.merge_by_recipe` makes the same
    bytes again.

    Args:
        models: Folders of sentence-transformers or transformers, Spaces, `packaged:NAME`, hub ids.
        out: The folder of the merge.
        method: `average`, `slerp`, `task-arithmetic`, `ties`, `dare` or `self-positioning`; the
            modules of `isometry.merging` that are called so say what each does.
        base: What the models were tuned from; for task arithmetic, TIES, DARE and self-positioning.
        weights: One for each model. For `average` and `slerp` (where the second's share is the
            place on the arc) and `dare` equal shares of 1 when not given; else 1 each. Learned by
            `self-positioning`, with the scale, for each tensor.
        tensors: Other weights for some tensors: `isometry.TensorWeights`, or as a recipe has them,
            {"pattern": "encoder.layer.0.*", "weights": [0.7, 0.3]}. The first pattern that fits
            counts.
        scale: How far from the base; 0.3 for task arithmetic, 1 for TIES and DARE.
        keep: For TIES, the fraction of what a model changed that is kept; 0.2.
        drop: For DARE, the fraction that is dropped; 0.9.
        elect_signs: For DARE, average only what has the elected sign, as TIES does.
        probe: For self-positioning, sources as `fit` takes them, one for each task that the merge
            shall be good at: weights are learned on queries made from their documents, as many of
            each; those that a `fit` with this seed validates on, unless it had `queries`,
            `pairs` or `limit`. Of a folder in BEIR's layout, those of its own that a fit with
            them validates on; where they are few, also those that it trains on. What counts of each
            task is the share of the best model's gain.
        seed: Of DARE's masks, and of the split and the queries of probes and of an evaluation;
            that of the fits that made the models.
        prompts_from: The model whose prompts to keep, where they differ.
        evaluate: Sources as `fit` takes them: on each, parents and merge are compared on queries
            made from its documents; those that a `fit` with this seed holds out as its test, unless
            it had `queries`, `pairs` or `limit`. Of a folder in BEIR's layout, those of its own
            that a fit with them would hold out.
        text: The column that holds the text, of those sources that are tables.
        title: The column that holds the title.
        id: The column that holds the id.
        force: Replace an existing folder.

    Returns:
        `out`, `recipe`, `tensors` (how many), `repeatable` (not so where it took the place of a
        model that it was made of), `warnings`; `learned`, what
        `jobs.merge_probe.learn` says of the weights, None where none were learned; and
        `evaluation`: for each source that was asked for its `source`, how many `documents` it has
        and how many files and rows were `skipped`, the `kind` of its queries ("given" or
        "artificial"), and `rows` as `isometry.evaluate` gives them, with the difference of each
        parent to the merge.

    Raises:
        InputError: For anything that the user can cause and cure.
    """
    if method == "self-positioning" and weights is not None:
        raise InputError("self-positioning learns the weights; it takes none.")
    settings = MergeSettings(
        models=tuple(map(str, several(models))),
        method=method,
        base=None if base is None else str(base),
        weights=None if weights is None else tuple(weights),
        tensors=tuple(map(tensor_weights, tensors)),
        scale=scale,
        keep=keep,
        drop=drop,
        elect_signs=elect_signs,
        probe=tuple(map(str, several(probe))),
        seed=seed,
        prompts_from=None if prompts_from is None else _one_of(several(models), str(prompts_from)),
    )
    columns = {"text": text, "title": title, "id": id}
    return _merge(settings, out_folder(out), several(evaluate), columns, force, {})


def merge_by_recipe(
    recipe: str | Path,
    out: str | Path,
    *,
    models: Sequence[str | Path] = (),
    base: str | Path | None = None,
    evaluate: str | Path | Sequence[str | Path] = (),
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Merges as a recipe says; from the same parents it makes the same bytes.

    Args:
        recipe: The file, or the folder of a merge.
        out: The folder of the merge.
        models: Where the recipe's models are here, in its order; as it says when not given.
        base: Where its base is.
        evaluate: As in `merge`.
        text: As in `merge`.
        title: As in `merge`.
        id: As in `merge`.
        force: Replace an existing folder.

    Returns:
        What `merge` does.

    Raises:
        InputError: When the recipe cannot be read, or a model is not the one it was made with.
    """
    path = Path(recipe).expanduser()
    settings, fingerprints = read_recipe(path / RECIPE if path.is_dir() else path)
    if models and len(models) != len(settings.models):
        raise InputError(f"The recipe has {len(settings.models)} models, not {len(models)}.")
    if base is not None and settings.base is None and not settings.takes_base:
        raise InputError(f"The recipe has no base, and {settings.method} takes none.")
    here = tuple(map(str, models)) or settings.models
    moved = dict(zip(settings.models, here, strict=True))
    settings = replace(
        settings,
        models=here,
        base=settings.base if base is None else str(base),
        prompts_from=None
        if settings.prompts_from is None
        else moved.get(settings.prompts_from, settings.prompts_from),
    )
    columns = {"text": text, "title": title, "id": id}
    return _merge(settings, out_folder(out), several(evaluate), columns, force, fingerprints)


def _one_of(models: Sequence[str | Path], typed: str) -> str:
    """A model as it is called among the models, however its path is typed here."""
    names = map(str, models)
    return next((name for name in names if as_typed(name) == as_typed(typed)), typed)


def _check_parents(out: Path, parents: Mapping[str, Checkpoint], compared: bool) -> None:
    """Refuses to replace a folder that holds what is merged.

    Raises:
        InputError: When a model lies in it; or is it, and will be compared with the merge.
    """
    check_place(out, {name: checkpoint.folder for name, checkpoint in parents.items()})
    for checkpoint in parents.values():
        if compared and checkpoint.folder.resolve() == out.resolve():
            raise InputError(
                f"{out} is one of the models, and --evaluate compares the merge with it.",
                "Choose another --out, or leave --evaluate out.",
            )


def _merge(
    settings: MergeSettings,
    out: Path,
    evaluate: Sequence[str | Path],
    columns: Mapping[str, str | None],
    force: bool,
    wanted: Mapping[int, str],
) -> dict[str, Any]:
    check(settings)
    check_replaceable(out, is_model(out), "model", force)
    asked, probes = _opened(evaluate, settings.probe if settings.learns else (), columns)
    from isometry.jobs.merge_methods import (
        look_at_base,
        look_at_copies,
        look_at_weights,
        merged,
    )
    from isometry.merging.checkpoints import open_checkpoint
    from isometry.merging.compatibility import check_compatible, check_prompts, settings_model
    from isometry.merging.writing import write_merged

    opened = {name: open_checkpoint(name) for name in dict.fromkeys(settings.parents)}
    _check_parents(out, opened, bool(asked))
    copied = {
        file.name
        for checkpoint in opened.values()
        for file in checkpoint.settings_files
        if checkpoint.folder.resolve() != out.resolve()
    }
    check_model_alone(out, copied)
    models = [opened[name] for name in settings.models]
    base = None if settings.base is None else opened[settings.base]
    warnings = check_compatible(models, base)
    leading = prompts = settings_model(models)
    if settings.prompts_from is None:
        check_prompts(models)
    else:
        prompts = opened[settings.prompts_from]
    warnings += look_at_weights(settings, models[0])
    replaced = [name for name, one in opened.items() if one.folder.resolve() == out.resolve()]
    warnings += [
        f"The merge replaces '{name}', which it is made of: its recipe cannot be repeated."
        for name in replaced
    ]
    say("Fingerprinting the models ...")
    fingerprints = {name: checkpoint.fingerprint() for name, checkpoint in opened.items()}
    check_fingerprints(settings, fingerprints, wanted)
    warnings += look_at_copies(fingerprints, settings.models)
    check_writable(out)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Before the merge: a source or a model that cannot be used costs nothing.
        comparisons = _compared(asked, settings, stack, folder)
        learned = None
        if base is not None:
            warnings += look_at_base(base, models)
        if probes:
            from isometry.jobs.merge_probe import learn

            settings, learned, notes = learn(
                settings, probes, models[0], leading.source, prompts.source
            )
            warnings += notes
        made = recipe_of(settings, fingerprints)

        def last_look() -> None:
            check_replaceable(out, is_model(out), "model", force)
            check_model_alone(out, copied)

        with atomic_folder(out, last_look=last_look) as temporary:
            written = write_merged(
                temporary, merged(settings, models, base), leading, models[0], prompts
            )
            write_json(temporary / RECIPE, made)
            write_text(temporary / "README.md", _card(settings, leading, bool(replaced)))
        evaluation = [comparison.with_merge(str(out)) for comparison in comparisons]
    return {
        "out": str(out),
        "recipe": made,
        "tensors": written,
        "repeatable": not replaced,
        "warnings": warnings,
        "learned": learned,
        "evaluation": evaluation,
    }


def _opened(
    evaluate: Sequence[str | Path], probe: Sequence[str], columns: Mapping[str, str | None]
) -> tuple[list[Task], list[Task]]:
    """What is asked, and what is learned on."""
    if not (evaluate or probe):
        if any(name is not None for name in columns.values()):
            raise InputError("--text, --title and --id are of --evaluate and --probe.")
        return [], []
    from isometry.jobs.merge_tasks import open_tasks

    if len({as_typed(str(one)) for one in evaluate}) < len(evaluate):
        raise InputError("A source is given to --evaluate twice.")
    tasks = open_tasks([*evaluate, *probe], **columns)
    return tasks[: len(evaluate)], tasks[len(evaluate) :]


def _compared(
    tasks: Sequence[Task], settings: MergeSettings, stack: ExitStack, folder: Path
) -> list[Comparison]:
    """The parents on each task."""
    if not tasks:
        return []
    from isometry.jobs.merge_evaluation import Comparison

    return [
        Comparison(
            task,
            settings.parents,
            stack.enter_context(Workspace(folder / f"work-{number}", "merge")),
            settings.seed,
        )
        for number, task in enumerate(tasks)
    ]


def _card(settings: MergeSettings, leading: Checkpoint, replaces: bool) -> str:
    """The folder's README: where the model comes from."""
    kind = "sentence-transformers" if leading.is_sentence_transformer else "transformers"
    names = [f"`{public_name(source)}`" for source in settings.parents]
    sources = ", ".join(names[: len(settings.models)])
    base = "" if settings.base is None else f" on the base {names[-1]}"
    again = (
        f"`isometry merge --recipe {RECIPE} --out FOLDER` makes it again, where the paths in it"
        " hold or the models are named behind it, in its order"
    )
    if replaces:
        again = "this folder was one of them, so that it cannot be made again"
    return (
        f"---\nlibrary_name: {kind}\ntags:\n- merge\n- isometry\n---\n\n"
        f"A merge by {settings.method} of {sources}{base}.\n\n"
        f"`{RECIPE}` has the weights and the models' fingerprints; {again}.\n"
    )
