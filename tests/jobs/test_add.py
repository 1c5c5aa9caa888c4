from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
    for empty in ("", " "):
        with pytest.raises(InputError, match="--name is empty"):
            isometry.add(space, docs, name=empty)
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


def test_a_damaged_archive_or_a_closed_folder_is_no_removal(
    space: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = docs / "deep" / "deeper"
    inside.mkdir(parents=True)
    (inside / "private.md").write_text("# Private\n\nWhere the parcels are hidden.")
    archive = docs / "manual.zip"
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("inner.md", "# Inner\n\nHow letters are sorted.")
    isometry.add(space, docs)
    there = ids(space)
    assert len([name for name in there if name.startswith(("deep/", "manual.zip/"))]) == 2
    archive.write_bytes(archive.read_bytes()[:40])
    scandir = os.scandir

    def refused(path: Any = ".") -> Any:
        if str(path) == str(docs / "deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refused)
        figures = isometry.add(space, docs)
    assert figures["removed"] == 0 and figures["skipped"] == 2
    assert ids(space) == there
    archive.unlink()
    shutil.rmtree(docs / "deep")
    assert isometry.add(space, docs)["removed"] == 2


def test_what_became_empty_is_removed(space: Path, tmp_path: Path) -> None:
    table = tmp_path / "tickets.csv"
    table.write_text("id,text\na,The parcel was lost\nb,The letter came late\n")
    isometry.add(space, table)
    table.write_text("id,text\na,The parcel was lost\nb,\n")
    assert isometry.add(space, table)["removed"] == 1
    assert "a" in ids(space) and "b" not in ids(space)


def test_a_table_of_a_database_is_known_however_it_is_typed(
    space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "app.db")) as database, database:
        database.execute("CREATE TABLE notes (key TEXT, said TEXT)")
        database.executemany(
            "INSERT INTO notes VALUES (?, ?)",
            [("a", "The parcel was lost"), ("b", "The letter came late")],
        )
    assert isometry.add(space, "app.db", text="said", id="key")["added"] == 2
    for typed in ("app.db", "sqlite:app.db", "sqlite:app.db#notes"):
        figures = isometry.add(space, typed)
        assert (figures["added"], figures["unchanged"]) == (0, 2), typed
    assert isometry.add(space, "app.db", dry_run=True)["compacted"] is False


def test_a_place_means_the_same_wherever_one_is(
    space: Path, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("app", "other"):
        (tmp_path / folder / "notes").mkdir(parents=True)
        (tmp_path / folder / "notes" / "a.md").write_text(f"# A\n\nWhat {folder} says.\n")
    monkeypatch.chdir(tmp_path / "app")
    assert isometry.add(space, "notes")["added"] == 1
    monkeypatch.chdir(docs)
    assert isometry.add(space, tmp_path / "app" / "notes")["unchanged"] == 1
    # Another folder of that name is another source, and says so before anything is replaced.
    monkeypatch.chdir(tmp_path / "other")
    with pytest.raises(InputError, match=r"app/notes as 'notes', and this 'notes' lies elsewhere"):
        isometry.add(space, "notes")
    assert isometry.add(space, "notes", name="other notes")["added"] == 1
    assert isometry.add(space, tmp_path / "other" / "notes")["unchanged"] == 1
    # Where its place is empty it has been moved.
    (tmp_path / "app" / "notes").rename(tmp_path / "gone")
    (tmp_path / "gone" / "b.md").write_text("# B\n\nOne page more.\n")
    (tmp_path / "gone").rename(docs.parent / "notes")
    monkeypatch.chdir(docs.parent)
    figures = isometry.add(space, "notes")
    assert (figures["added"], figures["unchanged"], figures["removed"]) == (1, 1, 0)


def test_a_link_that_leads_to_the_next_release_is_the_same_source(
    space: Path, tmp_path: Path
) -> None:
    for release in ("1", "2"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "a.md").write_text(f"# A\n\nRelease {release}.\n")
    current = tmp_path / "current"
    current.symlink_to("1")
    isometry.add(space, current)
    current.unlink()
    current.symlink_to("2")
    assert isometry.add(space, current)["changed"] == 1


def test_accents_apart_from_their_letters_are_found(space: Path, docs: Path) -> None:
    apart = "caf" + "e" + "\u0301"
    (docs / "menu.md").write_text(f"# Menu\n\nThe {apart} serves soup.\n", encoding="utf-8")
    isometry.add(space, docs)
    opened = Space.open(space)
    for query in (apart, "caf\u00e9"):
        (first,) = opened.search(query, 1, "lexical")
        assert first.document.startswith("menu"), query


def test_a_word_that_was_copied_with_its_soft_hyphens_is_found(space: Path, docs: Path) -> None:
    (docs / "menu.md").write_text("# Menu\n\nThe cafe\u00adteria serves soup.\n", encoding="utf-8")
    isometry.add(space, docs)
    opened = Space.open(space)
    for query in ("cafeteria", "cafe\u00adteria", "caf\u00adete\u00adria"):
        for found in (opened.search(query, 1, "lexical"), opened.explain(query, 1, "lexical")[0]):
            assert found[0].document.startswith("menu"), query
    with pytest.raises(InputError, match="The query is empty"):
        opened.search("\u00ad")


def test_a_filter_finds_a_file_whose_name_has_accents_apart(space: Path, docs: Path) -> None:
    apart, whole = "Cafe\u0301.md", "Caf\u00e9.md"
    title = unicodedata.normalize("NFD", "\u00dcber R\u00f6sten")
    (docs / apart).write_text(f"# {title}\n\nBeans are roasted here.\n", encoding="utf-8")
    isometry.add(space, docs)
    opened = Space.open(space)
    (found,) = opened.search("beans", 1, filter={"title": title})
    # The title is composed in the id, as it is in an id that was typed on another machine.
    assert found.document == f"{apart}#\u00fcber-r\u00f6sten"
    for column, ending in (("source", ""), ("group", ""), ("id", "#\u00fcber-r\u00f6sten")):
        for name in (apart, whole):
            for asked in (name + ending, [name + ending], {"prefix": name[:-3]}):
                assert opened.search("beans", 9, filter={column: asked}) == [found], (column, name)
            others = opened.search("beans", 9, filter={column: {"not": name + ending}})
            assert found.document not in {other.document for other in others}


def test_a_row_that_is_gone_is_removed_whatever_took_its_line(space: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    for last, skipped in (("1,copied by mistake", "came before"), (",without an id", "no id")):
        table.write_text("id,text\n1,first text\n2,second text\n3,third text\n")
        isometry.add(space, table)
        table.write_text(f"id,text\n1,first text\n2,second text\n{last}\n")
        figures = isometry.add(space, table)
        assert (figures["removed"], figures["unchanged"], figures["skipped"]) == (1, 2, 1)
        assert skipped in figures["skipped_first"][0]["reason"]


def test_an_addition_stands_where_there_is_no_room_to_compact(
    space: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> bool:
        raise InputError("No room left on the disk.")

    monkeypatch.setattr("isometry.jobs.add.compact_if_scattered", full)
    change(docs)
    figures = isometry.add(space, docs)
    assert figures["added"] > 0 and figures["compacted"] is False
    assert Space.open(space).verify() > 0
    assert isometry.add(space, docs)["added"] == 0
