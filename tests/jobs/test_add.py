from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from living_spaces import PARCELS, alike, built_anew, change, counted, hits

import isometry
from isometry import InputError, Space
from isometry.cli.main import main
from isometry.jobs import compact as compacting
from isometry.jobs.upkeep import Writer

MODES = ("dense", "lexical", "hybrid")


def ids(space: Path) -> set[str]:
    return set(pq.read_table(Space.open(space).documents)["id"].to_pylist())


def test_after_an_addition_every_search_is_that_of_an_index_made_anew(
    space: Path, docs: Path, tmp_path: Path
) -> None:
    before = Space.open(space)
    old = {mode: hits(before, mode) for mode in MODES}
    change(docs)
    figures = isometry.add(space, docs)
    assert all(figures[what] > 0 for what in ("added", "changed", "removed", "unchanged"))
    after = Space.open(space)
    assert after.verify() == len(after.manifest["files"])
    expected = built_anew(after, tmp_path / "anew")
    assert alike(after, expected)
    for mode in MODES:
        assert hits(before, mode) == old[mode]
    assert after.index.chunks == expected.index.chunks
    assert after.search("label for a parcel", 1)[0].document.startswith("parcels")
    assert not [name for name, _ in hits(after, "hybrid") if name.startswith("calendar")]


