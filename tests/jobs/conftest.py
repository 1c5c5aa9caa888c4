"""A Space of a test's own, with the folder of its documents."""

from __future__ import annotations

from pathlib import Path

import pytest
from living_spaces import living


@pytest.fixture
def pair(tiny_space: Path, tiny_docs: Path, tmp_path: Path) -> tuple[Path, Path]:
    return living(tiny_space, tiny_docs, tmp_path)


@pytest.fixture
def space(pair: tuple[Path, Path]) -> Path:
    return pair[0]


@pytest.fixture
def docs(pair: tuple[Path, Path]) -> Path:
    return pair[1]
