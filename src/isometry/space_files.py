"""What lies in a Space's folder: the names, the manifest, and which files make up a state."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from isometry.core.errors import InputError
from isometry.core.files import hash_file, read_json
from isometry.core.writing import write_json
from isometry.search.versions import HINT, VIEWS, version_of

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2
MANIFEST = "space.json"
MODEL = "model"
INDEX = "index"
DOCUMENTS = "documents.parquet"
REPORT = "report.html"
# What a writer has beside the Space's own files: what waits to be written, the lock, who holds it,
# and unfinished work.
JOURNAL = "journal"
LOCK = "lock"
OWNER = "writer.json"
WRITING = ".writing"

# Where a writer makes files, under their names or, until they are whole, under hidden ones.
_WRITTEN = re.compile(
    r"(?:model|index)(?:-\d+)?/|documents(?:-\d+)?\.parquet$"
    r"|\.(?:space\.json|writer\.json|(?:model|index)(?:-\d+)?|documents(?:-\d+)?\.parquet)\."
)
_RESTORE = "Restore it from a copy, or run the same fit command again with --force."
# Without it nobody knows whether the folder may be replaced.
_MOVE = "Restore it from a copy, or move the folder away and run the same fit command again."


# Of a manifest, what commands read wherever there is one, by its place, and of which kind it is.
_NEEDED: dict[str, type | tuple[type, ...]] = {
    "files": dict,
    "source.name": str,
    "encoder.base": str,
    "encoder.fingerprint": str,
    "encoder.dim": int,
    "encoder.precision": str,
    "search.lexical": dict,
    "search.dense_weight": (int, float),
    "search.depth": int,
    "figures.verdict.kept": str,
}


@dataclass(frozen=True, slots=True)
class Current:
    """The files that make up one state of a Space: names in its folder.

    Attributes:
        model: The folder of the model.
        index: The folder of the table of passages.
        index_version: The table's version.
        documents: The file with the documents.
    """

    model: str
    index: str
    index_version: int
    documents: str

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Current:
        """What a manifest says is current; one of format 1 says nothing, for nothing changed.

        Raises:
            InputError: When it names something outside the Space.
        """
        named = manifest.get("current")
        if named is None:
            # The files are listed as they were made, whatever a writer has added since.
            versions = [
                version_of(name)
                for name in manifest["files"]
                if name.startswith(f"{INDEX}/") and name.endswith(".manifest")
            ]
            return cls(MODEL, INDEX, max(versions, default=1), DOCUMENTS)
        current = cls(named["model"], named["index"], named["index_version"], named["documents"])
        for name in (current.model, current.index, current.documents):
            if name in ("", "..") or Path(name).name != name:
                raise InputError(f"A manifest that names '{name}' is none of a Space.")
        return current


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a Space says of itself.

    Raises:
        InputError: When the folder is no Space, is unfinished, or a newer version made it.
    """
    if not folder.is_dir():
        raise InputError(
            f"There is no Space at {folder}.", "Make one with: isometry fit SOURCE --out FOLDER"
        )
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder} is no Space: it has no {MANIFEST}.",
            "An unfinished one ends in .partial: repeat its fit command to finish it.",
        )
    manifest = read_json(folder / MANIFEST)
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(version, int):
        raise InputError(f"{folder / MANIFEST} is no manifest of a Space.", _MOVE)
    if version > FORMAT:
        raise InputError(
            f"{folder} is a Space of format {version}; this Isometry reads up to {FORMAT}.",
            "Upgrade Isometry.",
        )
    current = manifest.get("current")
    wrong = _wrong_part(manifest)
    if wrong is None and not (current is None or _names_a_state(current)):
        wrong = "current"
    if wrong:
        raise InputError(f"{folder / MANIFEST} is damaged: '{wrong}' is missing or wrong.", _MOVE)
    return manifest


def _wrong_part(manifest: dict[str, Any]) -> str | None:
    """The place of the first value that is missing, empty, or of another kind."""
    for place, kind in _NEEDED.items():
        value: Any = manifest
        for name in place.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, kind) or value in ("", {}):
            return place
    return None


def _names_a_state(current: object) -> bool:
    kinds = get_type_hints(Current)
    return isinstance(current, dict) and all(
        type(current.get(name)) is kind for name, kind in kinds.items()
    )


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest over finished files: only now the folder is a Space."""
    (folder / MANIFEST).unlink(missing_ok=True)
    found = sorted(path.relative_to(folder).as_posix() for path in files_below(folder))
    files = {name: hash_file(folder / name) for name in found if counts(name)}
    write_json(folder / MANIFEST, {**manifest, "files": files})


def counts(name: str) -> bool:
    """Whether a file in a Space's folder is a part of the Space that its manifest must name.

    Args:
        name: Its POSIX path below the folder.
    """
    return (
        name not in (MANIFEST, LOCK, OWNER)
        and not name.startswith((f"{WRITING}/", f"{JOURNAL}/"))
        and not name.endswith(f"/{HINT}")
        and f"/{VIEWS}/" not in name
    )


def files_below(folder: Path) -> list[Path]:
    """The files below a folder; those that vanish meanwhile do not matter."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def unlisted(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The files in the folder that are no part of the Space, as POSIX paths, sorted.

    Args:
        folder: The Space's.
        files: Those that its manifest names, with their hashes.
    """
    found = (path.relative_to(folder).as_posix() for path in files_below(folder))
    return sorted(set(filter(counts, found)) - set(files))


def is_written(name: str) -> bool:
    """Whether a file stands where a writer makes some; another one is somebody's own."""
    return _WRITTEN.match(name) is not None


def leftovers(folder: Path, files: Mapping[str, str]) -> list[str]:
    """What a write that is under way, or was killed, has left so far.

    A writer adds nothing to a model that is there; a file more in one comes from elsewhere.

    Args:
        folder: The Space's.
        files: Those that its manifest names.
    """
    if not (folder / WRITING).is_dir():
        return []
    there = {name.split("/")[0] for name in files}
    return [
        name
        for name in unlisted(folder, files)
        if is_written(name) and (name.startswith(INDEX) or name.split("/")[0] not in there)
    ]


def read_documents(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The documents of a Space.

    Args:
        path: Their file.
        columns: Which columns; all by default.

    Raises:
        InputError: When there is no such file, or it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise InputError(f"Missing from {path.parent}: {path.name}.", _RESTORE) from None
    except PermissionError:
        # The library's own names no file.
        raise InputError(f"{path} may not be read.", "Allow reading it.") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"Damaged in {path.parent}: {path.name}.", _RESTORE) from error


def check_files(folder: Path, files: Mapping[str, str]) -> int:
    """Compares the files with their hashes; gives how many there are.

    Args:
        folder: The Space's.
        files: Those that its manifest names, with their hashes.

    Raises:
        InputError: Naming the first file that is missing, damaged or unknown.
    """
    listed = {name: value for name, value in files.items() if counts(name)}
    for name, expected in listed.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"Missing from {folder}: {name}.", _RESTORE)
        if hash_file(path) != expected:
            raise InputError(f"Damaged in {folder}: {name}.", _RESTORE)
    if unknown := sorted(set(unlisted(folder, files)) - set(leftovers(folder, files))):
        raise InputError(
            f"Not part of the Space {folder}: {unknown[0]}.", "Move it out of the folder."
        )
    return len(listed)
