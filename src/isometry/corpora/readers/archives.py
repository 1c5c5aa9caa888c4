"""ZIP and tar archives -> their members, one at a time, without unpacking to disk."""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from isometry.core.errors import InputError
from isometry.corpora.readers.compressed import (
    GuardedZip,
    open_inflated,
    open_zip,
    read_at_most,
)
from isometry.corpora.readers.reading import ReadingReport

# tar's files by their short names, and how each is compressed.
_TARS = {
    ".tar": "", ".tar.gz": ".gz", ".tgz": ".gz", ".tar.bz2": ".bz2", ".tbz2": ".bz2",
    ".tar.xz": ".xz", ".txz": ".xz", ".tar.zst": ".zst", ".tzst": ".zst",
}  # fmt: skip
ARCHIVE_SUFFIXES = frozenset({".zip", *_TARS})
SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "__MACOSX"})
_DRIVE = re.compile(r"[A-Za-z]:")
_NOTES = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_MOST_NOTE = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file that may stand in an archive.

    Attributes:
        path: Its POSIX path within the source; the archive's name is a folder of it.
        name: Its path within the folder or the archive.
        read: All its bytes, at most so many; of a tar, only until the next member is asked for.
        file: Where it stands on the disk, unless it is in an archive.
    """

    path: str
    name: str
    read: Callable[[int], bytes]
    file: Path | None = None


class _BoundedTarInfo(tarfile.TarInfo):
    """tarfile reads long names and other notes whole, however long they say they are."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _BoundedTarInfo:
        entry = super().frombuf(buf, encoding, errors)
        if entry.type in _NOTES and entry.size > _MOST_NOTE:
            raise InputError("damaged: a name or note in it is longer than 1 MB")
        return entry


def archive_members(file: Path, shown: str, report: ReadingReport) -> Iterator[Member]:
    """Streams the files of an archive in its own order; one that came before is not yielded again.

    Args:
        file: The archive, its kind told by its name.
        shown: Its path within the source.
        report: Where links, names that lead outside, encrypted members and the like are noted.

    Raises:
        InputError: When it is damaged, or inflates to too much; what came before that stands.
    """
    name, seen = file.name.lower(), set[str]()
    entries = _zip_entries(file) if name.endswith(".zip") else _tar_entries(file, name)
    for inner, refusal, read in entries:
        place = PurePosixPath(inner.replace("\\", "/"))
        path = f"{shown}/{place}"
        if any(part.startswith(".") and part != ".." for part in place.parts) or (
            SKIPPED_FOLDERS & set(place.parts)
        ):
            continue
        report.files += 1
        parts = place.parts
        if place.is_absolute() or not parts or ".." in parts or _DRIVE.match(parts[0]):
            refusal = "its name leads outside the archive"
        elif archive_suffix(path):
            refusal = "an archive inside an archive"
        elif path in seen:
            refusal = "its name came before in the archive"
        if refusal:
            report.skip(path.encode("utf-8", errors="replace").decode("utf-8"), refusal)
        else:
            seen.add(path)
            yield Member(path, str(place), read)


def archive_suffix(path: str) -> str:
    """The ending that makes a file an archive, in lower case; empty if it is none."""
    name = path.lower()
    return max((s for s in ARCHIVE_SUFFIXES if name.endswith(s)), key=len, default="")


_Entry = tuple[str, str, Callable[[int], bytes]]


def _zip_entries(file: Path) -> Iterator[_Entry]:
    with open_zip(file) as archive:
        for entry in archive.members:
            if not entry.is_dir():
                yield entry.filename, _zip_refusal(entry), _reader(archive, entry)


def _reader(archive: GuardedZip, entry: zipfile.ZipInfo) -> Callable[[int], bytes]:
    return lambda most: archive.read(entry, most)


def _zip_refusal(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & 0x1:
        return "encrypted"
    return "a link" if stat.S_ISLNK(entry.external_attr >> 16) else ""


def _tar_entries(file: Path, name: str) -> Iterator[_Entry]:
    suffix = _TARS[archive_suffix(name)]
    try:
        with (
            open_inflated(file, suffix) as stream,
            tarfile.open(fileobj=stream, mode="r|", tarinfo=_BoundedTarInfo) as archive,
        ):
            while (entry := archive.next()) is not None:
                # It keeps them all.
                archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                if not entry.isdir():
                    yield entry.name, _tar_refusal(entry), _tar_reader(archive, entry)
    except tarfile.TarError as error:
        raise InputError(f"damaged: {error}") from error


def _tar_refusal(entry: tarfile.TarInfo) -> str:
    if entry.issym() or entry.islnk():
        return "a link"
    return "" if entry.isreg() and not entry.issparse() else "no plain file"


def _tar_reader(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Callable[[int], bytes]:
    def read(most: int) -> bytes:
        try:
            stream = archive.extractfile(entry)
            return read_at_most(stream or io.BytesIO(), most)
        except tarfile.TarError as error:
            raise InputError(f"damaged: {error}") from error

    return read
