"""What a reproduction leaves: one JSON a system and scale, with everything that it rests on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isometry.core.errors import InputError
from isometry.core.files import hash_value, read_json
from isometry.core.writing import write_text
from isometry.systems.catalogue import PACKAGE, Entry

if TYPE_CHECKING:
    from isometry.systems.system import ScaleName

FORMAT = 1
# A list of numbers in JSON, and what can be left out of a whole one.
_NUMBERS = re.compile(r"(?<=: )\[\n[-+\d.eE,\s]+\]")
_WHOLE = re.compile(r"\.0(?=[,\]])")
_TEXTS = ("slug", "scale", "title", "created", "baseline", "method")


@dataclass(frozen=True)
class Identity:
    """What figures rest on: two runs with the same identity are one.

    Attributes:
        settings: The hash of the scale.
        data: The hash of what was read.
        code: The hash of the system and of all that it stands on.
    """

    settings: str
    data: str
    code: str

    def hash(self) -> str:
        """One hash of the three."""
        return hash_value([self.settings, self.data, self.code])

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Which of the three another identity has otherwise."""
        return [name for name, value in vars(self).items() if other.get(name) != value]


def results_folder(given: Path | None = None) -> Path:
    """The folder that is given, or `results/` of the checkout that this package runs from.

    Where it runs from none, that of the present folder.
    """
    if given is not None:
        return given.expanduser()
    checkout = PACKAGE.parents[1]
    return (checkout if (checkout / "pyproject.toml").is_file() else Path()) / "results"


def record_path(folder: Path, slug: str, scale: ScaleName) -> Path:
    """Where the record of a system stands."""
    return folder / slug / f"{scale}.json"


def read_record(path: Path) -> dict[str, Any] | None:
    """A record, or None where there is none.

    Raises:
        InputError: When the file is no record.
    """
    if not path.exists():
        return None
    try:
        record = read_json(path)
    except InputError:
        record = None
    form = record.get("format") if isinstance(record, dict) else None
    if isinstance(form, int) and form != FORMAT:
        raise InputError(
            f"{path} is a record of format {form}, and this version writes {FORMAT}.",
            "Remove it, and run it again.",
        )
    if not isinstance(record, dict) or form is None or not _is_whole(record, path):
        raise InputError(f"{path} is no record of a reproduction.", "Remove it, and run it again.")
    return record


def _is_whole(record: dict[str, Any], path: Path) -> bool:
    """Whether a record is of this place, and has what is shown of it."""
    try:
        return (
            all(isinstance(record[name], str) for name in _TEXTS)
            and (record["slug"], record["scale"]) == (path.parent.name, path.stem)
            and isinstance(record["identity"]["code"], str)
            and isinstance(record["passed"], bool)
            and {record["baseline"], record["method"]} <= record["arms"].keys()
            and all(
                np.isfinite(figure).all()
                for arm in record["arms"].values()
                for run in [arm["runs"][0], *arm["runs"]]
                for figure in run["figures"].values()
            )
            and all(
                isinstance(gate["metric"], str) and gate.keys() >= {"passed", "report_only"}
                for gate in [record["gates"][0], *record["gates"]]
            )
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return False


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a record, whole or not at all; the figures of all items stand in one line."""
    text = json.dumps({"format": FORMAT, **record}, indent=1, ensure_ascii=False, allow_nan=False)

    def in_a_line(numbers: re.Match[str]) -> str:
        return _WHOLE.sub("", re.sub(r"\s+", "", numbers[0]))

    write_text(path, _NUMBERS.sub(in_a_line, text) + "\n")


def state(entry: Entry, record: Mapping[str, Any] | None) -> str:
    """`passed`, `failed`, `stale` (code changed since) or `not run`."""
    if record is None:
        return "not run"
    if record["identity"]["code"] != entry.code_hash:
        return "stale"
    return "passed" if record["passed"] else "failed"
