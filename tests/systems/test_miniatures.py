"""Every system runs end to end, in seconds, on slices of its real data."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isometry.core.source_code import imported_modules
from isometry.report.reproduction import arm_rows
from isometry.systems.catalogue import PACKAGE, Entry, entries
from isometry.systems.merging_tasks_study import Tasks
from isometry.systems.records import read_record, record_path
from isometry.systems.reproduce import reproduce
from isometry.systems.run import Run

ENTRIES = [pytest.param(entry, id=entry.slug) for entry in entries()]
# What is reusable moves out of a system's file long before it has so many.
LINES = 170


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_miniature_runs_and_is_kept(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = entry.load()
    scale = system.scales["miniature"]
    # Read once for both runs: it takes longer than they do. Had the first one changed it, the
    # second would take it for other data, and train.
    data = system.data(scale)
    system = replace(system, data=lambda _: data)
    monkeypatch.setattr(Entry, "load", lambda _: system)
    assert not scale.hub
    folders = {"results": tmp_path / "results", "work": tmp_path / "work"}
    record = reproduce(entry, scale="miniature", **folders)
    assert record["fresh"]
    assert list(record["arms"]) == list(system.arms)
    for name, arm in system.arms.items():
        runs = record["arms"][name]["runs"]
        assert len(runs) == scale.seeds
        for run in runs:
            assert run["steps"] == {stage: scale.steps[stage] for stage in arm.stages}, name
            assert set(run["rows"]) == set(arm.stages)
            assert all(np.isfinite(figure).all() for figure in run["figures"].values()), name
    for gate in system.gates:
        for name in filter(None, (system.arm_of(gate), gate.versus)):
            for run in record["arms"][name]["runs"]:
                assert gate.metric in run["figures"], (gate.metric, name)
    assert [gate["metric"] for gate in record["gates"]] == [gate.metric for gate in system.gates]
    metrics, rows = arm_rows(record)
    assert [len(row) for row in rows] == [1 + len(metrics)] * len(system.arms)

    kept = read_record(record_path(folders["results"], entry.slug, "miniature"))
    assert kept is not None
    assert {**kept, "fresh": True} == {"format": kept["format"], **record}

    if isinstance(data.train, Tasks):
        # What arms keep there for each other is no data.
        data.train.known.clear()

    def fail(*_: Any, **__: Any) -> None:
        pytest.fail("it trained again")

    monkeypatch.setattr(Run, "fit", fail)
    monkeypatch.setattr(Run, "encoder", fail)
    again = reproduce(entry, scale="miniature", **folders)
    assert again == {**kept, "fresh": False}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_system_imports_no_other(entry: Entry) -> None:
    families = {one.path.parent for one in entries()}
    imported = imported_modules(entry.path, PACKAGE)
    assert imported
    assert [path for path in imported if path.parent in families] == []
    nodes = ast.walk(ast.parse(entry.path.read_text(encoding="utf-8")))
    assert all(node.level == 0 for node in nodes if isinstance(node, ast.ImportFrom))


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_system_only_composes(entry: Entry) -> None:
    assert len(entry.path.read_text(encoding="utf-8").splitlines()) <= LINES
    named = (entry.title, entry.claim, entry.differs, entry.about)
    assert all(text.strip() == text != "" for text in named)
