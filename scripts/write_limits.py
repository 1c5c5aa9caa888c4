"""Writes the table of limits in `docs/serving.md` out of `Limits`.

    python scripts/write_limits.py [--check]

With `--check` nothing is written: it exits with 1 when the table is stale.
"""

from __future__ import annotations

import inspect
import re
import sys

from generated_page import with_part, write_or_check

from isometry.serving.settings import Limits

PAGE = "docs/serving.md"
COMMAND = "python scripts/write_limits.py"


def render() -> str:
    """The page with a table of the limits: name, default, meaning."""
    about = inspect.cleandoc(Limits.__doc__ or "").partition("Attributes:\n")[2]
    meanings = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", about, re.MULTILINE)
    rows = [
        f"| `{name}` | {getattr(Limits(), name):,} | {' '.join(text.split())} |"
        for name, text in meanings
    ]
    return with_part(
        PAGE, "limits", "\n".join(["| | default | |", "| --- | ---: | --- |", *rows, ""])
    )


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render, COMMAND))
