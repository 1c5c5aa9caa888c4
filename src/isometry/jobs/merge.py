"""`isometry merge`: several models of one architecture -> one, by a recipe that can be repeated."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from isometry.core.errors import InputError
from isometry.core.files import atomic_folder, read_json, write_json, write_text
from isometry.core.progress import say, track

if TYPE_CHECKING:
    from torch import Tensor

    from isometry.core.workspace import Workspace
    from isometry.corpora.readers import Source
    from isometry.jobs.preparation import Prepared
    from isometry.merging.checkpoints import Checkpoint

Method = Literal["average", "slerp", "task-arithmetic", "ties", "dare"]

RECIPE = "recipe.json"
FORMAT = 1
# What each method takes beside models and weights, and its value when it is not given.
_USUAL: dict[str, dict[str, float]] = {
    "average": {},
    "slerp": {},
    "task-arithmetic": {"scale": 0.3},
    "ties": {"scale": 1.0, "keep": 0.2},
    "dare": {"scale": 1.0, "drop": 0.9},
}
# Those that add to a base what the models learned.
_ON_A_BASE = ("task-arithmetic", "ties", "dare")
# Those whose weights are shares: a sum other than 1 makes the whole network smaller or larger.
_OF_SHARES = ("average", "slerp", "dare")
_FAR, _UNLIKE = 1.0, 0.5


@dataclass(frozen=True)
class TensorWeights:
    """Weights for the tensors whose names fit a pattern.

    Attributes:
        pattern: As in a shell: `encoder.layer.0.*`, `*LayerNorm*`.
        weights: One for each model.
    """

    pattern: str
    weights: tuple[float, ...]


@dataclass(frozen=True)
class MergeSettings:
    """Everything that a user may decide about a merge; `merge` explains each."""

    models: tuple[str, ...]
    method: Method = "average"
    base: str | None = None
    weights: tuple[float, ...] | None = None
    tensors: tuple[TensorWeights, ...] = ()
    scale: float | None = None
    keep: float | None = None
    drop: float | None = None
    elect_signs: bool = False
    seed: int = 0
    prompts_from: str | None = None

    def value(self, name: Literal["scale", "keep", "drop"]) -> float:
        """What was given, or what the method has when nothing is."""
        given = getattr(self, name)
        return float(_USUAL[self.method][name] if given is None else given)

    def weights_of(self, name: str) -> tuple[float, ...] | None:
        """The weights of one tensor: those of the first pattern that it fits, or all tensors'."""
        for own in self.tensors:
            if fnmatchcase(name, own.pattern):
                return own.weights
        return self.weights


