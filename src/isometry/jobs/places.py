"""Where a model may be written, what it may replace there, and where a source lies."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from isometry.core.errors import InputError
from isometry.core.files import read_json
from isometry.corpora.readers import Source
from isometry.corpora.readers.archives import SKIPPED_FOLDERS
from isometry.corpora.readers.folders import Folder
from isometry.corpora.readers.kinds import refused_name
from isometry.corpora.readers.sqlite_rows import parted
from isometry.space_files import MANIFEST

# The files of a model and its tokenizer, its card, and what says how it was made.
_OF_A_MODEL = (
    *("*.safetensors", "*.safetensors.index.json", "*.model", "*.jinja", "README.md"),
    *("config.json", "config_sentence_transformers.json", "sentence_*_config.json", "modules.json"),
    *("generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "vocab.bpe", "merges.txt", "unigram.json", "chat_template.json"),
    *("cut.json", "distillation.json", "recipe.json"),
)


def check_plan_options(minutes: float, seed: int) -> None:
    """Refuses minutes that nothing can be planned for, and a seed that nothing is drawn by.

    Raises:
        InputError: With what is wrong.
    """
    if not 0 < minutes < math.inf:
        raise InputError(f"--minutes must be more than 0 and finite, not {minutes}.")
    if seed < 0:
        raise InputError(f"--seed must be at least 0, not {seed}.")


def check_replaceable(folder: Path, is_one: bool, kind: str, force: bool) -> None:
    """Refuses a folder that is there and shall not be replaced.

    Args:
        folder: May be missing.
        is_one: Whether it is of this kind.
        kind: What it may be: "cut model".
        force: Whether one of this kind may be replaced.

    Raises:
        InputError: When it is something else, or `force` is not given.
    """
    if not folder.exists():
        return
    if not is_one:
        raise InputError(
            f"{folder} exists and is no {kind}; it is left alone.", "Choose another --out."
        )
    if not force:
        raise InputError(f"{folder} exists.", "Choose another --out, or replace it with --force.")


def is_model(folder: Path) -> bool:
    """Whether a folder has a model in it, and is no training's.

    Weights must stand where such a model has them: programs call their own files config.json, too,
    and have models somewhere below. A training's folder has its checkpoints in it.
    """
    if any(folder.glob("checkpoint-*")):
        return False
    weights = any(folder.glob("*.safetensors"))
    if (folder / "modules.json").is_file():
        return weights or any(folder.glob("*/*.safetensors"))
    return weights and (folder / "config.json").is_file()


def check_model_alone(folder: Path, copied: Collection[str] = ()) -> None:
    """Refuses to replace a model's folder that holds something else, too.

    Args:
        folder: May be missing.
        copied: Names of further files that its model may have got from those that it is made of.

    Raises:
        InputError: With the first such file.
    """
    modules = folder / "modules.json"
    listed = read_json(modules) if modules.is_file() else []
    parts = {str(module.get("path", "")) for module in listed if isinstance(module, dict)}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        known = path.name in copied or any(fnmatch(path.name, name) for name in _OF_A_MODEL)
        if path.is_file() and not (known and inside.parent.as_posix() in {".", *parts}):
            raise InputError(
                f"{folder} holds {inside}, which is no part of a model; it is left alone.",
                "Move it out, or choose another --out.",
            )


def check_apart(source: Source, *queries: str | Path | None) -> None:
    """Refuses files of queries that a source would read as documents: each would find itself.

    Args:
        source: The opened source.
        queries: Their files, where there are some.

    Raises:
        InputError: With the first that lies in it.
    """
    given = [path for path in queries if path is not None]
    if not given or not isinstance(source, Folder):
        return
    read = (file for file in source.files if refused_name(file) is None)
    documents = {(source.root / file).resolve() for file in read}
    for path in given:
        if Path(path).resolve() in documents:
            raise InputError(
                f"{path} lies in the source {source.name}, which would have its queries among its"
                " documents.",
                "Move it out of there.",
            )


def check_new_file(path: Path, force: bool, begins: bytes) -> None:
    """Refuses a place where no file can be written, or where there is one.

    Args:
        path: The place.
        force: Whether a file of the same kind may be replaced.
        begins: What such a file begins with.

    Raises:
        InputError: When it is a folder; or there, and `force` is not given or it is another kind.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder.", "--out is the file that is written.")
    if not path.exists():
        return
    if not force:
        raise InputError(f"{path} exists.", "Choose another --out, or replace it with --force.")
    with path.open("rb") as file:
        if file.read(len(begins)) not in (begins, b""):
            raise InputError(
                f"{path} exists and is another kind of file; it is left alone.",
                "Choose another --out.",
            )


def check_outside(path: Path, source: Path) -> None:
    """Refuses a file that the next run over a source would read as a document.

    Args:
        path: Where it will be written.
        source: The folder that is read; anything else has no files in it.

    Raises:
        InputError: When it lies in it, in no folder that is not read.
    """
    path, source = path.resolve(), source.resolve()
    if not source.is_dir() or source not in path.parents:
        return
    inside = path.relative_to(source).parts
    # What is hidden is not read.
    if not any(part.startswith(".") or part in SKIPPED_FOLDERS for part in inside):
        raise InputError(
            f"{path} lies in the source, where the next run would read it as a document.",
            "Choose another --out.",
        )


def check_place(out: Path, models: Mapping[str, Path]) -> None:
    """Refuses a place that would damage a model or a Space: inside of one, or around one.

    Args:
        out: The file or folder that will be written.
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


def several(named: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    """Sources or models as a list, where one alone may be given."""
    return [named] if isinstance(named, str | Path) else named


def as_typed(place: str) -> str:
    """A source or a model as it is told apart: however its path is typed."""
    return str(Path(place)) if Path(place).expanduser().exists() else place


def file_of(source: str) -> Path:
    """The file or folder that a source is typed as; there need be none."""
    scheme, _, rest = source.partition(":")
    path = parted(rest)[0] if scheme == "sqlite" else source
    return Path(path).expanduser()


def place_of(source: str) -> str | None:
    """Where a source lies, whatever folder one is in; None where it is no file or folder here.

    Links stay links: what they lead to may change from one release to the next.

    Args:
        source: As a user types it, or as its reader is called: a path, or `sqlite:PATH#TABLE`.
    """
    scheme, _, rest = source.partition(":")
    sqlite = scheme == "sqlite"
    path, mark, table = parted(rest) if sqlite else (source, "", "")
    place = Path(path).expanduser()
    if not place.exists():
        return None
    return f"{'sqlite:' * sqlite}{place.absolute()}{mark}{table}"
