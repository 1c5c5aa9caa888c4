"""What the scripts share that write pages of `docs`, or parts of them, out of something else."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from isometry.core.writing import write_text

ROOT = Path(__file__).resolve().parent.parent


def write_or_check(name: str, render: Callable[[], str], command: str) -> int:
    """Writes a page, or with `--check` only says whether it is stale.

    Args:
        name: The file below the repository.
        render: Makes its text.
        command: What writes it, for people.

    Returns:
        The exit code: 1 when the page is stale.
    """
    parser = argparse.ArgumentParser(description=f"Write {name} out of the source.")
    parser.add_argument("--check", action="store_true", help="Only say whether it is stale.")
    check = parser.parse_args().check
    text, page = render(), ROOT / name
    if not check:
        write_text(page, text)
        return 0
    if page.is_file() and page.read_text(encoding="utf-8") == text:
        return 0
    print(f"{name} is stale; run: {command}", file=sys.stderr)
    return 1


def with_part(name: str, mark: str, part: str) -> str:
    """The page as it is, with another text between its comments "MARK:begin" and "MARK:end".

    Raises:
        ValueError: When it has no such comments.
    """
    page = (ROOT / name).read_text(encoding="utf-8")
    between = re.compile(rf"(?<=<!-- {mark}:begin -->\n).*?(?=<!-- {mark}:end -->)", re.DOTALL)
    after, found = between.subn(lambda _: part, page)
    if found != 1:
        raise ValueError(f"{name} has {found} parts called {mark}")
    return after
