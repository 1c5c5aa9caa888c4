from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isometry.core.errors import InputError
from isometry.systems.records import read_record, write_record

RECORD: dict[str, Any] = {
    "slug": "one", "scale": "small", "identity": {}, "created": "today", "gates": [],
    "passed": True,
    "arms": {"all": {"about": "sizes: [1, 2.0]\n[3]", "figures": [0.0, 1.0, 0.333333, -1e-07]}},
    "sizes": [[1, 32], [70000000, 64]], "none": [],
}  # fmt: skip


def test_a_record_reads_back_as_it_was_with_the_figures_of_items_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "results/one/small.json"
    write_record(path, RECORD)
    assert read_record(path) == {"format": 1, **RECORD}
    assert '"figures": [0,1,0.333333,-1e-07]\n' in path.read_text(encoding="utf-8")


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    assert read_record(path) is None
    write_record(path, {**RECORD, "format": 99})
    with pytest.raises(InputError, match="format 99"):
        read_record(path)
    path.write_text("{}")
    with pytest.raises(InputError, match="is no record"):
        read_record(path)
