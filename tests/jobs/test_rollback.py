from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from living_spaces import PARCELS, State, change, hits, state
from stored_documents import document, items
from test_compact import long_ago

import isometry
from isometry import InputError, Space
from isometry.cli.main import main
from isometry.core.files import read_json
from isometry.core.writing import write_json
from isometry.jobs.store import Limits, Store
from isometry.jobs.upkeep import Writer

MODES = ("dense", "lexical", "hybrid")


def content(space: Path) -> State:
    """All that it holds, and what it knows to have been added."""
    return state(Space.open(space))


def grow(space: Path, docs: Path) -> None:
    """Two additions: states 1 and 2."""
    change(docs)
    isometry.add(space, docs)
    (docs / "letters.py").write_text(PARCELS.replace("parcel", "letter"))
    isometry.add(space, docs)


def test_the_history_says_what_wrote_each_state(space: Path, docs: Path, tiny_folder: Path) -> None:
    fitted = isometry.history(space)
    assert [(one["number"], one["by"], one["current"]) for one in fitted["states"]] == [
        (0, "fit", True)
    ]
    assert fitted["states"][0]["time"] == Space.open(space).manifest["created"]
    figures = isometry.add(space, docs)
    change(docs)
    figures = isometry.add(space, docs)
    isometry.migrate(space, tiny_folder)
    isometry.compact(space)
    found = isometry.history(space)["states"]
    assert [one["by"] for one in found] == [
        f"migrate --model {tiny_folder}",
        f"add {docs}",
        "fit",
    ]
    assert [one["number"] for one in found] == [2, 1, 0]
    assert [one["current"] for one in found] == [True, False, False]
    for what in ("added", "changed", "removed", "documents"):
        assert found[1][what] == figures[what]
    assert [found[0][what] for what in ("added", "changed", "removed")] == [0, 0, 0]
    assert found[2]["documents"] == fitted["states"][0]["documents"]
    assert found[0]["model"] != found[1]["model"] == found[2]["model"]
    manifest = Space.open(space).manifest
    assert manifest["encoder"]["fingerprint"].startswith(found[0]["model"])
    # A state begins when the one before it is superseded; the former model's ends with no time.
    assert found[2]["superseded"] == found[1]["time"] < found[2]["kept_until"]
    assert found[1]["kept_until"] is None and found[0]["superseded"] is None


def test_the_history_of_a_damaged_space_is_told_too(space: Path) -> None:
    """It is where one looks for a state to go back to."""
    file = next(space.glob("documents*.parquet"))
    file.write_bytes(file.read_bytes()[:100])
    assert isometry.history(space)["states"][0]["documents"] is None


def test_back_is_the_same_space_and_back_again_undoes_it(space: Path, docs: Path) -> None:
    wholes = [content(space)]
    change(docs)
    isometry.add(space, docs)
    wholes.append(content(space))
    (docs / "letters.py").write_text(PARCELS)
    isometry.add(space, docs)
    wholes.append(content(space))
    reader, found = Space.open(space), hits(Space.open(space))
    figures = isometry.rollback(space)
    assert (figures["to"], figures["state"], figures["removed"]) == (1, 3, 1)
    assert content(space) == wholes[1]
    assert hits(reader) == found
    isometry.rollback(space)
    assert content(space) == wholes[2]
    figures = isometry.rollback(space, 0)
    assert content(space) == wholes[0]
    assert figures["documents"] == len(wholes[0].documents)
    Space.open(space).verify()
    by = [one["by"] for one in isometry.history(space)["states"]]
    assert by[:3] == ["rollback --to 0", "rollback --to 2", "rollback --to 1"]
    assert next(one["added"] for one in isometry.history(space)["states"]) == figures["added"]
    # And it goes on from there: the same addition gives the same Space.
    isometry.add(space, docs)
    again = content(space)
    # In one go instead of two.
    ((_, *counts),) = again.additions
    assert counts[0] == sum(added for _, added, *_ in wholes[2].additions)
    assert replace(again, additions=wholes[2].additions) == wholes[2]
    isometry.compact(space, keep_hours=0)
    assert content(space) == again
    Space.open(space).verify()