def merge(
    models: Sequence[str | Path],
    out: str | Path,
    *,
    method: Method = "average",
    base: str | Path | None = None,
    weights: Sequence[float] | None = None,
    tensors: Sequence[TensorWeights] = (),
    scale: float | None = None,
    keep: float | None = None,
    drop: float | None = None,
    elect_signs: bool = False,
    seed: int = 0,
    prompts_from: str | Path | None = None,
    evaluate: str | Path | None = None,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Merges models tensor by tensor: memory for a few tensors, whatever the models' size.

    The folder has a `recipe.json`, from which `merge_by_recipe` makes the same bytes again.

    Args:
        models: Folders of sentence-transformers or transformers, Spaces, `packaged:NAME`, hub ids.
        out: The folder of the merge.
        method: See `isometry.merging` for each.
        base: What the models were tuned from; for task arithmetic, TIES and DARE.
        weights: One for each model. For `average` and `slerp` (where the second's share is the
            place on the arc) and `dare` equal shares of 1 when not given; else 1 each.
        tensors: Other weights for some tensors; the first pattern that fits counts.
        scale: How far from the base; 0.3 for task arithmetic, 1 for TIES and DARE.
        keep: For TIES, the fraction of what a model changed that is kept; 0.2.
        drop: For DARE, the fraction that is dropped; 0.9.
        elect_signs: For DARE, average only what has the elected sign, as TIES does.
        seed: Of DARE's masks, and of the split and the queries of an evaluation.
        prompts_from: The model whose prompts to keep, where they differ.
        evaluate: A source as `fit` takes it: each parent and the merge are compared on queries
            made from its documents; those that `fit` with this seed holds out as its test.
        text: The column of a table that holds the text.
        title: The column that holds the title.
        id: The column that holds the id.
        force: Replace an existing folder.

    Returns:
        `out`, `recipe`, `tensors` (how many), `warnings`, and `evaluation`: `rows` as
        `isometry.evaluate` gives them, with the difference of each parent to the merge; None
        where none was asked for.

    Raises:
        InputError: For anything that the user can cause and cure.
    """
    settings = MergeSettings(
        models=tuple(map(str, models)),
        method=method,
        base=None if base is None else str(base),
        weights=None if weights is None else tuple(weights),
        tensors=tuple(tensors),
        scale=scale,
        keep=keep,
        drop=drop,
        elect_signs=elect_signs,
        seed=seed,
        prompts_from=None if prompts_from is None else str(prompts_from),
    )
    source = _open(evaluate, text, title, id)
    return _merge(settings, Path(out).expanduser(), source, force=force, fingerprints={})


def merge_by_recipe(
    recipe: str | Path,
    out: str | Path,
    *,
    models: Sequence[str | Path] = (),
    base: str | Path | None = None,
    evaluate: str | Path | None = None,
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
    if base is not None and settings.base is None:
        raise InputError("The recipe has no base.")
    here = tuple(map(str, models)) or settings.models
    moved = dict(
        zip([*settings.models, settings.base], [*here, base or settings.base], strict=True)
    )
    settings = replace(
        settings,
        models=here,
        base=None if settings.base is None else str(base or settings.base),
        prompts_from=None if settings.prompts_from is None else moved[settings.prompts_from],
    )
    source = _open(evaluate, text, title, id)
    return _merge(settings, Path(out).expanduser(), source, force=force, fingerprints=fingerprints)


def _merge(
    settings: MergeSettings,
    out: Path,
    source: Source | None,
    *,
    force: bool,
    fingerprints: Mapping[int, str],
) -> dict[str, Any]:
    check(settings)
    if out.exists() and not force:
        raise InputError(f"{out} exists.", "Replace it with --force, or choose another --out.")
    from isometry.merging.checkpoints import open_checkpoint
    from isometry.merging.compatibility import check_compatible, check_prompts, settings_model
    from isometry.merging.writing import write_merged

    opened = {name: open_checkpoint(name) for name in dict.fromkeys(_parents(settings))}
    models = [opened[name] for name in settings.models]
    base = None if settings.base is None else opened[settings.base]
    warnings = check_compatible(models, base)
    leading = prompts = settings_model(models)
    if settings.prompts_from is None:
        check_prompts(models)
    else:
        prompts = opened[settings.prompts_from]
    warnings += _look_at_weights(settings, models[0])
    made = _recipe(settings, opened, fingerprints)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data = None
        if source is not None:
            # Before the merge: a source that cannot be used costs nothing.
            from isometry.core.workspace import Workspace

            work = stack.enter_context(Workspace(folder / "w", "merge"))
            data = _held_out(work, source, settings.seed)
        if base is not None:
            warnings += _look_at_base(base, models)
        with atomic_folder(out) as temporary:
            written = write_merged(
                temporary,
                _shown(_merged(settings, models, base), len(models[0])),
                leading,
                models[0],
                prompts,
            )
            write_json(temporary / RECIPE, made)
            write_text(temporary / "README.md", _card(settings, leading))
        evaluation = None
        if data is not None:
            everyone = [str(out), *dict.fromkeys(_parents(settings))]
            evaluation = {"rows": _compare(everyone, data, folder / "vectors", settings.seed)}
    return {
        "out": str(out),
        "recipe": made,
        "tensors": written,
        "warnings": warnings,
        "evaluation": evaluation,
    }


def check(settings: MergeSettings) -> None:
    """Refuses what cannot work, before a file is opened.

    Raises:
        InputError: With what is wrong and what to do.
    """
    count, method = len(settings.models), settings.method
    if method not in _USUAL:
        raise InputError(f"There is no method '{method}'.", f"There are: {', '.join(_USUAL)}.")
    if method in _ON_A_BASE and settings.base is None:
        raise InputError(f"{method} needs --base: the model that the others were tuned from.")
    if method not in _ON_A_BASE and settings.base is not None:
        raise InputError(f"{method} takes no --base.", f"Of a base go: {', '.join(_ON_A_BASE)}.")
    if count < (1 if method in _ON_A_BASE else 2):
        raise InputError("Nothing to merge.", "Name at least two models.")
    if method == "slerp" and count != 2:
        raise InputError(
            f"slerp is between two models, not {count}.",
            "Merge two, then their merge with the third: the order makes a difference.",
        )
    for name in ("scale", "keep", "drop"):
        if getattr(settings, name) is not None and name not in _USUAL[method]:
            raise InputError(f"{method} takes no --{name}.")
    if settings.elect_signs and method != "dare":
        raise InputError(f"{method} takes no --elect-signs.")
    if method == "ties" and not 0 < settings.value("keep") <= 1:
        raise InputError(f"--keep must be above 0 and at most 1, not {settings.value('keep')}.")
    if method == "dare" and not 0 <= settings.value("drop") < 1:
        raise InputError(f"--drop must be at least 0 and below 1, not {settings.value('drop')}.")
    numbers = (settings.scale, settings.keep, settings.drop)
    for number in (*numbers, *chain.from_iterable(_all_weights(settings))):
        if number is not None and not math.isfinite(number):
            raise InputError(f"{number} is no number to merge with.")
    for weights in _all_weights(settings):
        if len(weights) != count:
            raise InputError(f"There are {count} models and {len(weights)} weights.")
        signless = method == "ties" or settings.elect_signs or method == "slerp"
        if signless and (min(weights) < 0 or sum(weights) == 0):
            raise InputError(f"{method} takes weights of 0 and more, not all 0.")
    if settings.prompts_from is not None and settings.prompts_from not in settings.models:
        raise InputError(f"--prompts-from must be one of the models, not {settings.prompts_from}.")


def _parents(settings: MergeSettings) -> list[str]:
    return [*settings.models, *([] if settings.base is None else [settings.base])]


def _all_weights(settings: MergeSettings) -> list[tuple[float, ...]]:
    own = [tensor.weights for tensor in settings.tensors]
    return [*([] if settings.weights is None else [settings.weights]), *own]


def _look_at_weights(settings: MergeSettings, model: Checkpoint) -> list[str]:
    """Weights that do not sum to 1; a pattern that fits nothing is an error."""
    for own in settings.tensors:
        if not any(fnmatchcase(name, own.pattern) for name in model):
            raise InputError(
                f"No tensor's name fits '{own.pattern}'.", f"One is called {next(iter(model))}."
            )
    sums = [sum(weights) for weights in _all_weights(settings)]
    if settings.method not in _OF_SHARES:
        return []
    return [
        f"The weights sum to {total:g}, not to 1"
        + ("; their ratio is taken." if settings.method == "slerp" else ".")
        for total in sums
        if abs(total - 1) > 1e-6
    ]


def _look_at_base(base: Checkpoint, models: Sequence[Checkpoint]) -> list[str]:
    """Models that do not look as if they had been tuned from the base."""
    from isometry.merging.tensors import relations

    say("Comparing the models with their base ...")
    return [
        f"'{base.source}' does not look like the base of '{model.source}': their difference is"
        f" {relation.distance:.2f} of its norm, their cosine {relation.cosine:.2f}."
        for model, relation in zip(models, relations(base, models), strict=True)
        if relation.distance > _FAR or relation.cosine < _UNLIKE
    ]


def _merged(
    settings: MergeSettings, models: Sequence[Checkpoint], base: Checkpoint | None
) -> Iterator[tuple[str, Tensor]]:
    """The merge's tensors, as its method makes them."""
    from isometry.merging.average import average
    from isometry.merging.dare import dare
    from isometry.merging.slerp import slerp
    from isometry.merging.task_arithmetic import task_arithmetic
    from isometry.merging.ties import ties

    count = len(models)
    equal = tuple([1 / count if settings.method in _OF_SHARES else 1.0] * count)

    def weights(name: str) -> tuple[float, ...]:
        return settings.weights_of(name) or equal

    if settings.method == "slerp":
        return slerp(models[0], models[1], lambda name: weights(name)[1] / sum(weights(name)))
    if settings.method == "average" or base is None:
        return average(models, weights)
    scale = settings.value("scale")
    if settings.method == "task-arithmetic":
        return task_arithmetic(base, models, weights, scale=scale)
    if settings.method == "ties":
        return ties(base, models, weights, keep=settings.value("keep"), scale=scale)
    return dare(
        base,
        models,
        weights,
        drop=settings.value("drop"),
        scale=scale,
        seed=settings.seed,
        elect_signs=settings.elect_signs,
    )


def _shown(tensors: Iterator[tuple[str, Tensor]], count: int) -> Iterator[tuple[str, Tensor]]:
    with track("Merging", count, "tensors") as task:
        for name, tensor in tensors:
            yield name, tensor
            task.advance()


def _recipe(
    settings: MergeSettings, opened: Mapping[str, Checkpoint], wanted: Mapping[int, str]
) -> dict[str, Any]:
    """The recipe as it is written; a parent that is not the one that is wanted is refused."""
    say("Fingerprinting the models ...")
    found = {name: checkpoint.fingerprint() for name, checkpoint in opened.items()}
    for number, name in enumerate(_parents(settings)):
        if number in wanted and wanted[number] != found[name]:
            raise InputError(
                f"'{name}' is not the model that the recipe was made with: its files differ.",
                "Find that model, or take its fingerprint out of the recipe to merge this one.",
            )
    parents = [{"source": name, "fingerprint": found[name]} for name in settings.models]
    made: dict[str, Any] = {"format": FORMAT, "method": settings.method, "models": parents}
    if settings.base is not None:
        made["base"] = {"source": settings.base, "fingerprint": found[settings.base]}
    if settings.weights is not None:
        made["weights"] = list(settings.weights)
    if settings.tensors:
        made["tensors"] = [
            {"pattern": own.pattern, "weights": list(own.weights)} for own in settings.tensors
        ]
    for name in _USUAL[settings.method]:
        made[name] = settings.value(name)  # pyright: ignore[reportArgumentType]
    if settings.method == "dare":
        made |= {"elect_signs": settings.elect_signs, "seed": settings.seed}
    if settings.prompts_from is not None:
        made["prompts_from"] = settings.prompts_from
    return made


def read_recipe(path: Path) -> tuple[MergeSettings, dict[int, str]]:
    """Reads a recipe.

    Returns:
        The settings, and the fingerprints of the parents (the models, then the base) that have one.

    Raises:
        InputError: When it is no recipe.
    """
    values = read_json(path)
    if not isinstance(values, dict) or not isinstance(values.get("models"), list):
        raise InputError(f"{path} is no recipe: it has no list of models.")
    if values.get("format", FORMAT) != FORMAT:
        raise InputError(f"{path} has format {values['format']}; this version reads {FORMAT}.")
    known = {"format", "base", *MergeSettings.__dataclass_fields__}
    if unknown := sorted(set(values) - known):
        raise InputError(f"{path} has unknown settings: {', '.join(unknown)}.")
    try:
        parents = [_parent(model) for model in values["models"]]
        base = None if values.get("base") is None else _parent(values["base"])
        settings = MergeSettings(
            models=tuple(source for source, _ in parents),
            method=_method(values.get("method", "average")),
            base=None if base is None else base[0],
            weights=_numbers(values.get("weights")),
            tensors=tuple(
                TensorWeights(str(own["pattern"]), _numbers(own["weights"]) or ())
                for own in values.get("tensors", ())
            ),
            scale=_number(values.get("scale")),
            keep=_number(values.get("keep")),
            drop=_number(values.get("drop")),
            elect_signs=bool(values.get("elect_signs", False)),
            seed=int(values.get("seed", 0)),
            prompts_from=values.get("prompts_from"),
        )
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path} is no recipe: {error!r}.") from error
    everyone = parents if base is None else [*parents, base]
    return settings, {number: own for number, (_, own) in enumerate(everyone) if own is not None}


