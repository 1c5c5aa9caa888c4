"""Writes `docs/systems`, the gallery of systems, out of their source and the records of their runs.

    python scripts/write_gallery.py [--check]

With `--check` nothing is written: it exits with 1 when a page is stale. Nothing is run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from isometry.core.errors import InputError
from isometry.core.writing import write_text
from isometry.report.gallery import draw_gains, render_index, render_page
from isometry.report.pareto import draw_front
from isometry.systems.catalogue import PACKAGE, entries
from isometry.systems.listing import describe
from isometry.systems.records import read_record, record_path

ROOT = Path(__file__).resolve().parent.parent
GALLERY = ROOT / "docs" / "systems"
RESULTS = ROOT / "results"
COMMAND = "python scripts/write_gallery.py"


def main() -> int:
    """Writes the pages and removes what is none, or says what is stale."""
    parser = argparse.ArgumentParser(description="Write docs/systems out of source and records.")
    parser.add_argument("--check", action="store_true", help="Only say what is stale.")
    check = parser.parse_args().check
    try:
        pages = render(RESULTS)
    except InputError as error:
        print(f"write_gallery: {error}", file=sys.stderr)
        return 2
    there = {path.name: path for path in sorted(GALLERY.glob("*")) if path.is_file()}
    old = [
        name
        for name in sorted({*pages, *there})
        if name not in pages
        or name not in there
        or there[name].read_text(encoding="utf-8") != pages[name]
    ]
    if check:
        if old:
            print(f"docs/systems is stale ({', '.join(old)}); run: {COMMAND}", file=sys.stderr)
        return 1 if old else 0
    GALLERY.mkdir(parents=True, exist_ok=True)
    for name in old:
        if name in pages:
            write_text(GALLERY / name, pages[name])
        else:
            there[name].unlink()
    return 0


def render(results: Path) -> dict[str, str]:
    """Every file of the gallery, by name.

    Args:
        results: The folder of the records.

    Raises:
        InputError: When a record cannot be read.
    """
    systems = []
    pages: dict[str, str] = {}
    for entry in entries():
        record = read_record(record_path(results, entry.slug, "small"))
        system = {
            **describe(entry, results),
            "file": entry.path.relative_to(PACKAGE).as_posix(),
            "about": entry.about,
            "differs": entry.differs,
        }
        systems.append((system, record))
        pages[f"{entry.slug}.md"] = render_page(system, record)
        if record is not None and (picture := draw_gains(record)):
            pages[f"{entry.slug}.svg"] = picture
        if record is not None and record["trade"]:
            pages[f"{entry.slug}-front.svg"] = draw_front(record, *record["trade"])
    return {"README.md": render_index(systems), **pages}


if __name__ == "__main__":
    sys.exit(main())
