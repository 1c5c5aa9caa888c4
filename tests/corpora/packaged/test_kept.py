from __future__ import annotations

from pathlib import Path

import pytest

from isometry.core.errors import InputError
from isometry.corpora import readers
from isometry.corpora.packaged import kept
from isometry.corpora.packaged.kept import kept_documents
from isometry.corpora.packaged.locate import find_package

NAME = "python3.13-doc"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ISOMETRY_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "data" / NAME / find_package(NAME).inside
    folder.mkdir(parents=True)
    page = folder / "a.rst.txt"
    page.write_text("Heading\n=======\n\nSee :doc:`b`.\n\n.. note:: Twice.\n", encoding="utf-8")
    (folder / "b.rst.txt").write_text("Other\n=====\n\nWords.\n", encoding="utf-8")
    return page


def test_what_is_kept_is_what_is_read(page: Path) -> None:
    source = readers.open_source(page.parent)
    expected = list(source.documents(readers.ReadingReport()))
    assert expected[0].links
    assert kept_documents(NAME, parsers=("docutils",)) == expected
    assert kept_documents(NAME, parsers=("docutils",)) == expected


def test_nothing_is_read_twice(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kept_documents(NAME, parsers=("docutils",))

    def fail(*_: object) -> None:
        pytest.fail("it was read again")

    monkeypatch.setattr(kept.readers, "open_source", fail)
    assert kept_documents(NAME, parsers=("docutils",)) == first


def test_a_changed_file_is_read(page: Path) -> None:
    first = kept_documents(NAME, parsers=("docutils",))
    page.write_text(page.read_text(encoding="utf-8") + "\nMore.\n", encoding="utf-8")
    second = kept_documents(NAME, parsers=("docutils",))
    assert second[0].text == f"{first[0].text}\n\nMore."
    assert second[1:] == first[1:]


@pytest.mark.parametrize("changed", ["version", "code_hash"])
def test_another_parser_or_other_code_reads_anew(
    page: Path, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_documents(NAME, parsers=("docutils",))
    monkeypatch.setattr(kept, changed, lambda *_: "another")
    opened: list[object] = []
    really = readers.open_source
    monkeypatch.setattr(
        kept.readers, "open_source", lambda path: opened.append(path) or really(path)
    )
    for _ in range(2):
        kept_documents(NAME, parsers=("docutils",))
    assert opened == [page.parent]


def test_a_cache_that_cannot_be_written(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = page.parent / "file"
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    with pytest.raises(InputError, match="Cannot write to"):
        kept_documents(NAME, parsers=("docutils",))
