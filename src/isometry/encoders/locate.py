"""Finding a model by what a user types; looks at names and files only, so that it is cheap."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from isometry.core.errors import InputError
from isometry.core.files import hash_file, read_json, read_object
from isometry.encoders.packaged_models import PREFIX, packaged_folder

# What weights, configuration, prompts and tokenizers are kept in.
_KINDS = frozenset({".safetensors", ".json", ".txt", ".model"})


def is_static(folder: Path) -> bool:
    """Whether a folder holds a table of token vectors: a StaticEmbedding, or model2vec's."""
    modules, config = folder / "modules.json", folder / "config.json"
    if modules.is_file():
        listed: Any = read_json(modules)
        first: Any = listed[0] if isinstance(listed, list) and listed else None
        return isinstance(first, dict) and str(first.get("type")).endswith("StaticEmbedding")
    return config.is_file() and read_object(config).get("model_type") == "model2vec"


def model_files(source: str | Path) -> dict[str, str]:
    """The sha256 of what a local model consists of, by POSIX path below its folder, sorted.

    A model on the hub has none: what it consists of is known only once it is downloaded.

    Raises:
        InputError: When there is no such model.
    """
    folder, is_local = locate(source)
    if not is_local:
        return {}
    return {
        file.relative_to(folder).as_posix(): hash_file(file)
        for file in sorted(Path(folder).rglob("*"))
        if file.suffix in _KINDS and file.is_file()
    }


def public_name(source: str) -> str:
    """What a model is called where others read it: of a folder only its own name."""
    folder = Path(source).expanduser()
    return folder.resolve().name if folder.is_dir() else source


def locate(source: str | Path) -> tuple[str | Path, bool]:
    """Where a model is: (folder, True), or (hub id, False); looks at names and files only.

    Raises:
        InputError: When it can be neither.
    """
    text = str(source)
    if text.startswith(PREFIX):
        return packaged_folder(text), True
    folder = Path(source).expanduser()
    if folder.is_dir():
        if (folder / "space.json").is_file():
            try:
                # A migration leaves the former model beside the current one.
                current = read_json(folder / "space.json").get("current") or {}
                folder = folder / Path(current.get("model", "model")).name
            except (AttributeError, TypeError):
                raise InputError(
                    f"{folder / 'space.json'} is no manifest of a Space.",
                    "Move it out of the folder, if that is a model.",
                ) from None
        if not ((folder / "modules.json").is_file() or (folder / "config.json").is_file()):
            raise InputError(
                f"{folder} is no model: it has neither modules.json nor config.json.",
                "Give a sentence-transformers or transformers folder.",
            )
        return folder, True
    if folder.exists():
        raise InputError(f"{folder} is a file; a model is a folder.")
    if len(folder.parts) == 2 and (folder.parent / "space.json").is_file():
        # It looks like a name of the hub, where a migration may have left another folder.
        raise InputError(
            f"The Space {folder.parent} has no folder {folder.name}.",
            f"Give {folder.parent} itself: its model is meant.",
        )
    if isinstance(source, str) and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text):
        return text, False
    raise InputError(
        f"There is no model '{text}'.",
        "Give a folder, packaged:minilm, or a hub id such as owner/name.",
    )
