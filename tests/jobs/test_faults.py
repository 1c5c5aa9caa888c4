"""Whatever stops a writer, a Space is the old one or the new one, and its command goes on."""

from __future__ import annotations

import errno
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from forking import forking
from living_spaces import PARCELS, State, change, living, state

import isometry
from isometry import InputError, Space
from isometry.core import files, writing
from isometry.encoders.text import TextEncoder
from isometry.jobs.fit import _replace  # pyright: ignore[reportPrivateUsage]
from isometry.jobs.store import Limits, Store

KILLS = int(os.environ.get("ISOMETRY_KILLS", "1"))


def _add(space: str, docs: str, _: str) -> None:
    isometry.add(space, docs)


def _migrate(space: str, _: str, model: str) -> None:
    isometry.migrate(space, model)


def _compact(space: str, _: str, __: str) -> None:
    isometry.compact(space, keep_hours=0)


WRITERS: dict[str, Callable[[str, str, str], None]] = {
    "add": _add,
    "migrate": _migrate,
    "compact": _compact,
}


@pytest.fixture(scope="module")
def origin(few_origin: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Space that two additions have scattered, and its source with changes to come."""
    space, docs = living(
        few_origin / "space", few_origin / "docs", tmp_path_factory.mktemp("origin")
    )
    for number in range(2):
        (docs / f"parcels_{number}.py").write_text(PARCELS)
        isometry.add(space, docs)
    change(docs)
    return space, docs


@pytest.fixture(scope="module")
def states(
    origin: tuple[Path, Path], tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, State]:
    """What the Space holds before, and after each command that nothing stopped."""
    found = {"before": state(Space.open(origin[0]))}
    for name, run in WRITERS.items():
        copy = tmp_path_factory.mktemp(name) / "space"
        shutil.copytree(origin[0], copy)
        run(str(copy), str(origin[1]), str(tiny_folder))
        found[name] = state(Space.open(copy))
    return found


@pytest.mark.parametrize("name", WRITERS)
def test_kills_at_random_moments(
    name: str,
    origin: tuple[Path, Path],
    states: dict[str, State],
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    context = forking()
    pristine, docs = origin

    def start(space: Path) -> Any:
        arguments = (str(space), str(docs), str(tiny_folder))
        process = context.Process(target=WRITERS[name], args=arguments)
        process.start()
        return process

    def fresh(number: int) -> Path:
        return Path(shutil.copytree(pristine, tmp_path / f"space-{number}"))

    space = fresh(0)
    started = time.monotonic()
    process = start(space)
    process.join()
    assert process.exitcode == 0
    whole = time.monotonic() - started
    assert state(Space.open(space)) == states[name]

    generator = random.Random(name)
    kills, number, finished = 0, 1, 0
    space = fresh(number)
    while kills < KILLS or not finished:
        process = start(space)
        process.join(generator.uniform(0.05, 0.9) * whole if kills < KILLS else None)
        stopped = process.is_alive()
        if stopped:
            process.kill()
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0
        opened = Space.open(space)
        opened.verify()
        # Nothing half-visible: it is the old state or the new one.
        now = state(opened)
        assert now in ([states["before"], states[name]] if stopped else [states[name]])
        if not stopped or now != states["before"]:
            # What the manifest names is whole; the next writer removes the rest.
            WRITERS[name](str(space), str(docs), str(tiny_folder))
            assert Space.open(space).leftovers() == []
            assert not (space / ".writing").exists()
            assert state(Space.open(space)) == states[name]
            finished += 1
            number += 1
            space = fresh(number)


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _renaming(part: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Makes the disk full when a file or folder of such a name gets its place."""

    def patch(patcher: pytest.MonkeyPatch) -> None:
        replace = os.replace

        def full(source: Any, target: Any) -> None:
            if part in Path(target).name:
                _full()
            replace(source, target)

        patcher.setattr(os, "replace", full)

    return patch


def _lance(method: str) -> Callable[[pytest.MonkeyPatch], None]:
    def patch(patcher: pytest.MonkeyPatch) -> None:
        from lancedb.table import LanceTable

        patcher.setattr(LanceTable, method, _full)

    return patch


def _parquet(patcher: pytest.MonkeyPatch) -> None:
    patcher.setattr(pq, "write_table", _full)


def _json(patcher: pytest.MonkeyPatch) -> None:
    write = writing.write_text

    def full(path: Path, text: str) -> None:
        if path.name == "space.json":
            with writing.clear_disk_errors(path):
                _full()
        write(path, text)

    patcher.setattr(writing, "write_text", full)


def _flushing(patcher: pytest.MonkeyPatch) -> None:
    """Makes the disk full when what was written shall be flushed to it."""
    from isometry.jobs import upkeep

    patcher.setattr(upkeep, "flush", _full)


def _sites() -> Iterator[Any]:
    everywhere = {"the manifest": _renaming("space.json"), "flushing": _flushing}
    sites = {
        "add": {
            "the owner": _renaming("writer.json"),
            "the text of the manifest": _json,
            "vectors": _renaming(".safetensors"),
            "documents": _renaming("documents-"),
            "parquet": _parquet,
            "delete": _lance("delete"),
            "append": _lance("add"),
            "words": _lance("create_index"),
        },
        "migrate": {
            "vectors": _renaming(".safetensors"),
            "model": _renaming("model-"),
            "index": _renaming("index-"),
        },
        "compact": {"joining": _lance("optimize"), "words": _lance("create_index")},
    }
    for name, own in sites.items():
        for site, patch in (everywhere | own).items():
            yield pytest.param(name, patch, id=f"{name}-{site}")


@pytest.fixture
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is loaded once for all of these tests: they are about other files."""
    load = TextEncoder.load

    def cached(source: Any, **_: Any) -> TextEncoder:
        weights = files.hash_file(Path(source) / "model.safetensors")
        if weights not in _LOADED:
            _LOADED[weights] = load(source)
        return _LOADED[weights]

    monkeypatch.setattr(TextEncoder, "load", cached)


_LOADED: dict[str, TextEncoder] = {}


@pytest.mark.usefixtures("loaded_once")
@pytest.mark.parametrize(("name", "patch"), list(_sites()))
def test_a_full_disk_leaves_the_old_state(
    name: str,
    patch: Callable[[pytest.MonkeyPatch], None],
    origin: tuple[Path, Path],
    states: dict[str, State],
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    space = Path(shutil.copytree(origin[0], tmp_path / "space"))
    before = {path for path in space.rglob("*") if "hint" not in path.name}
    with pytest.MonkeyPatch.context() as patcher:
        patch(patcher)
        with pytest.raises(InputError, match="No room left") as failure:
            WRITERS[name](str(space), str(origin[1]), str(tiny_folder))
    assert "\n" not in str(failure.value)
    # What was half written is gone, so that the room is there again; vectors are kept.
    after = {path for path in space.rglob("*") if "hint" not in path.name}
    more = {path for path in after - before if ".writing" not in path.parts}
    assert {path.name for path in more} <= {"lock"}
    assert before <= after
    opened = Space.open(space)
    opened.verify()
    assert state(opened) == states["before"]
    WRITERS[name](str(space), str(origin[1]), str(tiny_folder))
    assert state(Space.open(space)) == states[name]


def test_a_damaged_space_is_replaced_with_what_waits_in_its_journal(
    few: tuple[Path, Path],
) -> None:
    """Which could not be applied to its index any more."""
    space, _ = few
    new = Path(shutil.copytree(space, space.parent / "new"))
    with Store.open(space, limits=Limits(seconds=3600)) as store:
        store.delete(["nobody"]).result()
        journal = shutil.copytree(space / "journal", space.parent / "journal")
    shutil.rmtree(space / "journal", ignore_errors=True)
    shutil.copytree(journal, space / "journal")
    for path in (space / Space.open(space).current.index).rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    _replace(space, new)
    assert not new.exists()
    Space.open(space).verify()


def test_what_a_kill_left_aside_goes_with_the_next_change_and_no_other_s(
    space: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    shutil.copytree(space, new)
    left = space.with_name(f".{space.name}.0123abcd.old")
    other = space.with_name(f".{space.name}.v2.0123abcd.old")
    for folder in (left, other):
        folder.mkdir()
        (folder / "model").write_text("years of work")
    _replace(space, new)
    assert not left.exists() and (other / "model").exists()
    Space.open(space).verify()