def test_over_a_migration_the_model_goes_back_too(
    space: Path, docs: Path, tiny_folder: Path
) -> None:
    grow(space, docs)
    before = content(space)
    isometry.migrate(space, tiny_folder)
    after = content(space)
    figures = isometry.rollback(space, 1)
    assert figures["dim"] == 64
    opened = Space.open(space)
    assert opened.encode(["one"]).shape == (1, 64)
    assert "migrated" not in opened.manifest
    returned = content(space).documents
    # The other model is one `--back` away, with the documents that are there now.
    isometry.migrate(space, back=True)
    assert Space.open(space).index.dim == 32
    assert content(space).documents == returned
    isometry.rollback(space, 3)
    assert content(space) == after
    isometry.migrate(space, back=True)
    assert content(space) == before
    isometry.compact(space, keep_hours=0)
    assert content(space) == before
    isometry.migrate(space, back=True)
    assert content(space) == after
    Space.open(space).verify()


def test_by_itself_it_goes_past_what_only_joined_pieces(space: Path, docs: Path) -> None:
    grow(space, docs)
    isometry.compact(space)
    assert isometry.history(space)["states"][0]["by"] == "compact"
    assert isometry.rollback(space, dry_run=True)["to"] == 1
    assert isometry.rollback(space, 2)["changed"] == 0


def test_by_itself_it_does_not_go_past_what_compact_removed(
    space: Path, docs: Path, tiny_folder: Path
) -> None:
    isometry.migrate(space, tiny_folder)
    grow(space, docs)
    # As compact leaves it where no pieces are to be joined: of those before, the one with the
    # former model alone, which `migrate --back` returns to.
    manifest = read_json(space / "space.json")
    manifest["superseded"] = []
    write_json(space / "space.json", manifest)
    assert [state["number"] for state in isometry.history(space)["states"]] == [3, 0]
    with pytest.raises(InputError, match="before the last change is gone") as caught:
        isometry.rollback(space)
    assert "--to 0" in caught.value.hint
    assert isometry.rollback(space, 0)["to"] == 0


def test_what_cannot_be_returned_to_is_refused_in_a_line(space: Path, docs: Path) -> None:
    with pytest.raises(InputError, match="no earlier state"):
        isometry.rollback(space)
    grow(space, docs)
    manifest = (space / "space.json").read_bytes()
    for to, match in ((2, "is the current one"), (7, "has no state 7"), (-1, "has no state")):
        with pytest.raises(InputError, match=match):
            isometry.rollback(space, to)
    with Writer(space, "add x"), pytest.raises(InputError, match="is being written"):
        isometry.rollback(space)
    documents = Space.open(space).manifest["superseded"][1]["documents"]
    (space / documents).unlink()
    for dry_run in (True, False):
        with pytest.raises(InputError, match=f"files of {documents} are gone"):
            isometry.rollback(space, 1, dry_run=dry_run)
    assert (space / "space.json").read_bytes() == manifest
    isometry.compact(space, keep_hours=0)
    with pytest.raises(InputError, match=r"State 1 .* is gone: compact"):
        isometry.rollback(space, 1)
    with pytest.raises(InputError, match="no earlier state"):
        isometry.rollback(space)


def test_a_dry_run_tells_the_same_and_changes_nothing(space: Path, docs: Path) -> None:
    grow(space, docs)
    before = {path: path.stat().st_mtime_ns for path in space.rglob("*")}
    told = isometry.rollback(space, 0, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in space.rglob("*")} == before
    done = isometry.rollback(space, 0)
    varying = {"seconds", "dry_run", "state"}
    assert {k: told[k] for k in told if k not in varying} == {
        k: done[k] for k in done if k not in varying
    }


def forget_numbers(space: Path) -> None:
    """As versions before this one wrote it."""
    manifest: dict[str, Any] = json.loads((space / "space.json").read_text())
    files = ("model", "index", "index_version", "documents", "until")
    del manifest["state"]
    manifest["superseded"] = [
        {name: entry[name] for name in files} for entry in manifest["superseded"]
    ]
    (space / "space.json").write_text(json.dumps(manifest))


