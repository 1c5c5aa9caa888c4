"""Where a model may be written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from isometry.core.errors import InputError
from isometry.space_files import MANIFEST


def check_place(out: Path, models: Mapping[str, Path]) -> None:
    """Refuses a folder that would damage a model or a Space: inside of one, or around one.

    Args:
        out: The folder that will be written.
        models: The folders of what it is made from, by what the user calls them.

    Raises:
        InputError: With what it lies in.
    """
    above = out.resolve().parents
    for folder in above:
        if (folder / MANIFEST).is_file():
            raise InputError(f"{out} lies in the Space {folder}.", "Choose another --out.")
    for name, folder in models.items():
        if folder.resolve() in above:
            raise InputError(f"{out} lies in the model '{name}'.", "Choose another --out.")
        if out.resolve() in folder.resolve().parents:
            raise InputError(
                f"{out} would replace '{name}', which lies in it.", "Choose another --out."
            )
