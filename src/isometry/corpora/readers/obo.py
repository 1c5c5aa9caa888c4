"""Ontologies in the OBO format -> terms."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def obo_terms(path: Path) -> Iterator[dict[str, list[str]]]:
    """The terms of a file in the OBO format: the values of each tag, as they stand there.

    Args:
        path: The file, of version 1.2 or 1.4.

    Reference:
        https://owlcollab.github.io/oboformat/doc/GO.format.obo-1_4.html
    """
    term: dict[str, list[str]] | None = None
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = line.strip()
            if row.startswith("["):
                if term is not None:
                    yield dict(term)
                term = defaultdict(list) if row == "[Term]" else None
            elif term is not None and row and not row.startswith("!"):
                tag, _, value = row.partition(":")
                term[tag].append(value.strip())
    if term is not None:
        yield dict(term)


def quoted(value: str) -> tuple[str, str]:
    """A quoted text without the format's backslashes, and what follows it."""
    match = _QUOTED.match(value)
    if match is None:
        return "", value
    text = re.sub(r"\\(.)", r"\1", match[1].replace(r"\n", " "))
    return " ".join(text.split()), value[match.end() :]
