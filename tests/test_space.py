from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tuned_folders import tuned

from isometry import InputError, Space
from isometry.core.files import read_json
from isometry.core.writing import write_json
from isometry.encoders.encoder import load_encoder
from isometry.search.lancedb import chunk_schema
from isometry.search.updates import replace_documents
from isometry.serving.loading import nested_widths
from isometry.space_files import Current


@pytest.fixture
def folder(tiny_space: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_space, tmp_path / "space"))


def found(space: Space) -> list[tuple[str, float]]:
    return [(hit.document, hit.score) for hit in space.search("the day of the week", 20)]


def rewrite(folder: Path, **values: Any) -> None:
    manifest = json.loads((folder / "space.json").read_text())
    (folder / "space.json").write_text(json.dumps(manifest | values))


def half_written(folder: Path) -> None:
    """The table has gone on; the manifest has not been told."""
    space = Space.open(folder)
    gone = [hit.document for hit in space.search("the day of the week", 20)]
    index = folder / space.current.index
    schema = chunk_schema(space.index.dim)
    replace_documents(index, space.current.index_version, gone, None, schema, space.lexical)


def test_it_stays_at_what_its_manifest_names(folder: Path) -> None:
    expected = found(Space.open(folder))
    lazy = Space.open(folder)
    half_written(folder)
    assert found(lazy) == expected
    assert found(Space.open(folder)) == expected
    # One of the first format names no version: the files that it lists do.
    manifest = json.loads((folder / "space.json").read_text())
    del manifest["current"]
    (folder / "space.json").write_text(json.dumps(manifest))
    assert found(Space.open(folder)) == expected


def test_what_an_unfinished_write_left_is_no_damage_but_the_same_files_without_one_are(
    folder: Path,
) -> None:
    space = Space.open(folder)
    whole = space.verify()
    assert space.leftovers() == []
    (folder / ".writing").mkdir()
    half_written(folder)
    (folder / "model-2").mkdir()
    (folder / "model-2" / "model.safetensors").write_bytes(b"half")
    (folder / ".documents-2.parquet.abc").write_bytes(b"half")
    assert space.verify() == whole
    left = space.leftovers()
    assert {name.split("/")[0] for name in left} == {
        "index",
        "model-2",
        ".documents-2.parquet.abc",
    }
    (folder / "model" / "pytorch_model.bin").write_bytes(b"no writer was here")
    with pytest.raises(InputError, match=r"Not part .*model/pytorch_model\.bin"):
        space.verify()
    (folder / "model" / "pytorch_model.bin").unlink()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"Not part .*notes\.txt"):
        space.verify()
    (folder / "notes.txt").unlink()
    (folder / ".writing").rmdir()
    with pytest.raises(InputError, match="Not part"):
        space.verify()


def test_the_lock_and_its_owner_are_not_counted(folder: Path) -> None:
    whole = Space.open(folder).verify()
    (folder / "lock").touch()
    (folder / "writer.json").write_text("{}")
    assert Space.open(folder).verify() == whole


def test_refreshing_gives_the_same_until_something_is_written(folder: Path) -> None:
    space = Space.open(folder)
    assert space.refresh() is space
    rewrite(folder, additions=[{"source": "docs"}])
    assert space.refresh().manifest["additions"] == [{"source": "docs"}]
    assert "additions" not in space.manifest


def test_a_space_in_its_place_comes_with_its_own_encoder(
    folder: Path, tmp_path: Path, small_folder: Path
) -> None:
    space = Space.open(folder)
    before = space.encoder.fingerprint()
    # As a fit with --force leaves it: another model under the same name.
    shutil.rmtree(folder / "model")
    tuned(small_folder, folder / "model", 1)
    now = load_encoder(folder / "model").fingerprint()
    rewrite(folder, encoder={**space.manifest["encoder"], "fingerprint": now})
    assert space.refresh().encoder.fingerprint() == now != before


@pytest.mark.parametrize("part", ["model", "index", "documents"])
@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "..", ""])
def test_a_manifest_names_nothing_outside_its_folder(folder: Path, part: str, name: str) -> None:
    current = {"model": "model", "index": "index", "index_version": 2, "documents": "d.parquet"}
    assert Current.of({"current": current}).index_version == 2
    rewrite(folder, current=current | {part: name})
    with pytest.raises(InputError):
        Space.open(folder)


def test_the_index_of_another_fit_does_not_open_beside_this_ones_encoder(folder: Path) -> None:
    opened = Space.open(folder)
    manifest = read_json(folder / "space.json")
    write_json(folder / "space.json", {**manifest, "created": "2030-01-01T00:00:00Z"})
    with pytest.raises(InputError, match="fitted anew"):
        _ = opened.known
    assert opened.refresh().known.num_rows > 0


def test_a_kept_base_was_trained_for_no_width(folder: Path) -> None:
    trained = nested_widths(Space.open(folder))
    assert trained is not None and len(trained) > 1
    manifest = read_json(folder / "space.json")
    manifest["figures"]["verdict"]["kept"] = "base"
    write_json(folder / "space.json", manifest)
    assert nested_widths(Space.open(folder)) is None
