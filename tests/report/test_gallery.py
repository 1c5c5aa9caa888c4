from __future__ import annotations

import copy
import importlib.util
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from isometry.report.gallery import draw_gains, render_index, render_page
from isometry.systems.catalogue import find

ROOT = Path(__file__).resolve().parents[2]


def gate(metric: str, versus: str | None, **changes: Any) -> dict[str, Any]:
    return {
        "metric": metric, "arm": "ours", "versus": versus, "at_least": 0.05,
        "lower_is_better": False, "report_only": False, "reported": "", "figure": 0.61,
        "other": 0.42 if versus else None, "gain": 0.19 if versus else None,
        "low": 0.11 if versus else None, "high": 0.27 if versus else None, "passed": True,
    } | changes  # fmt: skip


def runs(*seeds: dict[str, Any], stages: dict[str, int]) -> list[dict[str, Any]]:
    return [{"seed": 0, "steps": stages, "rows": {}, "figures": figures} for figures in seeds]


@pytest.fixture
def record() -> dict[str, Any]:
    first = {"accuracy": [0.1, 0.5, 0.9], "time": 1234.5}
    second = {"accuracy": [0.2, 0.5, 0.5], "time": 1244.5}
    return {
        "slug": "some-method",
        "title": "A method",
        "scale": "small",
        "settings": {"model": "packaged:minilm", "steps": {"contrast": 140}, "seeds": 2},
        "created": "2026-11-25T12:00:00Z",
        "seconds": 4321.6,
        "cpu_seconds": 8181.4,
        "versions": {"python": "3.13.5", "torch": "2.9.1"},
        "machine": {"processor": "riscv", "cores": 6, "memory_gib": 47.5, "threads": 6},
        "baseline": "theirs",
        "method": "ours",
        "trade": None,
        "arms": {
            "raw": {"about": "as it is", "rate": None, "runs": runs(first, first, stages={})},
            "theirs": {
                "about": "the usual way", "rate": 2e-5,
                "runs": runs(first, second, stages={"contrast": 141}),
            },
            "ours": {
                "about": "the new way", "rate": 5e-5,
                "runs": runs(second, first, stages={"warm": 43, "contrast": 1408}),
            },
        },
        "gates": [
            gate("accuracy", "theirs", reported="plus five points"),
            gate("accuracy", None, passed=False, at_least=0.71),
            gate("time", "raw", passed=False, report_only=True, gain=-0.04, low=-0.08, high=0.01),
        ],
        "passed": False,
    }  # fmt: skip


@pytest.fixture
def system() -> dict[str, Any]:
    return {
        "slug": "some-method",
        "family": "sentence",
        "file": "systems/sentence/some_method.py",
        "title": "Some method",
        "arxiv": "2402.14776",
        "claim": "It is better.",
        "about": "The idea.\n\nIt does this\nand `that`.",
        "differs": "Data are others.",
        "parts": [
            {"name": "One", "file": "objectives/infonce.py"},
            {"name": "Other", "file": "pooling/mean.py"},
            {"name": "two", "file": "objectives/infonce.py"},
        ],
        "state": "failed",
    }


def changed(value: Any, change: Callable[[float], float]) -> Any:
    """A record with every number in it changed, within texts too."""
    if isinstance(value, dict):
        return {name: changed(one, change) for name, one in value.items()}
    if isinstance(value, list):
        return [changed(one, change) for one in value]
    if isinstance(value, str):
        return re.sub(r"\d+", lambda found: str(int(change(int(found[0])))), value)
    return value if value is None or isinstance(value, bool) else change(value)


def cells(page: str, heading: str) -> list[list[str]]:
    """The table under a heading, without its rule."""
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split(" |")] for line in (lines[0], *lines[2:])]


