"""Writes the table of limits in `docs/serving.md` out of `Limits`.

    python scripts/write_limits.py [--check]

With `--check` nothing is written: it exits with 1 when the table is stale.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path

from isometry.core.files import write_text
from isometry.serving.settings import Limits

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "serving.md"
COMMAND = "python scripts/write_limits.py"
_TABLE = re.compile(r"(?<=<!-- limits:begin -->\n).*?(?=<!-- limits:end -->)", re.DOTALL)


def main() -> int:
    """Writes the table, or says whether it is stale."""
    parser = argparse.ArgumentParser(description="Write the limits into docs/serving.md.")
    parser.add_argument("--check", action="store_true", help="Only say whether it is stale.")
    before = PAGE.read_text(encoding="utf-8")
    after = _TABLE.sub(lambda _: table(), before)
    if not parser.parse_args().check:
        write_text(PAGE, after)
        return 0
    if before == after:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is stale; run: {COMMAND}", file=sys.stderr)
    return 1


def table() -> str:
    """The limits as a table of Markdown: name, default, meaning."""
    about = inspect.cleandoc(Limits.__doc__ or "").partition("Attributes:\n")[2]
    meanings = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", about, re.MULTILINE)
    rows = [
        f"| `{name}` | {getattr(Limits(), name):,} | {' '.join(text.split())} |"
        for name, text in meanings
    ]
    return "\n".join(["| | default | |", "| --- | ---: | --- |", *rows, ""])


if __name__ == "__main__":
    sys.exit(main())
