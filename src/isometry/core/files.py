"""What files hold: JSON, and hashes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from isometry.core.errors import InputError


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: When it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except (ValueError, OSError) as error:
        raise InputError(f"Cannot read {path} as JSON: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        InputError: As `read_json` does, and when it holds something else.
    """
    value: Any = read_json(path)
    if not isinstance(value, Mapping):
        raise InputError(f"{path} is no JSON object.")
    return dict(cast(Mapping[str, Any], value))


def hash_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(folder: Path) -> dict[str, str]:
    """The sha256 of every file below a folder, by POSIX path, sorted."""
    return {
        file.relative_to(folder).as_posix(): hash_file(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def hash_value(value: Any) -> str:
    """The sha256 of a value's canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