def test_every_number_of_a_page_comes_from_the_record(
    system: dict[str, Any], record: dict[str, Any]
) -> None:
    system["arxiv"] = ""

    def numbers(values: dict[str, Any]) -> list[str]:
        text = render_page(system, values) + render_index([(system, values)])
        text = re.sub(r"(?m)^\d+\. ", "", text).replace("95 % interval", "")
        # Those that count: seeds in a record, and gates that hold.
        text = text.replace("1 of 2 gates hold", "").replace("the mean of 2 seeds", "")
        return re.findall(r"(?<!\w)[-+]?[\d.,]*\d(?:e-\d+)?", text)

    before = numbers(record)
    after = numbers(changed(copy.deepcopy(record), lambda value: 3 * value + 7))
    assert len(before) == len(after) > 45
    assert [old for old, new in zip(before, after, strict=True) if old == new] == []


def test_figures_are_means_over_seeds_and_items(
    system: dict[str, Any], record: dict[str, Any]
) -> None:
    head, raw, theirs, ours = cells(render_page(system, record), "Figures")
    assert head == ["Arm", "accuracy", "time"]
    spread = statistics.stdev([0.5, 0.4])
    assert raw == ["raw", "0.500", "1234"]
    assert theirs[:2] == ["theirs", f"0.450 ±{spread:.3f}"]
    assert ours == ["ours", *theirs[1:]]


def test_a_table_with_more_figures_than_arms_lies_on_its_side(
    system: dict[str, Any], record: dict[str, Any]
) -> None:
    for arm in record["arms"].values():
        for run in arm["runs"]:
            run["figures"]["third"] = 0.25
    assert cells(render_page(system, record), "Figures")[0][0] == "Arm"
    for arm in record["arms"].values():
        for run in arm["runs"]:
            run["figures"]["fourth"] = 0.125
    table = cells(render_page(system, record), "Figures")
    assert table[0] == ["Figure", "raw", "theirs", "ours"]
    assert table[3:] == [["third", *["0.250"] * 3], ["fourth", *["0.125"] * 3]]


def test_arms_say_how_they_were_trained(system: dict[str, Any], record: dict[str, Any]) -> None:
    assert cells(render_page(system, record), "Arms")[1:] == [
        ["raw", "as it is", "–", "–"],
        ["theirs, the baseline", "the usual way", "2e-05", "contrast 141"],
        ["ours, the method", "the new way", "5e-05", "warm 43, contrast 1,408"],
    ]


def test_gates_are_told_with_their_outcome(system: dict[str, Any], record: dict[str, Any]) -> None:
    page = render_page(system, record)
    gates = [line for line in page.splitlines() if re.match(r"\d\. ", line)]
    assert [re.findall(r"\*\*(.+)\*\*", line) for line in gates] == [
        ["holds"], ["fails"], ["fails, decides nothing"]
    ]  # fmt: skip
    assert gates[0].endswith("<br>The paper: plus five points")
    assert "0.610 against 0.420, +0.190 \\[+0.110, +0.270\\]" in gates[0]
    assert "The paper" not in gates[1] + gates[2]
    assert "ours at least 0.710; it is 0.610" in gates[1]


def test_the_result_counts_the_gates_that_decide(
    system: dict[str, Any], record: dict[str, Any]
) -> None:
    said = "fails: 1 of 2 gates hold; accuracy +0.190 \\[+0.110, +0.270\\]"
    assert f"**Result:** {said}.\n" in render_page(system, record)
    lines = render_index([(system, record)]).splitlines()
    (row,) = [line for line in lines if "](some-method.md)" in line]
    assert row == f"| [some-method](some-method.md) | sentence | It is better. | {said} |" + (
        " 2026-11-25 |"
    )


def test_the_plot_has_a_row_for_each_gain(record: dict[str, Any]) -> None:
    def titles() -> list[str]:
        root = ElementTree.fromstring(draw_gains(record))
        return [str(node.text) for node in root.iter("{http://www.w3.org/2000/svg}title")]

    assert titles() == [
        "1. accuracy: +19.0 [+11.0, +27.0]", "3. time: -4.0 [-8.0, +1.0]",
    ]  # fmt: skip
    assert "hundredths" in draw_gains(record)
    record["gates"][2] |= {"metric": "milliseconds of a long name", "gain": -12.25}
    assert titles()[0] == "1. accuracy: +0.2 [+0.1, +0.3]"
    assert titles()[1].startswith("3. milliseconds of a long…: -12.2")
    assert "hundredths" not in draw_gains(record)


