from __future__ import annotations

from pathlib import Path

import pytest

from isometry.core.errors import InputError
from isometry.corpora.packaged.debian_handbook import debian_handbook


def test_counts_and_pages() -> None:
    documents = debian_handbook()
    assert (len(documents), len({document.id for document in documents})) == (670, 670)
    assert len({document.group for document in documents}) == 127
    assert any("RAID" in document.title for document in documents)


def test_a_package_without_its_english_pages_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "debian-handbook/usr/share/doc/debian-handbook/html/de-DE").mkdir(parents=True)
    monkeypatch.setenv("ISOMETRY_DATA", str(tmp_path))
    with pytest.raises(InputError, match="has no English pages"):
        debian_handbook()
