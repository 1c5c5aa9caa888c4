"""The recipe of a merge: what a user decides, checked, written beside the model and read again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from isometry.core.errors import InputError
from isometry.core.files import read_json

Method = Literal["average", "slerp", "task-arithmetic", "ties", "dare", "self-positioning"]

RECIPE = "recipe.json"
FORMAT = 1
# What each method takes beside models and weights, and its value when it is not given.
_USUAL: dict[str, dict[str, float]] = {
    "average": {},
    "slerp": {},
    "task-arithmetic": {"scale": 0.3},
    "ties": {"scale": 1.0, "keep": 0.2},
    "dare": {"scale": 1.0, "drop": 0.9},
    "self-positioning": {"scale": 1.0},
}
# Those that add to a base what the models learned.
_ON_A_BASE = ("task-arithmetic", "ties", "dare", "self-positioning")
# Those whose weights are shares: a sum other than 1 makes the whole network smaller or larger.
_OF_SHARES = ("average", "slerp", "dare", "self-positioning")
# Shares are written with all their digits; by hand, with some.
_SHARES_APART = 1e-3
# Weights whose sum is less leave nothing of what they weigh.
_NOTHING = 1e-6
_START = "Start from the recipe.json of a merge."
# Written by people, who put comments into it.
_YAML = (".yaml", ".yml")
# Those that know nothing of weights below 0, beside DARE where it elects signs.
_SIGNLESS = ("slerp", "ties", "self-positioning")


@dataclass(frozen=True)
class TensorWeights:
    """Weights for the tensors whose names fit a pattern.

    Attributes:
        pattern: As in a shell: `encoder.layer.0.*`, `*LayerNorm*`.
        weights: One for each model.
        scale: For self-positioning, how far from the base; that of all tensors when not given.
    """

    pattern: str
    weights: tuple[float, ...]
    scale: float | None = None


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
    probe: tuple[str, ...] = ()
    seed: int = 0
    prompts_from: str | None = None

    @property
    def parents(self) -> list[str]:
        """The models, then the base if there is one."""
        return [*self.models, *([] if self.base is None else [self.base])]

    @property
    def learns(self) -> bool:
        """Whether the weights are still to be learned: a recipe that was written has them."""
        return self.method == "self-positioning" and self.weights is None

    @property
    def takes_base(self) -> bool:
        """Whether it adds to a base what the models learned."""
        return self.method in _ON_A_BASE

    @property
    def of_shares(self) -> bool:
        """Whether the weights should sum to 1."""
        return self.method in _OF_SHARES

    @property
    def takes_ratio(self) -> bool:
        """Whether only the ratio of the weights counts, not their sum."""
        return self.method == "slerp" or self.elect_signs

    def value(self, name: Literal["scale", "keep", "drop"]) -> float:
        """What was given, or what the method has when nothing is."""
        given = getattr(self, name)
        return float(_USUAL[self.method][name] if given is None else given)

    def weights_of(self, name: str) -> tuple[float, ...] | None:
        """The weights of one tensor: those of the first pattern that it fits, or all tensors'."""
        own = self._own(name)
        return self.weights if own is None else own.weights

    def scale_of(self, name: str) -> float:
        """The scale of one tensor: that of the first pattern that it fits, or all tensors'."""
        own = self._own(name)
        return self.value("scale") if own is None or own.scale is None else own.scale

    def _own(self, name: str) -> TensorWeights | None:
        return next((own for own in self.tensors if fnmatchcase(name, own.pattern)), None)

    def all_weights(self) -> list[tuple[float, ...]]:
        """All that were given: for all tensors, then those of each pattern."""
        own = [tensor.weights for tensor in self.tensors]
        return [*([] if self.weights is None else [self.weights]), *own]