def test_a_record_without_gains_has_no_plot(system: dict[str, Any], record: dict[str, Any]) -> None:
    assert "![" in render_page(system, record)
    record["gates"] = [record["gates"][0], gate("accuracy", None)]
    assert "some-method.svg" in render_page(system, record)
    for one in record["gates"]:
        one["gain"] = one["low"] = one["high"] = None
    assert draw_gains(record) == ""


def test_what_it_costs_is_drawn_where_that_is_the_question(
    system: dict[str, Any], record: dict[str, Any]
) -> None:
    assert "front.svg" not in render_page(system, record)
    record["trade"] = ["time", "accuracy"]
    page = render_page(system, record)
    assert "![accuracy against time](some-method-front.svg)" in page
    assert page.index("## Figures") < page.index("front.svg") < page.index("## Gates")


def test_a_system_that_was_not_run_shows_no_figures(system: dict[str, Any]) -> None:
    system["state"] = "not run"
    page = render_page(system, None)
    assert "**Result:** not run yet." in page
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## Parts", "## What differs from the paper", "## Run it"]
    assert "isometry reproduce some-method\n" in page
    assert ".svg" not in page
    assert "| It is better. | not run yet |  |" in render_index([(system, None)])


def test_a_result_of_other_code_is_called_stale(
    system: dict[str, Any], record: dict[str, Any]
) -> None:
    system["state"] = "stale"
    page, index = render_page(system, record), render_index([(system, record)])
    assert "**Result:** stale: the code has changed since" in page
    assert "| stale | 2026-11-25 |" in index
    assert "measured with other code. Without `--results` the command replaces that record." in page
    assert "0.190" not in index


@pytest.mark.parametrize(
    ("arxiv", "linked"),
    [("2402.14776", True), ("2402.14776v3", True), ("", False), ("1) [x](http://evil", False)],
)
def test_only_a_number_of_a_paper_is_linked(
    system: dict[str, Any], arxiv: str, linked: bool
) -> None:
    page = render_page(system, None)
    assert f"[arXiv {system['arxiv']}](https://arxiv.org/abs/{system['arxiv']})" in page
    system["arxiv"] = arxiv
    page = render_page(system, None)
    assert ("https://arxiv.org/abs/" in page) == linked
    assert "evil" not in page


def test_parts_are_linked_once_a_file(system: dict[str, Any]) -> None:
    lines = [line for line in render_page(system, None).splitlines() if line.startswith("- ")]
    assert lines == [
        "- [objectives/infonce.py](../../src/isometry/objectives/infonce.py): `One`, `two`",
        "- [pooling/mean.py](../../src/isometry/pooling/mean.py): `Other`",
    ]
    system["parts"] = []
    assert "## Parts\n\nNone of its own." in render_page(system, None)


