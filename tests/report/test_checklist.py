from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isometry.cli.checklists import checklist as command
from isometry.core.errors import InputError
from isometry.core.writing import write_json
from isometry.report.checklist import Capability, check, exists, figure_of, status
from isometry.systems.catalogue import PACKAGE, entries, find
from isometry.systems.checklists import checked, surveys
from isometry.systems.dense_retrieval_checklist import checklist

TESTS = Path(__file__).resolve().parents[1]
# The survey's own numbers: Zhao et al. (2022), as the page of the system has them.
LETTERS = {
    *(f"A{number}" for number in range(1, 7)),
    *(f"B{number}" for number in range(1, 17)),
    *(f"C{number}" for number in range(1, 10)),
    *(f"D{number}" for number in range(1, 7)),
    *(f"E{number}" for number in range(1, 8)),
    "F",
}


def record(**figures: list[Any]) -> dict[str, Any]:
    """Runs of an arm `tuned`, one a seed, with the metric `found`."""
    return {
        "arms": {arm: {"runs": [{"figures": one} for one in runs]} for arm, runs in figures.items()}
    }


@pytest.mark.parametrize("row", checklist, ids=lambda row: f"{row.code}-{row.what}")
def test_every_part_and_test_that_is_named_exists(row: Capability) -> None:
    assert (row.part == "") == (row.test == "")
    if row.part:
        for folder, place in ((PACKAGE, row.part), (TESTS, row.test)):
            assert "::" in place
            assert exists(folder, place), place


def test_every_letter_of_the_survey_stands_in_its_order() -> None:
    codes = list(dict.fromkeys(row.code for row in checklist))
    assert set(codes) == LETTERS
    assert codes == sorted(codes, key=lambda code: (code[0], int(code[1:] or 0)))
    assert [row.code for row in checklist] == sorted(
        (row.code for row in checklist), key=codes.index
    )
    assert len({(row.code, row.what) for row in checklist}) == len(checklist)


def test_every_figure_is_one_that_the_system_measures() -> None:
    system = find("dense-retrieval")[0].load()
    metrics = {gate.metric for gate in system.gates}
    named = [row.figure for row in checklist if row.figure]
    assert {arm for arm, _ in named} <= set(system.arms)
    assert {metric for _, metric in named} == metrics


def test_a_checklist_is_no_system() -> None:
    assert not [entry.slug for entry in entries() if "checklist" in entry.slug]
    assert "dense-retrieval" in surveys()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A package with one part, and its test."""
    for name, source in (
        ("src/core/one.py", "class One:\n    def two(self): ...\n\n\nUNDER = 3\n"),
        ("tests/core/test_one.py", "def test_one(): ...\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(source, encoding="utf-8")
    return tmp_path / "src", tmp_path / "tests"


PART, TEST = "core/one.py::One", "core/test_one.py::test_one"


@pytest.mark.parametrize(
    ("part", "test", "expected"),
    [
        (PART, TEST, "pass"),
        ("core/one.py", TEST, "pass"),
        ("", "", "absent"),
        ("core/one.py::Two", TEST, "absent"),
        ("core/one.py::two", TEST, "absent"),
        ("core/two.py::One", TEST, "absent"),
        ("core", TEST, "absent"),
        ("", TEST, "absent"),
        (PART, "", "not measured"),
        (PART, "core/test_one.py::test_two", "not measured"),
    ],
)
def test_a_capability_is_a_part_with_a_test(
    folders: tuple[Path, Path], part: str, test: str, expected: str
) -> None:
    assert status(Capability("A1", "one", part, test), *folders) == expected


def test_where_no_tests_are_at_hand_they_are_taken_for_granted(folders: tuple[Path, Path]) -> None:
    package, _ = folders
    assert status(Capability("A1", "one", PART, "core/lost.py::test"), package, None) == "pass"
    assert status(Capability("A1", "one", "core/lost.py", TEST), package, None) == "absent"


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (None, None),
        (record(other=[{"found": 1.0}]), None),
        (record(tuned=[]), None),
        (record(tuned=[{"lost": 1.0}]), None),
        (record(tuned=[{"found": 1.0}, {"lost": 1.0}]), None),
        (record(tuned=[{"found": 0.0}]), 0.0),
        (record(tuned=[{"found": [0.0, 1.0, 1.0, 0.0]}, {"found": [1.0, 1.0, 1.0, 1.0]}]), 0.75),
    ],
)
def test_a_figure_is_the_mean_over_seeds_and_items_of_the_record(
    folders: tuple[Path, Path], kept: dict[str, Any] | None, expected: float | None
) -> None:
    row = Capability("A1", "one", PART, TEST, ("tuned", "found"))
    assert figure_of(row, kept) == expected
    (found,) = check([row], *folders, kept)
    assert (found.state, found.value) == ("not measured" if expected is None else "pass", expected)
    # What no figure is asked of needs none, and what is absent is so with one.
    assert status(Capability("A1", "one", PART, TEST), *folders, kept) == "pass"
    missing = Capability("A1", "one", "", "", ("tuned", "found"))
    assert status(missing, *folders, kept) == "absent"


def write(folder: Path, code: str) -> None:
    arms = record(**{"in-batch": [{"recall@10": [0.5, 1.0], "mrr@10": [0.5, 0.25]}]})["arms"]
    (folder / "dense-retrieval").mkdir(exist_ok=True)
    write_json(
        folder / "dense-retrieval" / "small.json",
        {
            "format": 1, "slug": "dense-retrieval", "scale": "small", "identity": {"code": code},
            "created": "2026-11-25T10:00:00Z", "arms": arms,
            "gates": [{"metric": "recall@10", "report_only": False, "passed": True}],
            "passed": True, "title": "", "baseline": "in-batch", "method": "in-batch",
        },
    )  # fmt: skip


def test_figures_of_other_code_do_not_count(tmp_path: Path) -> None:
    (entry,) = find("dense-retrieval")

    def states() -> dict[tuple[str, str], str]:
        _, rows = checked("dense-retrieval", tmp_path)
        return {row.capability.figure: row.state for row in rows if row.capability.figure}

    assert set(states().values()) == {"not measured"}
    write(tmp_path, "other")
    assert set(states().values()) == {"not measured"}
    write(tmp_path, entry.code_hash)
    measured = {figure for figure, state in states().items() if state == "pass"}
    assert measured == {("in-batch", "recall@10")}


def test_a_system_that_is_no_survey_and_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2dmse is no survey") as caught:
        checked("2dmse", tmp_path)
    assert "dense-retrieval" in caught.value.hint
    with pytest.raises(InputError, match="no system 'dense-retrievel'") as caught:
        checked("dense-retrievel", tmp_path)
    assert "dense-retrieval" in caught.value.hint


def test_the_command_prints_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (entry,) = find("dense-retrieval")
    write(tmp_path, entry.code_hash)
    command("dense-retrieval", tmp_path, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["title"] == entry.title
    rows = printed["checklist"]
    assert [(row["code"], row["what"]) for row in rows] == [
        (row.code, row.what) for row in checklist
    ]
    (loss,) = [row for row in rows if row["code"] == "B1"]
    assert (loss["state"], loss["value"]) == ("pass", 0.75)
    assert loss["part"] == "objectives/infonce.py::InfoNCE"
    command("dense-retrieval", tmp_path)
    text = capsys.readouterr().out
    counts = {state: sum(row["state"] == state for row in rows) for state in ("pass", "absent")}
    assert f"{counts['pass']} pass, {counts['absent']} absent" in text
    assert "0.750" in text
