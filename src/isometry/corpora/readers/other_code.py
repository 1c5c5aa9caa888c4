"""Source code in other languages: one document a file, or a piece of a long file."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from isometry.corpora.documents import Document
from isometry.corpora.readers.reading import UniqueNames, has_words

SUFFIXES = frozenset({
    ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".go", ".rs", ".java", ".kt", ".scala", ".swift",
    ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".cs", ".rb", ".php", ".pl", ".pm", ".lua",
    ".r", ".jl", ".hs", ".ml", ".ex", ".exs", ".erl", ".clj", ".sh", ".bash", ".zsh", ".sql",
    ".vue", ".dart", ".zig", ".f90", ".pyx", ".pyi",
})  # fmt: skip
_LINES = 60
# A blank line before something that starts at the margin and closes nothing.
_BETWEEN_BLOCKS = re.compile(r"\n[ \t]*\n(?=[^\s)\]}])")


def read_other_code(text: str, path: str, names: UniqueNames) -> list[Document]:
    """The documents of a source file: the whole, or blocks packed up to about 60 lines.

    Args:
        text: Its text.
        path: Its path, after which they are called.
        names: Those that are given: a function may be called as this file is.
    """
    pieces: list[str] = []
    size = 0
    for block in _BETWEEN_BLOCKS.split(text.strip("\n")):
        lines = block.count("\n") + 2
        if pieces and size + lines <= _LINES:
            pieces[-1] += "\n\n" + block
            size += lines
        else:
            pieces.append(block)
            size = lines
    if text.count("\n") <= _LINES:
        pieces = [text.strip("\n")]
    place = PurePosixPath(path)
    return [
        Document(
            id=names.take(path if len(pieces) == 1 else f"{path}#{number}"),
            text=piece.rstrip(),
            title=place.name,
            context=str(place.parent) if len(place.parts) > 1 else "",
            group=path,
            order=number - 1,
            kind="code",
            source=path,
        )
        for number, piece in enumerate(pieces, start=1)
        if has_words(piece)
    ]
