"""What a file's name says about how it is read; and its text, its bytes or its page."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import BinaryIO

from isometry.core.errors import InputError
from isometry.corpora.readers import (
    epub,
    html,
    markdown,
    markup,
    notebooks,
    other_code,
    pdf,
    restructured_text,
    word,
)
from isometry.corpora.readers.archives import ARCHIVE_SUFFIXES, Member
from isometry.corpora.readers.compressed import compressed_suffix, inflated
from isometry.corpora.readers.decoding import decode, is_binary
from isometry.corpora.readers.rows import TABLE_SUFFIXES

_MARKUP: dict[str, Callable[[str], markup.Page]] = {
    ".txt": markup.read_plain,
    ".md": markdown.read_markdown,
    ".markdown": markdown.read_markdown,
    ".rst": restructured_text.read_restructured_text,
    ".html": html.read_html,
    ".htm": html.read_html,
    ".xhtml": epub.read_xhtml,
    ".ipynb": notebooks.read_notebook,
}
_OFFICE: dict[str, Callable[[BinaryIO], markup.Page]] = {
    ".pdf": pdf.read_pdf,
    ".docx": word.read_word,
}
TEXTS = frozenset({".py", *_MARKUP, *other_code.SUFFIXES})
PAGES = frozenset({*_MARKUP, *_OFFICE})
READABLE = TEXTS | PAGES | {".epub"} | TABLE_SUFFIXES | ARCHIVE_SUFFIXES
_ONE_SUFFIX = READABLE - TABLE_SUFFIXES - ARCHIVE_SUFFIXES
_MOST_BYTES = 20 << 20
_MOST_NOTEBOOK_BYTES = 100 << 20  # most of a notebook may be pictures
_MOST_MEMORY = 512 << 20  # for a file that is read from memory, being compressed or in an archive


def suffix_of(path: str) -> str:
    """What decides how a file is read, in lower case.

    Sphinx's copies "page.rst.txt" are ".rst", and "page.html.gz" is ".html"; tables and archives
    keep all of theirs: ".csv.gz", ".tar.xz".
    """
    name = path.lower()
    found = [suffix for suffix in (*TABLE_SUFFIXES, *ARCHIVE_SUFFIXES) if name.endswith(suffix)]
    if found:
        return max(found, key=len)
    inner = plain_path(name)
    suffix = ".rst" if inner.endswith(".rst.txt") else PurePosixPath(inner).suffix
    return suffix if suffix in _ONE_SUFFIX else PurePosixPath(name).suffix


def plain_path(path: str) -> str:
    """A path without the ending that says how the file is compressed."""
    return path[: len(path) - len(compressed_suffix(path))]


def refused_name(path: str) -> str | None:
    """Why a file is not read whatever it holds, if so."""
    suffix = suffix_of(path)
    if suffix not in READABLE:
        return f"no reader for '{suffix}' files" if suffix else "no file extension"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return None


def most_bytes(suffix: str) -> int:
    """How large a file may be that is held in memory."""
    if suffix not in TEXTS:
        return _MOST_MEMORY
    return _MOST_NOTEBOOK_BYTES if suffix == ".ipynb" else _MOST_BYTES


def text_of(member: Member) -> str:
    """A file's text.

    Raises:
        InputError: When it is none, cannot be read, or is too long.
    """
    data = _bytes_of(member)
    if is_binary(data):
        raise InputError("binary")
    text = decode(data)
    if text is None:
        raise InputError("unknown encoding")
    return text


def open_member(member: Member) -> BinaryIO:
    """A file to seek in: on the disk where it stands there as it is, else in memory.

    Raises:
        InputError: When it cannot be read, or is too long.
    """
    if member.file is None or compressed_suffix(member.path):
        return io.BytesIO(_bytes_of(member))
    try:
        return member.file.open("rb")
    except OSError as error:
        raise InputError(str(error.strerror)) from error


def page_of(member: Member) -> markup.Page:
    """The page that a file of `PAGES` holds.

    Raises:
        InputError: When it cannot be read, is too long, or is not what its name says.
    """
    suffix = suffix_of(member.path)
    if suffix in _MARKUP:
        return _MARKUP[suffix](text_of(member))
    with open_member(member) as file:
        return _OFFICE[suffix](file)


def _bytes_of(member: Member) -> bytes:
    most = most_bytes(suffix_of(member.path))
    return inflated(member.path, member.read(most), most)
