from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isometry.core.errors import InputError
from isometry.systems.catalogue import PACKAGE, entries, families, find


def test_families_and_slugs_are_found_and_others_are_named() -> None:
    assert {"retrieval", "sentence"} <= set(families())
    slugs = [entry.slug for entry in entries()]
    assert "2dmse" in slugs and len(set(slugs)) == len(slugs)
    assert find("all") == entries()
    assert (
        find("sentence") == entries("sentence") == [e for e in entries() if e.family == "sentence"]
    )
    assert [entry.slug for entry in find("2dmse")] == ["2dmse"]
    with pytest.raises(InputError, match="no system '2dmsee'") as caught:
        find("2dmsee")
    assert caught.value.hint is not None and "2dmse" in caught.value.hint
    with pytest.raises(InputError, match="no family 'sentences'"):
        entries("sentences")


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.slug)
def test_what_is_read_off_the_source_is_what_the_system_says(entry) -> None:
    system = entry.load()
    for name in ("title", "claim", "arxiv", "differs"):
        assert getattr(entry, name) == getattr(system, name), name
    assert entry.claim and entry.title and entry.differs and len(entry.about.split(". ")) >= 3
    assert entry.parts
    for part in entry.parts:
        body = ast.parse((PACKAGE / part.path).read_text()).body
        defined = {node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        # Some names are handed on by the module that people know them from.
        defined |= {
            alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        assert part.name in defined or part.name.isupper() or part.name[0].isupper(), part


def test_the_parts_of_a_system_are_its_own_and_those_of_its_study() -> None:
    (entry,) = find("2dmse")
    names = [part.name for part in entry.parts]
    assert names[:2] == ["MRL", "Random2D"] and "InfoNCE" in names and "contrast" not in names
    assert len(set(entry.parts)) == len(entry.parts)


def test_a_misspelt_import_is_no_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        def load(module: str) -> Any:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return load

    (entry,) = find("2dmse")
    monkeypatch.setattr(importlib, "import_module", missing("isometry.objectives.matrioshka"))
    with pytest.raises(ModuleNotFoundError, match="matrioshka"):
        entry.load()
    monkeypatch.setattr(importlib, "import_module", missing("wn"))
    with pytest.raises(InputError, match="2dmse needs the package 'wn'"):
        entry.load()


def test_listing_imports_no_system(tmp_path: Path) -> None:
    """With 73 of them it would take minutes, and need every extra."""
    code = (
        "import sys; from isometry.systems.listing import describe_all\n"
        f"rows = describe_all(None, __import__('pathlib').Path({str(tmp_path)!r}))\n"
        "assert rows and 'torch' not in sys.modules, 'heavy'\n"
        "assert all(row['state'] == 'not run' for row in rows)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
