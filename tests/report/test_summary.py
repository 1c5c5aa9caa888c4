from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from isometry.report.summary import render_summary


def printed(manifest: dict[str, Any], width: int = 100) -> str:
    console = Console(width=width, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    space = Path("out") / "space"
    console.print(
        render_summary(manifest, space=space, model=space / "model", report=space / "report.html")
    )
    return console.export_text()


def test_it_shows_the_verdict_the_systems_and_the_places(manifest: dict[str, Any]) -> None:
    text = printed(manifest)
    assert text.startswith(manifest["figures"]["verdict"]["headline"])
    metrics = ["ndcg@10", "recall@1", "recall@10", "recall@100", "mrr@10"]
    names = ["Lexical", "Base, dense", "Tuned, dense", "Base, fused", "Tuned, fused"]
    for name, row in zip(names, manifest["figures"]["test"]["rows"], strict=True):
        line = next(line for line in text.splitlines() if line.strip().startswith(name))
        assert re.findall(r"\d+\.\d", line) == [f"{100 * row[metric]:.1f}" for metric in metrics]
    assert "nDCG@10, dense: +12.6 [+9.5, +15.5]" in text
    assert "nDCG@10, fused: +8.1 [+5.7, +10.6]" in text
    assert "Dictionary glosses 61.2 → 60.9" in text
    assert "out/space/report.html" in text
    assert "artificial" in text


def test_the_best_of_each_column_has_a_dot(manifest: dict[str, Any]) -> None:
    lines = printed(manifest).splitlines()
    assert next(line for line in lines if "Tuned, fused" in line).count("•") == 4
    assert next(line for line in lines if "Tuned, dense" in line).count("•") == 1


def test_smaller_sizes_have_a_line_each(manifest: dict[str, Any]) -> None:
    lines = [" ".join(line.split()) for line in printed(manifest).splitlines()]
    assert "2x96 15.7 M 384 2.7 20.2 65.2 +45.0 [+41.0, +48.9]" in lines
    assert "6x384 22.7 M 1,536 1.0 61.7 74.3 +12.6 [+9.5, +15.5]" in lines
    for row in manifest["figures"]["sizes"]:
        for name in ("tuned", "difference", "low", "high"):
            del row[name]
    manifest["figures"]["sizes"][0]["speed"] = None
    lines = [" ".join(line.split()) for line in printed(manifest).splitlines()]
    assert "2x96 15.7 M 384 – 20.2 – –" in lines
    manifest["figures"]["sizes"] = []
    assert "isometry cut" not in printed(manifest)


def test_of_one_page_no_interval_is_shown(manifest: dict[str, Any]) -> None:
    manifest["figures"]["test"]["groups"] = 1
    rows = [*manifest["figures"]["test"]["differences"], *manifest["figures"]["sizes"]]
    for row in rows:
        row["low"] = row["high"] = None
    text = printed(manifest)
    assert "of others nothing can be said" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "nDCG@10, dense: +12.6" in lines and "Tuned minus base in points" in lines
    assert "2x96 15.7 M 384 2.7 20.2 65.2 +45.0" in lines


def test_a_kept_base_says_why(manifest: dict[str, Any]) -> None:
    manifest["figures"]["verdict"] = {
        "kept": "base",
        "headline": "The base model was kept.",
        "reasons": ["No candidate was better."],
    }
    manifest["figures"]["test"]["differences"] = []
    text = printed(manifest)
    assert "No candidate was better." in text
    assert "Tuned minus base" not in text
    # As `fit` says it: once.
    headline = "The base model was kept: No candidate was better."
    manifest["figures"]["verdict"]["headline"] = headline
    assert printed(manifest).count("No candidate was better") == 1


def test_words_of_others_are_neither_markup_nor_commands(manifest: dict[str, Any]) -> None:
    manifest["figures"]["verdict"]["headline"] = "[red]loud[/red] \x1b[2J\x07 \u202egnorw [/]"
    text = printed(manifest)
    assert "[red]loud[/red]" in text
    assert "[/]" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)


def test_a_long_place_is_wrapped_and_not_cut(manifest: dict[str, Any]) -> None:
    text = "".join(printed(manifest, width=20).split())
    assert "out/space/report.html" in text


@pytest.mark.parametrize("part", ["test", "retention", "training", "verdict", "validation"])
def test_missing_parts_are_left_out(manifest: dict[str, Any], part: str) -> None:
    manifest["figures"][part] = None
    assert "None" not in printed(manifest)
    assert "out/space" in printed({})
