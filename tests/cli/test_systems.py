from __future__ import annotations

import json
from pathlib import Path

import pytest

from isometry.cli.main import main
from isometry.core.writing import write_json
from isometry.systems.catalogue import find


def record(path: Path, slug: str, *, passed: bool, code: str | None = None) -> None:
    """A record as a run leaves it, of the code that is there unless another is given."""
    gate = {
        "metric": "mrr@10, shallow", "arm": "2dmse", "versus": "matryoshka", "at_least": 0.05,
        "lower_is_better": False, "report_only": False, "reported": "", "figure": 0.4,
        "other": 0.3, "gain": 0.1, "low": 0.08, "high": 0.12, "passed": passed,
    }  # fmt: skip
    (entry,) = find(slug)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "format": 1, "slug": slug, "scale": "small", "created": "2026-11-25T10:00:00Z",
            "identity": {"code": code or entry.code_hash}, "gates": [gate], "passed": passed,
            "title": "2DMSE", "baseline": "matryoshka", "method": "2dmse",
            "arms": {arm: {"runs": [{"figures": {}}]} for arm in ("matryoshka", "2dmse")},
        },
    )  # fmt: skip


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, object]]:
    assert main(["systems", "--json", *arguments]) == 0
    rows = json.loads(capsys.readouterr().out)["systems"]
    return {row["slug"]: row for row in rows}


def test_the_list_has_what_scripts_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "2dmse" / "small.json"
    options = ("--results", str(tmp_path))
    row = listed(capsys, *options)["2dmse"]
    assert {"slug", "family", "title", "claim", "passed", "headline"} <= set(row)
    assert (row["state"], row["passed"], row["headline"]) == ("not run", None, None)
    for passed in (True, False):
        record(path, "2dmse", passed=passed)
        row = listed(capsys, *options)["2dmse"]
        assert row["passed"] is passed and "+0.100 [+0.080, +0.120]" in str(row["headline"])
    record(path, "2dmse", passed=True, code="other")
    row = listed(capsys, *options)["2dmse"]
    assert (row["state"], row["passed"], row["headline"]) == ("stale", None, None)
    families = {row["family"] for row in listed(capsys, "--family", "sentence").values()}
    assert families == {"sentence"}
    assert main(["systems", *options]) == 0
    assert "stale" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["systems", "--family", "sentenc"], "Did you mean sentence?"),
        (["reproduce", "2dmsee"], "Did you mean 2dmse"),
        (["reproduce", "2dmse", "--arm", "none"], "There are: untrained"),
        (["reproduce", "2dmse", "--seeds", "0"], "--seeds must be at least 1"),
        (["reproduce", "2dmse", "--scale", "huge"], "huge"),
        (["reproduce", "all", "--arm", "zero-shot"], "There are: "),
        (["systems", "--results", "nowhere"], "no folder of records"),
        (["checklist", "dense-retrieval", "--results", "nowhere"], "no folder of records"),
    ],
)
def test_bad_input_is_said_and_costs_nothing(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