def test_words_of_others_add_no_structure(system: dict[str, Any], record: dict[str, Any]) -> None:
    def shape(page: str) -> list[str]:
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(page)
        # A text may fall into pieces.
        kinds = [t.type for token in tokens for t in [token, *(token.children or [])]]
        return [kind for kind in kinds if kind not in ("text", "text_special")]

    def pages(hostile: str) -> tuple[str, str, str]:
        told, done = copy.deepcopy(system), copy.deepcopy(record)
        for name in ("family", "title", "claim", "differs", "about"):
            told[name] = hostile
        for place, arm in enumerate([*done["arms"].values()]):
            arm["about"] = hostile
            for run in arm["runs"]:
                run["steps"] = {hostile: place}
                run["figures"] = {hostile: 0.5, "other": 0.25}
        done["arms"][hostile] = done["arms"].pop("ours")
        done["method"] = hostile
        for one in done["gates"]:
            one |= {"metric": hostile, "arm": hostile, "reported": hostile}
            if one["versus"]:
                one["versus"] = hostile
        done["settings"] = {"model": hostile, hostile: [hostile], "seeds": 2}
        done["machine"]["processor"] = hostile
        done["versions"] = {hostile: hostile}
        return (
            render_page(told, done), render_index([(told, done)]), draw_gains(done),
        )  # fmt: skip

    hostile = "a | b # c <script>x</script> [e](f) ![g](h) **i** ~~j~~ &lt; \\| ---\t\x1b[31m\u202e"
    calm, found = pages("calm"), pages(hostile)
    for before, after in zip(calm[:2], found[:2], strict=True):
        assert shape(after) == shape(before)
        assert "\u202e" not in after
    kinds = [
        [node.tag for node in ElementTree.fromstring(svg).iter()] for svg in (calm[2], found[2])
    ]
    assert kinds[0] == kinds[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "write_gallery", ROOT / "scripts/write_gallery.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_gallery_is_current(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["write_gallery.py", "--check"])
    assert script.main() == 0, capsys.readouterr().err


def test_every_link_of_the_gallery_leads_somewhere(script: ModuleType) -> None:
    pages = script.render(script.RESULTS)
    for name, page in pages.items():
        for link in re.findall(r"\]\(([^)#]+)\)", page) if name.endswith(".md") else []:
            there = link.startswith("https://arxiv.org/") or link in pages
            assert there or (ROOT / "docs" / "systems" / link).is_file(), (name, link)


@pytest.fixture
def elsewhere(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Runs the script for one system, on an empty folder of results and another gallery."""
    monkeypatch.setattr(script, "entries", lambda: find("2dmse"))
    monkeypatch.setattr(script, "GALLERY", tmp_path / "systems")
    monkeypatch.setattr(script, "RESULTS", tmp_path / "results")

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["write_gallery.py", *arguments])
        return script.main()

    return run


def test_the_script_writes_what_it_checks(
    elsewhere: Callable[..., int], tmp_path: Path, record: dict[str, Any], capsys
) -> None:
    (entry,) = find("2dmse")
    file = tmp_path / "results" / entry.slug / "small.json"
    file.parent.mkdir(parents=True)
    kept = record | {"format": 1, "slug": entry.slug, "identity": {"code": entry.code_hash}}
    file.write_text(json.dumps(kept), encoding="utf-8")
    assert elsewhere("--check") == 1
    assert not (tmp_path / "systems").exists()
    assert elsewhere() == 0
    assert elsewhere("--check") == 0
    names = {path.name for path in (tmp_path / "systems").iterdir()}
    assert names == {"README.md", "2dmse.md", "2dmse.svg"}
    file.write_text(json.dumps(kept | {"trade": ["time", "accuracy"]}), encoding="utf-8")
    assert elsewhere("--check") == 1
    assert elsewhere() == 0
    assert "ours" in (tmp_path / "systems" / "2dmse-front.svg").read_text("utf-8")
    assert "fails: 1 of 2 gates hold" in (tmp_path / "systems" / "2dmse.md").read_text("utf-8")

    page = tmp_path / "systems" / "gone.md"
    page.write_text("# A system that is no more\n", encoding="utf-8")
    file.unlink()
    capsys.readouterr()
    assert elsewhere("--check") == 1
    told = capsys.readouterr().err
    assert "gone.md" in told
    assert "python scripts/write_gallery.py" in told
    assert elsewhere() == 0
    assert {path.name for path in page.parent.iterdir()} == {"README.md", "2dmse.md"}


def test_a_record_that_cannot_be_read_is_named(
    elsewhere: Callable[..., int], tmp_path: Path, capsys
) -> None:
    file = tmp_path / "results" / "2dmse" / "small.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}", encoding="utf-8")
    assert elsewhere() == 2
    told = capsys.readouterr().err
    assert str(file) in told
    assert told.count("\n") == 1
    assert not (tmp_path / "systems").exists()