def test_only_what_is_new_is_encoded(
    space: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = counted(monkeypatch)
    manifest = (space / "space.json").read_bytes()
    figures = isometry.add(space, docs)
    assert (figures["added"], figures["changed"], figures["removed"]) == (0, 0, 0)
    assert texts == []
    assert (space / "space.json").read_bytes() == manifest

    (docs / "parcels.py").write_text('def label():\n    """Print a label for a parcel."""\n')
    figures = isometry.add(space, docs)
    assert figures["passages"] == len(texts) == figures["added"] > 0
    assert isometry.add(space, docs)["passages"] == 0


def test_a_second_addition_and_removals_alone_stay_exact(
    space: Path, docs: Path, tmp_path: Path
) -> None:
    change(docs)
    isometry.add(space, docs)
    for path in list(docs.glob("*.py"))[:4]:
        path.unlink()
    figures = isometry.add(space, docs)
    assert figures["added"] == figures["changed"] == figures["passages"] == 0 < figures["removed"]
    after = Space.open(space)
    expected = built_anew(after, tmp_path / "anew")
    assert alike(after, expected)
    assert [entry["removed"] > 0 for entry in after.manifest["additions"]] == [True, True]


def test_removed_documents_may_be_kept_and_a_file_that_breaks_is_no_removal(
    space: Path, docs: Path
) -> None:
    before = ids(space)
    (docs / "calendar.py").unlink()
    (docs / "heapq.py").write_text("def broken(:")
    assert isometry.add(space, docs, keep_removed=True)["removed"] == 0
    assert ids(space) == before
    figures = isometry.add(space, docs)
    gone = before - ids(space)
    assert figures["removed"] == len(gone) > 0
    assert {name.split(".")[0] for name in gone} == {"calendar"}
    (docs / "heapq.py").write_text("")
    isometry.add(space, docs)
    assert not {name for name in ids(space) if name.startswith("heapq")}


def test_a_further_source_gets_its_name_before_ids_that_are_taken_and_keeps_them(
    space: Path, docs: Path, tmp_path: Path
) -> None:
    before = ids(space)
    other = tmp_path / "more" / "docs"
    other.mkdir(parents=True)
    shutil.copy(docs / "heapq.py", other)
    (other / "parcels.py").write_text(PARCELS)
    figures = isometry.add(space, other)
    new = ids(space) - before
    assert figures["added"] == len(new) > 1 and figures["removed"] == figures["changed"] == 0
    assert ids(space) > before
    assert {name for name in new if "/" not in name} == {"parcels.label"}
    assert {name.split("/")[0] for name in new if "/" in name} == {"docs"}
    # Each source knows its own documents again, whatever the other holds.
    assert isometry.add(space, other)["unchanged"] == len(new)
    (docs / "heapq.py").unlink()
    isometry.add(space, docs)
    assert new < ids(space)
    assert isometry.add(space, other)["unchanged"] == len(new)
    assert isometry.add(space, f"{other}/../docs/")["unchanged"] == len(new)


def test_a_source_that_moved_is_known_by_its_name(space: Path, docs: Path, tmp_path: Path) -> None:
    moved = docs.rename(tmp_path / "moved")
    assert isometry.add(space, moved, dry_run=True)["added"] > 0
    figures = isometry.add(space, moved, name=str(docs))
    assert figures["added"] == figures["removed"] == 0 < figures["unchanged"]


def test_a_table_is_read_by_the_columns_of_the_last_time(space: Path, tmp_path: Path) -> None:
    table = tmp_path / "tickets.csv"
    table.write_text("key,what,long\na,Parcel,The parcel was lost\nb,Letter,The letter came late\n")
    isometry.add(space, table, text="long", title="what", id="key")
    assert isometry.add(space, table)["unchanged"] == 2
    assert {"a", "b"} < ids(space)
    with pytest.raises(InputError, match="no column 'body'"):
        isometry.add(space, table, text="body")


def test_a_dry_run_changes_nothing_and_tells_the_same(space: Path, docs: Path) -> None:
    change(docs)
    before = {path: path.stat().st_mtime_ns for path in space.rglob("*")}
    told = isometry.add(space, docs, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in space.rglob("*")} == before
    done = isometry.add(space, docs)
    for what in ("added", "changed", "removed", "unchanged", "documents"):
        assert told[what] == done[what]


def test_only_a_new_place_of_a_text_is_noted_without_encoding(
    space: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = counted(monkeypatch)
    heap = docs / "heapq.py"
    heap.write_text("\n\n" + heap.read_text())
    figures = isometry.add(space, docs)
    assert figures["changed"] == figures["passages"] == 0 and not texts
    rows = pq.read_table(Space.open(space).documents).to_pylist()
    place = next(row["source"] for row in rows if row["id"] == "heapq.heappush")
    line = int(place.rpartition(":")[2])
    assert heap.read_text().splitlines()[line - 1].startswith("def heappush")


def test_a_space_of_the_first_format_is_pinned_and_can_be_written(
    space: Path, docs: Path, tmp_path: Path
) -> None:
    manifest = json.loads((space / "space.json").read_text())
    del manifest["current"]
    hint = "index/chunks.lance/_versions/latest_version_hint.json"
    manifest["files"][hint] = "as it was then"
    (space / "space.json").write_text(json.dumps(manifest | {"format": 1}))
    old = Space.open(space)
    old.verify()
    change(docs)
    isometry.add(space, docs)
    found = hits(old)
    new = Space.open(space)
    assert new.verify() == len([name for name in new.manifest["files"] if name != hint])
    assert found != hits(new)
    assert alike(new, built_anew(new, tmp_path / "anew"))
    assert not [name for name, _ in hits(new) if name.startswith("calendar")]
    assert [name for name, _ in found if name.startswith("calendar")]


def test_refreshing_shows_what_was_added_and_keeps_what_is_loaded(space: Path, docs: Path) -> None:
    opened = Space.open(space)
    encoder = opened.encoder
    assert opened.refresh() is opened
    (docs / "parcels.py").write_text(PARCELS)
    isometry.add(space, docs)
    assert not [name for name, _ in hits(opened) if name.startswith("parcels")]
    now = opened.refresh()
    assert now.search("label for a parcel", 1)[0].document == "parcels.label"
    assert now.encoder is encoder


def test_many_small_additions_are_compacted_by_themselves(
    space: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "_MOST_FRAGMENTS", 2)
    compacted: list[bool] = []
    for number in range(3):
        (docs / f"parcels_{number}.py").write_text(PARCELS)
        compacted.append(isometry.add(space, docs)["compacted"])
    assert compacted == [False, True, False]
    Space.open(space).verify()


def test_one_writer_at_a_time_and_the_other_says_who(
    space: Path, docs: Path, small_folder: Path
) -> None:
    (docs / "parcels.py").write_text(PARCELS)
    tries: list[Callable[[], object]] = [
        lambda: isometry.add(space, docs),
        lambda: isometry.compact(space),
        lambda: isometry.migrate(space, small_folder),
    ]
    with Writer(space, "add somewhere"):
        for attempt in tries:
            with pytest.raises(InputError, match=r"since 20.* by process \d+ .*add somewhere"):
                attempt()
        assert hits(Space.open(space))
        Space.open(space).verify()
    # What a dead one left is no obstacle: the lock went with its process.
    (space / "writer.json").write_text('{"pid": 1, "host": "gone"}')
    assert isometry.add(space, docs)["added"] == 1
    assert sorted(path.name for path in space.iterdir() if path.name[0] in ".w") == []


def test_bad_input(space: Path, docs: Path, tmp_path: Path) -> None:
    def refuses(match: str, folder: Path, source: object) -> None:
        before = sorted(path.name for path in folder.iterdir()) if folder.exists() else None
        with pytest.raises(InputError, match=match):
            isometry.add(folder, str(source))
        after = sorted(path.name for path in folder.iterdir()) if folder.exists() else None
        assert [n for n in after or [] if n != "lock"] == [n for n in before or [] if n != "lock"]

    refuses("no Space", tmp_path / "nowhere", docs)
    refuses("is no Space", docs, docs)
    (tmp_path / "empty").mkdir()
    refuses("empty", space, tmp_path / "empty")
    (tmp_path / "empty" / "blank.md").write_text("\n\n")
    refuses("Nothing to read", space, tmp_path / "empty")
    refuses("no file or folder", space, tmp_path / "nothing")
    (space / "model" / "model.safetensors").unlink()
    (docs / "parcels.py").write_text(PARCELS)
    refuses("Cannot load", space, docs)


def test_the_command_says_what_it_did_and_info_remembers(
    space: Path, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(docs)
    assert main(["add", str(space), str(docs), "--json", "-q"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert main(["add", str(space), str(docs), "--dry-run", "-q"]) == 0
    assert "0 added, 0 changed, 0 removed" in " ".join(capsys.readouterr().out.split())
    assert main(["info", str(space)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    counts = ", ".join(f"{figures[what]:,} {what}" for what in ("added", "changed", "removed"))
    assert f"Documents since the fit: {counts}" in told
    assert Space.open(space).manifest["figures"] is not None
    assert asdict(Space.open(space).current)["documents"] == "documents-2.parquet"
