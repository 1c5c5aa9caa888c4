"""Files that appear whole or not at all.

Everything is written beside its final place, flushed to disk and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from isometry.core.errors import InputError

# A place that the user named and that cannot be written.
_FORBIDDEN = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
)
# What a new file may be read and written by, as the user's umask has it.
_UMASK = os.umask(0o077)
os.umask(_UMASK)
# So few bytes are left on a disk when a write has just failed for want of room.
_BARELY = 1 << 20


def flush(path: Path) -> None:
    """Waits until a file, or the list of a folder's files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def clear_disk_errors(path: Path, *, new: bool = False) -> Generator[None]:
    """Turns what a full disk or a forbidden place raises into an `InputError` that names it.

    Args:
        path: What is written.
        new: Whether only new files and folders are made. Where there can be none, as in /proc, the
            system says that there is no such file, which of anything else would mean another one.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT) or _no_room(error, path):
            raise InputError(
                f"No room left on the disk that holds {path}.",
                "Free some space and run the same command again.",
            ) from error
        nowhere = new and number == errno.ENOENT
        if number is not None and (number in _FORBIDDEN or nowhere):
            raise InputError(
                f"Cannot write to {path}: {os.strerror(number)}.",
                "Choose another place, or allow writing there.",
            ) from error
        raise


def _no_room(error: Exception, path: Path) -> bool:
    """Whether a library hit a full disk; NumPy, torch and safetensors tell no error number."""
    if f"(os error {errno.ENOSPC})" in str(error):
        return True
    if not isinstance(error, (OSError, RuntimeError)) or getattr(error, "errno", None) is not None:
        return False
    place = next((place for place in (path, *path.absolute().parents) if place.exists()), None)
    return place is not None and shutil.disk_usage(place).free < _BARELY


@contextlib.contextmanager
def atomic_file(path: Path) -> Generator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` when the block succeeds.

    Raises:
        InputError: When the disk is full or the place may not be written.
    """
    with clear_disk_errors(path, new=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
    temporary = Path(name)
    try:
        # Inside, so that a full disk is still full when it is looked at.
        with clear_disk_errors(path):
            yield temporary
            temporary.chmod(0o666 & ~_UMASK)
            flush(temporary)
            temporary.replace(path)
            flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Refuses a place where nothing can be made; before hours of work, say.

    Args:
        path: Of a file or folder; the folders above it are made.

    Raises:
        InputError: When the disk is full or the place may not be written.
    """
    with clear_disk_errors(path, new=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.")).rmdir()


@contextlib.contextmanager
def atomic_folder(path: Path, *, last_look: Callable[[], None] = lambda: None) -> Generator[Path]:
    """Yields a temporary folder beside `path`; it becomes `path` when the block succeeds.

    An existing `path` is replaced; a kill at that moment may leave none, never a part of one. Of a
    link to a folder it is the folder that is replaced.

    Args:
        path: The folder.
        last_look: Called right before that; what it raises leaves `path` as it is. Something may
            have come there since the work began.

    Raises:
        InputError: When the disk is full or the place may not be written.
    """
    path = path.resolve() if path.is_symlink() else path
    with clear_disk_errors(path, new=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        with clear_disk_errors(path):
            yield temporary
            temporary.chmod(0o777 & ~_UMASK)
            for file in temporary.rglob("*"):
                if file.is_file():
                    # Libraries write some files for their owner alone.
                    file.chmod(0o666 & ~_UMASK)
                    flush(file)
            last_look()
            replace_folder(path, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(path: Path, new: Path) -> None:
    """Puts a finished folder in its place; what is there goes only once the new one is.

    A kill at that moment may leave none in the place, and the old one hidden beside it.

    Args:
        path: The place, whether something is there or not.
        new: The finished folder, on the same disk.
    """
    # A folder cannot be renamed onto a full one: the old one is put aside first.
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
    try:
        if path.is_dir():
            path.replace(aside)
        new.replace(path)
        flush(path.parent)
    finally:
        if aside.exists() and not path.exists():
            aside.replace(path)
        shutil.rmtree(aside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """NumPy's scalars as numbers; anything else that JSON does not know as text."""
    return value.item() if hasattr(value, "item") else str(value)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, whole or not at all; NaN is refused, since other parsers would refuse it."""
    write_text(
        path,
        json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n",
    )


def out_folder(path: str | Path) -> Path:
    """A folder that is to be written, under a path that ends with its name.

    ".", ".." and links name folders without saying their names, beside which work goes on.
    """
    folder = Path(path).expanduser()
    named = folder.name not in ("", "..") and not folder.is_symlink()
    return folder if named else folder.resolve()
