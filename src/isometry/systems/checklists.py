"""The checklists of surveys, each beside its system: `SLUG_checklist.py` in this folder."""

from __future__ import annotations

import importlib
from pathlib import Path

from isometry.core.errors import InputError
from isometry.report.checklist import Checked, check
from isometry.systems.catalogue import PACKAGE, find
from isometry.systems.records import read_record, record_path, results_folder, state

_ENDING = "_checklist"


def surveys() -> list[str]:
    """The slugs of the systems that have a checklist."""
    files = sorted(Path(__file__).parent.glob(f"*{_ENDING}.py"))
    return [path.stem.removesuffix(_ENDING).replace("_", "-") for path in files]


def checked(slug: str, results: Path | None = None) -> tuple[str, list[Checked]]:
    """A survey's title, and all that it asks for with what was found.

    Figures count only where they were measured with the code that is here.

    Args:
        slug: The survey's system.
        results: The folder of the records, when it is not the usual one.

    Raises:
        InputError: When there is no such system, or it has no checklist, or no such folder.
    """
    if slug not in surveys():
        find(slug)
        raise InputError(f"{slug} is no survey.", f"There are: {', '.join(surveys())}.")
    folder = results_folder(results)
    if results is not None and not folder.is_dir():
        raise InputError(f"There is no folder of records at {results}.")
    (entry,) = find(slug)
    module = importlib.import_module(f"isometry.systems.{entry.path.stem}{_ENDING}")
    record = read_record(record_path(folder, slug, "small"))
    if state(entry, record) == "stale":
        record = None
    tests = PACKAGE.parents[1] / "tests"
    return entry.title, check(module.checklist, PACKAGE, tests if tests.is_dir() else None, record)