def check(settings: MergeSettings) -> None:
    """Refuses what cannot work, before a file is opened.

    Raises:
        InputError: With what is wrong and what to do.
    """
    count, method = len(settings.models), settings.method
    if method not in _USUAL:
        raise InputError(f"There is no method '{method}'.", f"There are: {', '.join(_USUAL)}.")
    if settings.takes_base and settings.base is None:
        raise InputError(f"{method} needs --base: the model that the others were tuned from.")
    if not settings.takes_base and settings.base is not None:
        raise InputError(f"{method} takes no --base.", f"These take one: {', '.join(_ON_A_BASE)}.")
    if count < (1 if settings.takes_base else 2):
        raise InputError("Nothing to merge.", "Name at least two models.")
    if method == "slerp" and count != 2:
        raise InputError(
            f"slerp is between two models, not {count}.",
            "Merge two, then their merge with the third: the order makes a difference.",
        )
    for name in ("scale", "keep", "drop"):
        if getattr(settings, name) is not None and name not in _USUAL[method]:
            raise InputError(f"{method} takes no --{name}.")
    if settings.seed < 0:
        raise InputError(f"--seed must be at least 0, not {settings.seed}.")
    if settings.elect_signs and method != "dare":
        raise InputError(f"{method} takes no --elect-signs.")
    _check_probe(settings)
    if method == "ties" and not 0 < settings.value("keep") <= 1:
        raise InputError(f"--keep must be above 0 and at most 1, not {settings.value('keep')}.")
    if method == "dare" and not 0 <= settings.value("drop") < 1:
        raise InputError(f"--drop must be at least 0 and below 1, not {settings.value('drop')}.")
    scales = [own.scale for own in settings.tensors]
    if method != "self-positioning" and any(scale is not None for scale in scales):
        raise InputError(
            f"{method} takes no scale by tensor; self-positioning does.",
            "Scale the tensor's weights.",
        )
    numbers = (settings.scale, settings.keep, settings.drop, *scales)
    for number in (*numbers, *chain.from_iterable(settings.all_weights())):
        if number is not None and not math.isfinite(number):
            raise InputError(f"--weights, --scale, --keep and --drop must be finite, not {number}.")
    for weights in settings.all_weights():
        if len(weights) != count:
            example = ",".join(["0.7", "0.3"] if count == 2 else [f"{1 / count:.2g}"] * count)
            raise InputError(
                f"There are {count} models and {len(weights)} weights.",
                f"Give one weight for each of the {count} models, such as --weights {example}.",
            )
        signless = method in _SIGNLESS or settings.elect_signs
        if signless and (min(weights) < 0 or sum(weights) == 0):
            raise InputError(f"{method} takes weights of 0 and more, not all 0.")
        if settings.of_shares and abs(sum(weights)) < _NOTHING:
            raise InputError("The weights sum to 0, and nothing of the models would be left.")
        if method == "self-positioning" and abs(sum(weights) - 1) > _SHARES_APART:
            raise InputError(f"{method} takes shares, which sum to 1, not to {sum(weights):g}.")
    if settings.prompts_from is not None and settings.prompts_from not in settings.models:
        raise InputError(f"--prompts-from must be one of the models, not {settings.prompts_from}.")


def _check_probe(settings: MergeSettings) -> None:
    if settings.probe and settings.method != "self-positioning":
        raise InputError(
            f"{settings.method} takes no --probe.", "It is what self-positioning learns from."
        )
    if not settings.learns:
        return
    if not settings.probe:
        raise InputError(
            "self-positioning needs --probe: documents that the merge shall be good at.",
            "Give it once for each task; every one counts the same.",
        )
    if settings.scale is not None or settings.tensors:
        raise InputError("self-positioning learns weights and scale; it takes none.")
    from isometry.jobs.places import as_typed

    if len(set(map(as_typed, settings.probe))) < len(settings.probe):
        raise InputError("A --probe is given twice.", "Each is a task of its own.")