def _parent(value: Any) -> tuple[str, str | None]:
    """A parent's source and fingerprint; a source alone is enough."""
    return (
        (value, None)
        if isinstance(value, str)
        else (str(value["source"]), value.get("fingerprint"))
    )


def _method(value: Any) -> Method:
    if value not in get_args(Method):
        raise ValueError(f"no method {value}")
    return value


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _numbers(value: Any) -> tuple[float, ...] | None:
    return None if value is None else tuple(float(number) for number in value)


def _card(settings: MergeSettings, leading: Checkpoint) -> str:
    """The folder's README: where the model comes from."""
    kind = "sentence-transformers" if leading.is_sentence_transformer else "transformers"
    # Where a folder lies on somebody's machine is nobody else's business.
    names = [f"`{Path(source).name if Path(source).is_dir() else source}`"
             for source in _parents(settings)]  # fmt: skip
    sources = ", ".join(names[: len(settings.models)])
    base = "" if settings.base is None else f" on the base {names[-1]}"
    return (
        f"---\nlibrary_name: {kind}\ntags:\n- merge\n- isometry\n---\n\n"
        f"A merge by {settings.method} of {sources}{base}.\n\n"
        f"`{RECIPE}` has the weights and the models' fingerprints;"
        f" `isometry merge --recipe {RECIPE}` makes it again.\n"
    )


