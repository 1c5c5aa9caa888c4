"""Writes the numbers that `docs/how-it-works.md` names by their constants.

    python scripts/write_constants.py [--check]

With `--check` nothing is written: it exits with 1 when the table is stale.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from generated_page import with_part, write_or_check

PAGE = "docs/how-it-works.md"
COMMAND = "python scripts/write_constants.py"
MODULES = (
    "corpora.splits", "corpora.pairs.structure", "jobs.preparation", "training.budget",
    "training.speed", "jobs.training", "search.fusion", "jobs.ranking", "jobs.selection",
)  # fmt: skip


def render() -> str:
    """The page with a row for each constant that its text names, in the order of the modules."""
    text = Path(PAGE).read_text(encoding="utf-8").partition("<!-- constants:begin -->")[0]
    named = set(re.findall(r"`(_?[A-Z][A-Z0-9_]+)`", text))
    rows: list[str] = []
    for name in MODULES:
        path = f"src/isometry/{name.replace('.', '/')}.py"
        defined = re.findall(r"^(_?[A-Z][A-Z0-9_]+)\b.* = ", Path(path).read_text("utf-8"), re.M)
        module = importlib.import_module(f"isometry.{name}")
        for constant in sorted(named.intersection(defined), key=defined.index):
            value = shown(getattr(module, constant))
            rows.append(f"| `{constant}` | {value} | [`{name.replace('.', '/')}.py`](../{path}) |")
            named.discard(constant)
    if named:
        raise SystemExit(f"{PAGE} names {', '.join(sorted(named))}, which no module here has.")
    return with_part(
        PAGE, "constants", "\n".join(["| | value | where |", "| --- | --- | --- |", *rows, ""])
    )


def shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {part:g}" for key, part in value.items())
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"{part:,g}" for part in values)


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render, COMMAND))