def recipe_of(settings: MergeSettings, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """The recipe as it is written.

    Args:
        settings: With the weights that were learned, where some were.
        fingerprints: Of every parent.
    """

    def parent(name: str) -> dict[str, str]:
        return {"source": name, "fingerprint": fingerprints[name]}

    models = [parent(name) for name in settings.models]
    made: dict[str, Any] = {"format": FORMAT, "method": settings.method, "models": models}
    if settings.base is not None:
        made["base"] = parent(settings.base)
    if settings.weights is not None:
        made["weights"] = list(settings.weights)
    if settings.tensors:
        made["tensors"] = [
            {"pattern": own.pattern, "weights": list(own.weights)}
            | ({} if own.scale is None else {"scale": own.scale})
            for own in settings.tensors
        ]
    for name in _USUAL[settings.method]:
        made[name] = settings.value(name)  # pyright: ignore[reportArgumentType]
    if settings.method == "dare":
        made["elect_signs"] = settings.elect_signs
    if settings.method == "self-positioning":
        made["probe"] = list(settings.probe)
    # Of every method: an evaluation of what is merged again must ask what this merge was not
    # learned on, and its parents, if they were tuned with this seed, not trained on.
    made["seed"] = settings.seed
    if settings.prompts_from is not None:
        made["prompts_from"] = settings.prompts_from
    return made


def check_fingerprints(
    settings: MergeSettings, found: Mapping[str, str], wanted: Mapping[int, str]
) -> None:
    """Refuses a parent that is not the one that a recipe was made with.

    Args:
        settings: With the parents.
        found: The fingerprint of each by its name.
        wanted: That of the recipe, by the number of the parent; some may be missing.

    Raises:
        InputError: With its name.
    """
    for number, name in enumerate(settings.parents):
        if number in wanted and wanted[number] != found[name]:
            raise InputError(
                f"'{name}' is not the model that the recipe was made with: its files differ.",
                "Find that model, or take its fingerprint out of the recipe to merge this one.",
            )


def read_recipe(path: Path) -> tuple[MergeSettings, dict[int, str]]:
    """Reads a recipe.

    Returns:
        The settings, and the fingerprints of the parents (the models, then the base) that have one.

    Raises:
        InputError: When it is no recipe.
    """
    values = _read_yaml(path) if path.suffix in _YAML else read_json(path)
    if not isinstance(values, dict) or not isinstance(values.get("models"), list):
        raise InputError(f"{path} is no recipe: it has no list of models.")
    if values.get("format") not in (None, FORMAT):
        raise InputError(f"{path} has format {values['format']}; this version reads {FORMAT}.")
    known = {"format", "base", *MergeSettings.__dataclass_fields__}
    if unknown := sorted(set(values) - known):
        raise InputError(f"{path} has unknown settings: {', '.join(unknown)}.")
    try:
        parents = [_parent(model) for model in values["models"]]
        base = None if values.get("base") is None else _parent(values["base"])
        settings = MergeSettings(
            models=tuple(source for source, _ in parents),
            method=_method(values.get("method") or "average"),
            base=None if base is None else base[0],
            weights=_numbers(values.get("weights")),
            tensors=tuple(map(_tensor_weights, values.get("tensors") or ())),
            scale=_number(values.get("scale")),
            keep=_number(values.get("keep")),
            drop=_number(values.get("drop")),
            elect_signs=_switch(values.get("elect_signs", False)),
            probe=_sources(values.get("probe") or []),
            seed=_whole(values.get("seed") or 0),
            prompts_from=None
            if values.get("prompts_from") is None
            else str(values["prompts_from"]),
        )
    except KeyError as error:
        raise InputError(f"{path} is no recipe: {error} is missing.", _START) from error
    except (TypeError, OverflowError) as error:
        raise InputError(f"{path} is no recipe: a value has the wrong type.", _START) from error
    except ValueError as error:
        raise InputError(f"{path} is no recipe: {error}.", _START) from error
    everyone = parents if base is None else [*parents, base]
    return settings, {number: own for number, (_, own) in enumerate(everyone) if own is not None}


def tensor_weights(own: TensorWeights | Mapping[str, Any]) -> TensorWeights:
    """Weights of some tensors, as they are or as a recipe has them.

    Raises:
        InputError: When they are neither.
    """
    if isinstance(own, TensorWeights):
        return own
    try:
        return _tensor_weights(own)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{own!r} are no weights of tensors: {error}.",
            'Give "pattern" and "weights", one for each model.',
        ) from error


def _tensor_weights(own: Mapping[str, Any]) -> TensorWeights:
    if unknown := sorted(set(own) - set(TensorWeights.__dataclass_fields__)):
        raise ValueError(f"unknown settings of tensors: {', '.join(unknown)}")
    return TensorWeights(
        str(own["pattern"]), _numbers(own["weights"]) or (), _number(own.get("scale"))
    )


def _read_yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    # A ValueError is bytes that are no UTF-8, or a date that no calendar has.
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"Cannot read {path} as YAML: {reason[:200]}") from error


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


def _sources(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"probe is no list: {values!r}")
    return tuple(map(str, values))


def _switch(value: Any) -> bool:
    if value not in (None, True, False):
        raise ValueError(f"elect_signs is neither true nor false: {value!r}")
    return bool(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError(f"seed is no whole number: {value!r}")
    return int(float(value))


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    return None if value is None else float(value)


def _numbers(value: Any) -> tuple[float, ...] | None:
    if isinstance(value, str):
        raise ValueError(f"weights are no list: {value!r}")
    if value is None:
        return None
    if any(one is None for one in value):
        raise ValueError("a weight is missing")
    return tuple(float(_number(one) or 0) for one in value)
