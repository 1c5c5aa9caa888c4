from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isometry.core.errors import InputError
from isometry.systems.records import read_record, write_record

RECORD: dict[str, Any] = {
    "slug": "one", "scale": "small", "identity": {"code": "c"}, "created": "today",
    "title": "One", "baseline": "all", "method": "all",
    "gates": [{"metric": "found", "report_only": False, "passed": True}],
    "passed": True,
    "arms": {
        "all": {
            "about": "sizes: [1, 2.0]\n[3]",
            "runs": [{"figures": {"found": [0.0, 1.0, 0.333333, -1e-07]}}],
        },
    },
    "sizes": [[1, 32], [70000000, 64]], "none": [],
}  # fmt: skip


def test_a_record_reads_back_as_it_was_with_the_figures_of_items_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "results/one/small.json"
    write_record(path, RECORD)
    assert read_record(path) == {"format": 1, **RECORD}
    assert '"found": [0,1,0.333333,-1e-07]\n' in path.read_text(encoding="utf-8")


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one" / "small.json"
    assert read_record(path) is None
    write_record(path, {**RECORD, "format": 99})
    with pytest.raises(InputError, match="format 99"):
        read_record(path)
    path.write_text("{}")
    with pytest.raises(InputError, match="is no record"):
        read_record(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"arms": {}}, {"arms": []}, {"arms": {"all": {"runs": []}}}, {"arms": {"all": None}},
        {"method": "other"}, {"baseline": None}, {"title": 3}, {"created": 5}, {"identity": None},
        {"gates": []}, {"gates": [None]}, {"gates": [{"metric": "found"}]},
        {"passed": None}, {"slug": "two"}, {"scale": "full"},
        {"arms": {"all": {"runs": [{"figures": {"found": ["NaN"]}}]}}},
        {"arms": {"all": {"runs": [{"figures": {"found": [1.0, [2.0]]}}]}}},
    ],
)  # fmt: skip
def test_a_record_that_lacks_what_is_shown_of_it_is_none(
    changed: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "one" / "small.json"
    write_record(path, RECORD | changed)
    with pytest.raises(InputError, match="is no record"):
        read_record(path)
    path.write_text(path.read_text().replace('"NaN"', "NaN"))
    with pytest.raises(InputError, match="is no record"):
        read_record(path)
