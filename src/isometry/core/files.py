"""What files hold: JSON, and hashes of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

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