def _open(
    evaluate: str | Path | None, text: str | None, title: str | None, id: str | None
) -> Source | None:
    """The source of an evaluation, if there is to be one."""
    if evaluate is None:
        return None
    from isometry.corpora.readers import open_source

    return open_source(str(evaluate), text=text, title=title, id=id)


def _held_out(work: Workspace, source: Source, seed: int) -> Prepared:
    """The documents and the queries that a fit with this seed would hold out as its test."""
    from isometry.jobs.preparation import FEWEST_QUERIES, prepare

    data = prepare(work, source, seed=seed)
    queries = len(data.questions["test"].queries)
    if queries < FEWEST_QUERIES:
        raise InputError(
            f"Too little text in {source.name}: it gives {queries} held-out queries, and at least"
            f" {FEWEST_QUERIES} are needed.",
            "Give more documents, or leave --evaluate out.",
        )
    return data


def _compare(models: Sequence[str], data: Prepared, cache: Path, seed: int) -> list[dict[str, Any]]:
    """Ranks all documents by each model's vectors; differences are to the first.

    Nothing is decided on these queries.
    """
    from isometry.encoders.cached import CachedEncoder
    from isometry.encoders.text import TextEncoder
    from isometry.evaluation.retrieval import score_rankings
    from isometry.evaluation.significance import paired_bootstrap
    from isometry.jobs import ranking

    asked = data.questions["test"]
    documents = [document.id for document in data.documents]
    rows: list[dict[str, Any]] = []
    first: ranking.PerQuery = {}
    for model in models:
        say(f"Evaluating {model}")
        encoder = TextEncoder.load(model)
        chunks = ranking.passages_of(encoder, documents, data.views)
        ranked = ranking.collection(documents, chunks)
        found = ranking.dense_rankings(
            CachedEncoder(encoder, cache, "float32"), ranked, asked.queries
        )
        scores = score_rankings(found.order, asked.relevance)
        first = first or scores
        change = paired_bootstrap(first["ndcg@10"], scores["ndcg@10"], seed=seed)
        row = ranking.row_of(model, scores)
        rows.append(
            {
                "model": row.pop("system"),
                "mode": "dense",
                **row,
                "difference": change.difference,
                "low": change.low,
                "high": change.high,
                "queries": len(asked.queries),
            }
        )
    return rows