def test_a_space_of_before_the_numbers_has_them_too(
    space: Path, docs: Path, tiny_folder: Path
) -> None:
    first = content(space)
    grow(space, docs)
    second = content(space)
    isometry.migrate(space, tiny_folder)
    told = isometry.history(space)["states"]
    forget_numbers(space)
    found = isometry.history(space)["states"]
    for one, other in zip(found, told, strict=True):
        for what in ("number", "time", "documents", "model", "superseded"):
            assert one[what] == other[what]
    assert [one["by"] for one in found] == [None, None, None, "fit"]
    isometry.rollback(space, 2)
    assert content(space) == second
    forget_numbers(space)
    isometry.rollback(space, 0)
    assert content(space) == first
    forget_numbers(space)
    long_ago(space)
    isometry.compact(space)
    # What is current, and what the migration left.
    assert [one["number"] for one in isometry.history(space)["states"]] == [5, 3]


def test_a_killed_one_leaves_nothing(space: Path, docs: Path, tmp_path: Path) -> None:
    """The table's new version is there, and the manifest was not written."""
    grow(space, docs)
    before = content(space)
    with pytest.MonkeyPatch.context() as patcher:
        patcher.setattr(Writer, "commit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        # Nothing is tidied up either.
        patcher.setattr(Writer, "_tidy", lambda _: None)
        patcher.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            isometry.rollback(space, 0)
    assert content(space) == before
    assert Space.open(space).leftovers()
    isometry.rollback(space, 0)
    assert Space.open(space).leftovers() == []
    Space.open(space).verify()


def test_the_commands(
    space: Path, docs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    grow(space, docs)
    assert main(["space", "history", str(space), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == isometry.history(space)
    assert main(["space", "rollback", str(space), "--to", "1", "--dry-run"]) == 0
    # One line however long the path is: it is not wrapped where nobody looks.
    assert f"{space} would be as state 1 was" in capsys.readouterr().out
    assert main(["space", "rollback", str(space), "--json", "-q"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["state"] == 3
    assert main(["space", "history", str(space)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    # Nothing is cut off, on a narrow terminal either.
    assert "kept until" in head and "…" not in " ".join(lines)
    assert "current" in lines[0] and f"-{figures['removed']}" in lines[0]
    assert main(["space", "rollback", str(space), "--to", "9"]) == 2
    assert main(["space", "history", str(docs)]) == 2


def test_what_waits_in_the_journal_is_undone_as_the_dry_run_says(space: Path, docs: Path) -> None:
    change(docs)
    isometry.add(space, docs)
    with Store.open(space, limits=Limits(seconds=3600)) as store:
        (item,) = items(store.space, [document("waiting", 1)])
        item.put(store).result()
        # As a process that is killed leaves it.
        journal = shutil.copytree(space / "journal", space.parent / "journal")
    shutil.rmtree(space / "journal", ignore_errors=True)
    shutil.copytree(journal, space / "journal")
    expected = isometry.rollback(space, dry_run=True)["to"]
    assert isometry.rollback(space)["to"] == expected == 0
    assert "waiting" not in pq.read_table(Space.open(space).documents)["id"].to_pylist()


def test_what_was_taken_back_is_not_remembered(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "tickets.csv"
    table.write_text("id,text,note\na,The parcel was lost,internal\nb,It came late,secret\n")
    before = content(space)
    isometry.add(space, table, text="note")
    isometry.rollback(space)
    assert content(space) == before
    assert main(["info", str(space)]) == 0
    assert "Documents since the fit" not in capsys.readouterr().out
    # By the usual columns, not by those of the mistake.
    isometry.add(space, table)
    texts = {
        row["id"]: row["text"] for row in pq.read_table(Space.open(space).documents).to_pylist()
    }
    assert texts["a"] == "The parcel was lost"
    assert main(["info", str(space)]) == 0
    assert "Documents since the fit: 2 added, 0 changed, 0 removed" in " ".join(
        capsys.readouterr().out.split()
    )
    # What a return took back comes again with a return from it.
    isometry.rollback(space, 1)
    isometry.add(space, table)
    assert Space.open(space).search("secret", 1, "lexical")[0].document == "b"
