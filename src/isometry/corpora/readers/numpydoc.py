"""Docstrings in the manner of NumPy: what a function is, gives back, and refers to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from isometry.corpora.documents import Document
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.source import open_source

# A heading is underlined; what is indented belongs to the entry above it.
_RULE = re.compile(r"[-=]{3,}\s*")
_NAME = re.compile(r"(?::[\w:]+:)?`?[~!.]?([A-Za-z_][\w.]*)(?:\(\))?`?")
_DESCRIPTION = re.compile(r"\s+:(?:\s|$)|:(?=\s|$)")
# What is first found of these in a docstring's type names its kind.
_KINDS = {
    "array": "ndarray|array|matrix",
    "table": "dataframe|series|index",
    "number": "float|int|integer|number|scalar|double|complex",
    "truth": "bool|boolean|true|false",
    "text": "str|string",
    "mapping": "dict|dictionary|bunch",
    "graph": r"\w*graph",
    "several": "list|tuple|set|iterator|generator|iterable",
}


@dataclass(frozen=True, slots=True)
class Described:
    """A function, class or method with its docstring.

    Attributes:
        id: Its dotted name, such as `numpy.linalg._linalg.norm`.
        module: Where it stands.
        text: What it is: the first paragraph, without its own name.
        returned: The type of the first thing that it gives back, as written; may be empty.
        see_also: The names under "See Also", as written.
    """

    id: str
    module: str
    text: str
    returned: str
    see_also: tuple[str, ...]


def read_described(package: str) -> list[Described]:
    """What an installed package says of its public functions, classes and methods.

    Its source is parsed, and nothing is imported.

    Args:
        package: A name as in `import`, with dots or not.

    Raises:
        InputError: When it is not installed or has no Python source.
    """
    return list(described(open_source(f"python:{package}").documents(ReadingReport())))


def described(documents: Iterable[Document]) -> Iterator[Described]:
    """The public ones among documents of source code that have a docstring with words."""
    for document in documents:
        if document.kind != "code" or not document.summary or not document.context:
            continue
        if any(part.startswith("_") for part in document.title.split(".")):
            continue
        name = document.title.rpartition(".")[2]
        if text := first_paragraph(document.summary, name):
            yield Described(
                id=document.id,
                module=document.group,
                text=text,
                returned=returned_type(document.summary),
                see_also=see_also(document.summary),
            )


def section(docstring: str, heading: str) -> list[str]:
    """The lines below an underlined heading, up to the next one; without blank ends."""
    lines = docstring.split("\n")
    for number in range(1, len(lines)):
        if lines[number - 1].strip() == heading and _RULE.fullmatch(lines[number].strip()):
            body = lines[number + 1 :]
            for end in range(1, len(body)):
                if body[end - 1].strip() and _RULE.fullmatch(body[end].strip()):
                    body = body[: end - 1]
                    break
            return "\n".join(body).strip("\n").split("\n") if any(map(str.strip, body)) else []
    return []


def see_also(docstring: str) -> tuple[str, ...]:
    """The names that a docstring refers to under "See Also", in order, each once.

    An entry is one name or several with commas, under Sphinx roles or not, and what follows a colon
    or is indented describes it. Lines that are prose are left out.
    """
    found: dict[str, None] = {}
    for line in section(docstring, "See Also"):
        if line[:1].isspace():
            continue
        # The colons of a role stand right before its backtick.
        names = [name.strip() for name in _DESCRIPTION.split(line, maxsplit=1)[0].split(",")]
        matches = [_NAME.fullmatch(name) for name in names if name]
        if all(matches):
            found |= dict.fromkeys(match[1].rstrip(".") for match in matches if match)
    return tuple(found)


def returned_type(docstring: str) -> str:
    """The type of the first thing under "Returns": behind its name, or all of the line."""
    lines = section(docstring, "Returns")
    if not lines:
        return ""
    name, colon, kind = lines[0].partition(" : ")
    return (kind if colon else name).strip()


def kind_of(returned: str) -> str:
    """What kind of thing a type is, such as "array"; empty where it is none of the usual."""
    places = {
        kind: found.start()
        for kind, words in _KINDS.items()
        if (found := re.search(rf"(?<![a-z])(?:{words})(?![a-z])", returned.lower()))
    }
    return min(places, key=lambda kind: places[kind], default="")


def first_paragraph(docstring: str, name: str) -> str:
    """What a docstring says first, in one line, without the name of what it describes.

    A paragraph that is only a signature is passed over. Without the name, what refers to a function
    by its name does not give away which one it is.
    """
    for paragraph in re.split(r"\n\s*\n", docstring.strip()):
        if re.match(rf"(\w+ = )?[\w.]*\b{re.escape(name)}\(.*\)\s*$", paragraph, re.DOTALL):
            continue
        # Headings begin what is no longer the description.
        if any(_RULE.fullmatch(line.strip()) for line in paragraph.split("\n")):
            return ""
        bare = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " ", paragraph, flags=re.IGNORECASE)
        return " ".join(bare.split())
    return ""


def references(items: Iterable[Described]) -> list[tuple[str, str]]:
    """Who refers to whom under "See Also": the ids of both, of items that are there.

    Names are written short, and as a package exports them, not as its files have them: `norm` or
    `numpy.linalg.norm` for `numpy.linalg._linalg.norm`. An item fits if it ends as the name does,
    and has the name's other parts in the same order. Of several, a bare name means one beside the
    item that refers; else it is the one with the fewest parts, and the nearest to it of these.
    """
    items = list(items)
    by_last: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for item in items:
        parts = tuple(item.id.split("."))
        by_last[parts[-1]].append(parts)
    edges: dict[tuple[str, str], None] = {}
    for item in items:
        own = tuple(item.id.split("."))
        for name in item.see_also:
            wanted = tuple(name.split("."))
            fits = [
                parts
                for parts in by_last.get(wanted[-1], ())
                if parts != own and _stands_in(wanted, parts)
            ]
            if fits:
                best = min(fits, key=lambda parts: _distance(own, parts, len(wanted) == 1))
                edges[item.id, ".".join(best)] = None
    return list(edges)


def _stands_in(name: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    rest = iter(parts)
    return all(part in rest for part in name)


def _distance(
    own: tuple[str, ...], other: tuple[str, ...], bare: bool
) -> tuple[bool, int, int, str]:
    common = 0
    while common < min(len(own), len(other)) and own[common] == other[common]:
        common += 1
    return bare and own[:-1] != other[:-1], len(other), -common, ".".join(other)
