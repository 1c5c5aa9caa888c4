from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from living_spaces import PARCELS, change, hits, state

import isometry
from isometry import InputError, Space
from isometry.cli.main import main

MODES = ("dense", "lexical", "hybrid")


def grow(space: Path, docs: Path) -> None:
    change(docs)
    isometry.add(space, docs)
    for number in range(3):
        (docs / f"parcels_{number}.py").write_text(PARCELS)
        isometry.add(space, docs)


def long_ago(space: Path) -> None:
    """As if all that was superseded had been so for two days."""
    manifest = json.loads((space / "space.json").read_text())
    for entry in manifest["superseded"]:
        entry["until"] = "2026-01-01T00:00:00Z"
    (space / "space.json").write_text(json.dumps(manifest))


def test_it_holds_the_same_in_one_piece_and_fewer_bytes(space: Path, docs: Path) -> None:
    grow(space, docs)
    before = Space.open(space)
    old = {mode: hits(before, mode) for mode in MODES}
    whole = state(before)
    figures = isometry.compact(space, keep_hours=0)
    # Four states had an index of words of their own; the model stays as it is.
    assert figures["bytes_after"] < figures["bytes_before"] - 1_000_000
    after = Space.open(space)
    assert after.verify() == len(after.manifest["files"])
    assert state(after) == whole
    for mode in MODES:
        assert hits(after, mode) == old[mode]
    assert len(list((space / after.current.index).rglob("data/*.lance"))) == 1
    assert sorted(path.name for path in space.glob("documents*")) == [after.current.documents]
    present = sum(path.stat().st_size for path in space.rglob("*") if path.is_file())
    assert figures["bytes_after"] == pytest.approx(present, abs=2000)


def test_nothing_to_do_is_done_at_once(space: Path, docs: Path) -> None:
    isometry.compact(space)
    manifest = (space / "space.json").read_bytes()
    assert isometry.compact(space)["removed"] == 0
    assert (space / "space.json").read_bytes() == manifest


def test_states_of_the_last_hour_stay_for_their_readers(space: Path, docs: Path) -> None:
    first, lazy = Space.open(space), Space.open(space)
    found = {mode: hits(first, mode) for mode in MODES}
    grow(space, docs)
    figures = isometry.compact(space)
    assert figures["kept_states"] == 5
    for mode in MODES:
        assert hits(first, mode) == found[mode]
        # Opened before, and read for the first time now.
        assert hits(lazy, mode) == found[mode]
    Space.open(space).verify()

    late = Space.open(space)
    (docs / "parcels_9.py").write_text(PARCELS)
    isometry.add(space, docs)
    long_ago(space)
    latest = Space.open(space)
    figures = isometry.compact(space)
    # What was current until just now stays; what was two days ago does not.
    assert figures["kept_states"] == 1
    assert figures["bytes_after"] < figures["bytes_before"]
    assert hits(latest) == hits(Space.open(space))
    with pytest.raises(InputError, match="since it was opened"):
        _ = late.index
    with pytest.raises(InputError, match="since it was opened"):
        late.search("parcel", 3, "lexical", filter={"kind": "code"})
    Space.open(space).verify()


def test_the_old_generation_stays_until_it_is_dropped(
    space: Path, docs: Path, tiny_folder: Path
) -> None:
    old = state(Space.open(space))
    grow(space, docs)
    isometry.migrate(space, tiny_folder)
    isometry.compact(space, keep_hours=0)
    folders = {path.name for path in space.iterdir() if path.is_dir()}
    assert len(folders) == 4
    isometry.migrate(space, back=True)
    assert state(Space.open(space)).model == old.model
    figures = isometry.compact(space, keep_hours=0, drop_old=True)
    assert figures["removed"] > 0
    after = Space.open(space)
    assert {path.name for path in space.iterdir() if path.is_dir()} == {
        after.current.model,
        after.current.index,
    }
    after.verify()
    assert hits(after)
    with pytest.raises(InputError, match="no earlier generation"):
        isometry.migrate(space, back=True)


def test_damage_is_not_sealed_in(space: Path, docs: Path) -> None:
    """What was damaged before a write is still known as damaged after it."""
    report = space / "report.html"
    report.write_bytes(report.read_bytes()[:-1] + b"!")
    grow(space, docs)
    isometry.compact(space, keep_hours=0)
    with pytest.raises(InputError, match=r"Damaged .*report\.html"):
        Space.open(space).verify()


def test_a_file_of_others_stays_and_is_still_reported(space: Path, docs: Path) -> None:
    (space / "model" / "pytorch_model.bin").write_bytes(b"not ours")
    (space / "notes.txt").write_text("mine")
    grow(space, docs)
    isometry.compact(space, keep_hours=0)
    with pytest.raises(InputError, match="Not part of the Space"):
        Space.open(space).verify()
    assert (space / "notes.txt").read_text() == "mine"


def test_what_is_called_like_a_part_of_a_space_is_still_somebodys_own(
    space: Path, docs: Path
) -> None:
    names = ("index.html", "documents.csv", "model-card.md", "index-backup/data.lance", "models/a")
    for name in names:
        (space / name).parent.mkdir(exist_ok=True)
        (space / name).write_text("mine", encoding="utf-8")
    grow(space, docs)
    isometry.compact(space, keep_hours=0)
    assert all((space / name).read_text(encoding="utf-8") == "mine" for name in names)


def test_it_may_be_copied_and_moved(space: Path, docs: Path, tmp_path: Path) -> None:
    grow(space, docs)
    found = hits(Space.open(space))
    copy = Path(shutil.copytree(space, tmp_path / "copy"))
    shutil.rmtree(space)
    isometry.compact(copy, keep_hours=0)
    assert hits(Space.open(copy)) == found
    Space.open(copy).verify()


@pytest.mark.parametrize("hours", ["-1", "nan", "inf"])
def test_bad_input(space: Path, capsys: pytest.CaptureFixture[str], hours: str) -> None:
    assert main(["compact", str(space), "--keep-hours", hours]) == 2
    assert "--keep-hours" in capsys.readouterr().err
    assert main(["compact", str(space / "model")]) == 2


def test_the_command(space: Path, docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grow(space, docs)
    assert main(["compact", str(space), "--json", "-q", "--keep-hours", "0"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["bytes_after"] < figures["bytes_before"]


def test_what_a_killed_process_was_saving_goes(space: Path) -> None:
    index = Space.open(space).current.index
    unfinished = space / index / "views" / ".3.abcd"
    unfinished.mkdir(parents=True)
    (unfinished / "graph.usearch").write_bytes(b"half")
    isometry.compact(space)
    assert not unfinished.exists()
