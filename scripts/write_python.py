"""Writes `docs/python.md`, the Python reference, out of the docstrings.

    python scripts/write_python.py [--check]

Griffe reads signatures and docstrings; nothing is imported. With `--check` nothing is written: it
exits with 1 when the page is stale.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import griffe
from generated_page import ROOT, write_or_check

PAGE = "docs/python.md"
COMMAND = "python scripts/write_python.py"
# What these names take and give back.
_BESIDE = ("search.hybrid.Result", "search.explanation.Contribution", "search.filters.Filter")
# A docstring's "Returns" is prose, and no list of named values.
_PROSE = {"returns_multiple_items": False, "returns_named_value": False}
_WIDTH = 100
_HEADS = {"parameters": "Arguments", "attributes": "Attributes", "raises": "Raises"}

_HEAD = f"""# Python reference

Written by `{COMMAND}` out of the docstrings; do not edit it. These are the
names of `isometry` itself; `import isometry` costs nothing, since each is loaded on first use. All
that exists below them is in [the list of what exists](parts.md)."""


def render() -> str:
    """The page as Markdown."""
    package: Any = griffe.load("isometry", search_paths=[ROOT / "src"])
    public = [package[name].final_target for name in package.exports]
    groups = {
        "Functions": [each for each in public if each.is_function],
        "Classes": [each for each in public if each.is_class],
        "Beside them": [package[name] for name in _BESIDE],
    }
    parts = [_HEAD]
    for title, members in groups.items():
        parts.append(f"## {title}")
        for each in members:
            parts += _entry(each, each.name)
    return "\n\n".join(parts) + "\n"


def _entry(definition: Any, title: str) -> Iterator[str]:
    """A function, class, method or property, and what is public in it."""
    level = "####" if "." in title else "###"
    yield f"{level} {title}"
    yield f"```python\n{_signature(definition)}\n```"
    yield from _docstring(definition)
    if definition.is_class:
        for member in definition.members.values():
            if member.is_public and member.docstring and not member.is_alias:
                yield from _entry(member, f"{definition.name}.{member.name}")


def _signature(definition: Any) -> str:
    """How it is called, as Python without a body."""
    if definition.is_attribute:
        return f"{definition.name}: {definition.annotation}"
    if definition.is_class:
        bases = f"({', '.join(map(str, definition.bases))})" if definition.bases else ""
        # A dataclass has one, too.
        if made := definition.members.get("__init__"):
            body = "".join(f"\n    {line}" for line in _signature(made).splitlines())
        else:
            body = " ..."
        return f"class {definition.name}{bases}:{body}"
    kinds = definition.labels & {"classmethod", "staticmethod"}
    line = "".join(f"@{kind}\n" for kind in kinds) + f"def {definition.signature()}: ..."
    line = re.sub(r"'([^'\"]*)'", r'"\1"', line)
    if max(map(len, line.splitlines())) <= _WIDTH:
        return line
    head, _, rest = line.partition("(")
    given, _, returns = rest.rpartition(") ->")
    given = re.sub(r", (?=\*|\w+: )", ",\n    ", given)
    return f"{head}(\n    {given},\n) ->{returns}"


def _docstring(definition: Any) -> Iterator[str]:
    for section in definition.docstring.parse("google", **_PROSE) if definition.docstring else ():
        kind = section.kind.value
        if kind == "text":
            yield section.value
        elif kind == "returns":
            yield f"**Returns** {_returned(definition, section.value[0])}"
        elif kind in _HEADS:
            yield f"**{_HEADS[kind]}**"
            yield "\n".join(
                f"- `{each.annotation if kind == 'raises' else each.name}`: {_line(each)}"
                for each in section.value
            )


def _returned(definition: Any, section: Any) -> str:
    """The prose of "Returns", whose words before a colon Griffe takes for a type."""
    before = str(section.annotation)
    known = before == str(definition.annotation)
    return _line(section) if known else f"{before}: {_line(section)}"


def _line(section: Any) -> str:
    return " ".join(section.description.split())


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render, COMMAND))
