from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from isometry.report.model_card import render_model_card


def front_matter(card: str) -> dict[str, Any]:
    start, matter, _ = card.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(matter)


def table_rows(card: str) -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in card.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows]


def test_the_hub_understands_the_front_matter(manifest: dict[str, Any]) -> None:
    matter = front_matter(render_model_card(manifest))
    assert matter["library_name"] == "sentence-transformers"
    assert matter["pipeline_tag"] == "sentence-similarity"
    assert matter["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert matter["license"] == "apache-2.0"
    assert "isometry" in matter["tags"]
    assert ModelCard(render_model_card(manifest)).data.to_dict() == matter


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("intfloat/e5-small-v2", "intfloat/e5-small-v2"),
        ("/home/someone/private/model", None),
        ("../model", None),
        ("C:\\models\\mine", None),
        ("owner/name\nlicense: mit", None),
    ],
)
def test_only_a_hub_id_is_named_and_no_licence_is_guessed(
    manifest: dict[str, Any], base: str, expected: str | None
) -> None:
    manifest["encoder"]["base"] = base
    card = render_model_card(manifest)
    matter = front_matter(card)
    assert matter.get("base_model") == expected
    assert "license" not in matter
    if expected is None:
        assert "someone" not in card


def test_a_relative_folder_is_no_hub_id(
    manifest: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    manifest["encoder"]["base"] = "models/mine"
    assert "base_model" not in front_matter(render_model_card(manifest))


def test_the_tables_hold_the_figures_of_the_test(manifest: dict[str, Any]) -> None:
    rows = table_rows(render_model_card(manifest))
    metrics = ["ndcg@10", "recall@1", "recall@10", "recall@100", "mrr@10"]
    systems = [row for row in rows if len(row) == 6 and row[0] not in ("System", "---")]
    for row, truth in zip(systems, manifest["figures"]["test"]["rows"], strict=True):
        assert row[1:] == [f"{100 * truth[metric]:.1f}" for metric in metrics]
    differences = [row for row in rows if re.match(r"\w+@\d+, (dense|fused)", row[0])]
    for row, truth in zip(differences, manifest["figures"]["test"]["differences"], strict=True):
        assert row[1] == f"{100 * truth['difference']:+.1f}"
        assert row[2] == f"{100 * truth['low']:+.1f} to {100 * truth['high']:+.1f}"
        assert row[0].endswith("dense" if truth["mode"] == "dense" else "fused")
    assert ["Dictionary glosses", "61.2", "60.9", "chose the model"] in rows
    assert ["Word relations", "55.1", "54.8", "final figure"] in rows


def test_training_and_limits_are_told(manifest: dict[str, Any]) -> None:
    card = render_model_card(manifest)
    assert "InfoNCE" in card
    assert "nested over the sizes 2x96, 4x192 and the whole" in card
    assert "120 of 120" in card
    assert "3,840 seen" in card
    assert "beyond 256 tokens" in card
    assert "artificial" in card.split("## Limitations")[1]


def test_sizes_are_shown_with_the_command_that_makes_them(manifest: dict[str, Any]) -> None:
    card = render_model_card(manifest)
    assert "isometry cut path/to/this/folder --size 2x96 --out smaller" in card
    rows = [row for row in table_rows(card) if len(row) == 7 and row[0] not in ("Size", "---")]
    assert rows == [
        ["2x96", "15.7 M", "384", "2.7", "20.2", "65.2", "+45.0 [+41.0, +48.9]"],
        ["4x192", "19.2 M", "768", "1.4", "47.4", "72.1", "+24.6 [+21.1, +28.3]"],
        ["6x384", "22.7 M", "1,536", "1.0", "61.7", "74.3", "+12.6 [+9.5, +15.5]"],
    ]
    # Prefixes of the last layer were not trained.
    assert "truncate_dim" not in card


def test_without_sizes_the_nested_dimensions_are_told(manifest: dict[str, Any]) -> None:
    manifest["plan"] |= {"nested": [], "dims": [384, 192, 96, 48]}
    manifest["figures"]["sizes"] = []
    card = render_model_card(manifest)
    assert "nested over the first 384, 192, 96, 48 dimensions" in card
    assert "truncate_dim=48" in card
    assert "isometry cut" not in card


def test_prompts_are_named_when_there_are_some(manifest: dict[str, Any]) -> None:
    assert "prompts" not in render_model_card(manifest)
    manifest["encoder"] |= {"query_prompt": "Find:\nquery: ", "document_prompt": "passage: "}
    card = render_model_card(manifest)
    assert '- query: `"Find:\\nquery: "`' in card
    assert '- document: `"passage: "`' in card


def test_a_kept_base_claims_no_training(manifest: dict[str, Any]) -> None:
    manifest["figures"]["verdict"] |= {"kept": "base", "alpha": 0.0, "headline": "Base kept."}
    card = render_model_card(manifest)
    assert "unchanged" in card
    assert "## Training" not in card
    assert "Tuned" not in card
    assert "truncate_dim" not in card
    assert "isometry cut" not in card


def test_words_of_others_add_no_structure(manifest: dict[str, Any]) -> None:
    def shape(card: str) -> list[str]:
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(card.split("---\n", 2)[2])
        return [t.type for token in tokens for t in [token, *(token.children or [])]]

    def fill(words: str) -> str:
        manifest["source"]["name"] = words
        manifest["figures"]["verdict"]["headline"] = words
        manifest["figures"]["data"]["pairs"]["task"] = words
        for row in manifest["figures"]["retention"].values():
            row["use"] = words
        return render_model_card(manifest)

    hostile = (
        "a | b\n\n# c `d` <script>x</script> [e](f) ![g](h) **i** ~~j~~ ---\n---\n\x1b[31m\u202e"
    )
    assert shape(fill(hostile)) == shape(fill("calm"))
    assert "\u202e" not in fill(hostile)
    assert front_matter(fill(hostile)) == front_matter(fill("calm"))


@pytest.mark.parametrize("part", ["test", "retention", "training", "batches", "data", "verdict"])
def test_missing_parts_are_left_out(manifest: dict[str, Any], part: str) -> None:
    manifest["figures"][part] = None
    card = render_model_card(manifest)
    assert "None" not in card
    front_matter(card)


def test_an_empty_manifest_still_makes_a_card() -> None:
    assert front_matter(render_model_card({}))["library_name"] == "sentence-transformers"
