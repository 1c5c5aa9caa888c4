"""`fit --nested` in miniature, from real source files to a Space with a smaller size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from tuned_folders import with_dense

import isometry
from isometry import InputError, Space
from isometry.cli.main import main
from isometry.core.workspace import Workspace
from isometry.corpora.readers import open_source
from isometry.encoders.surgery.layers import truncate
from isometry.encoders.text import TextEncoder
from isometry.evaluation.nested import layer_vectors
from isometry.evaluation.retrieval import rank_documents, score_rankings
from isometry.jobs.fit import FitSettings, plan_only
from isometry.jobs.fitting import Fitting, threads_as_before

Reached = dict[tuple[int, int], np.ndarray]


@pytest.fixture(scope="module")
def opened(nested_space: Path) -> Space:
    return Space.open(nested_space)


@pytest.fixture(scope="module")
def job(
    tiny_docs: Path, small_folder: Path, nested_plan: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fitting]:
    """The same fit before anything is trained: its documents and its queries."""
    settings = FitSettings(str(tiny_docs), base=str(small_folder), nested="1x48")
    plan = json.loads(nested_plan.read_text())
    # Its plan sets the number of threads, which is that of the tests to come too.
    with threads_as_before(), Workspace(tmp_path_factory.mktemp("work") / "w", "test") as work:
        yield Fitting(work, open_source(tiny_docs), settings, plan)


def reached(job: Fitting, encoder: TextEncoder, side: str) -> Reached:
    """nDCG@10 of every query, by the vectors of each layer of the whole, cut and normalised."""
    asked = job.asked(side)
    queries, passages = (
        layer_vectors(encoder, texts, role, tokens=encoder.max_tokens)
        for texts, role in ((asked.queries, "query"), (job.ranked.passages, "document"))
    )

    def cut(vectors: np.ndarray, layer: int, dim: int) -> np.ndarray:
        kept = vectors[layer - 1, :, :dim]
        return kept / np.linalg.norm(kept, axis=1, keepdims=True)

    return {
        size: score_rankings(
            rank_documents(cut(queries, *size), cut(passages, *size), job.ranked.owner, 10)[0],
            asked.relevance,
        )["ndcg@10"]
        for size in ((1, 48), (2, 64))
    }


def test_each_size_is_compared_with_the_base_that_is_cut_so(opened: Space, job: Fitting) -> None:
    before = reached(job, job.base_encoder, "test")
    after = reached(job, TextEncoder.load(opened.model), "test")
    rows = opened.manifest["figures"]["sizes"]
    assert [(row["layers"], row["dimensions"]) for row in rows] == [(1, 48), (2, 64)]
    for row, size in zip(rows, before, strict=True):
        assert row["base"] == pytest.approx(before[size].mean(), abs=0.01)
        assert row["tuned"] == pytest.approx(after[size].mean(), abs=0.01)
        assert row["difference"] == pytest.approx(row["tuned"] - row["base"])
        assert row["low"] < row["difference"] < row["high"]
        assert row["bytes"] == 4 * size[1]
    # The smaller size gained as the whole did: it was trained, and not half of the way.
    assert rows[0]["low"] > 0 and rows[0]["tuned"] > 1.3 * rows[0]["base"]
    test = {row["system"]: row for row in opened.manifest["figures"]["test"]["rows"]}
    assert (rows[1]["base"], rows[1]["tuned"]) == (
        test["base"]["ndcg@10"],
        test["tuned"]["ndcg@10"],
    )
    assert [row["speed"] for row in rows] == [1.9, 1.0]
    small = truncate(TextEncoder.load(opened.model), 1, 48)
    assert rows[0]["parameters"] == sum(part.numel() for part in small.parameters())


def test_the_choice_is_made_on_the_average_over_the_sizes(opened: Space, job: Fitting) -> None:
    base, tuned = opened.manifest["figures"]["validation"]["candidates"]
    for row, encoder in ((base, job.base_encoder), (tuned, TextEncoder.load(opened.model))):
        scores = reached(job, encoder, "validation")
        expected = np.mean([own.mean() for own in scores.values()])
        assert row["all_sizes"]["ndcg@10"] == pytest.approx(expected, abs=0.01)
        assert row["ndcg@10"] == pytest.approx(scores[2, 64].mean(), abs=0.01)
    assert tuned["alpha"] == 1 and tuned["chosen"] and not base["chosen"]
    gain = tuned["all_sizes"]["ndcg@10"] - base["all_sizes"]["ndcg@10"]
    assert 0 < tuned["all_sizes"]["low"] < gain < tuned["all_sizes"]["high"]
    assert "scores" not in base and "scores" not in tuned


def test_the_whole_training_went_into_all_layers(opened: Space, job: Fitting) -> None:
    before, after = job.base_encoder.state_dict(), TextEncoder.load(opened.model).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    for layer in (0, 1):
        assert any(f".layer.{layer}.attention" in name for name in changed)


def test_report_card_and_summary_show_the_sizes(
    opened: Space, capsys: pytest.CaptureFixture[str]
) -> None:
    row = opened.manifest["figures"]["sizes"][0]
    gain, low = 100 * row["difference"], 100 * row["low"]
    said = f"Smaller, against the base cut so: 1x48 {gain:+.1f} [{low:+.1f}, "
    assert said in opened.manifest["figures"]["verdict"]["headline"]
    assert f'data-figure="figures.sizes.0.tuned" data-value="{row["tuned"]!r}"' in (
        opened.report.read_text(encoding="utf-8")
    )
    card = (opened.model / "README.md").read_text(encoding="utf-8")
    assert "isometry cut path/to/this/folder --size 1x48" in card
    assert "| 1x48 |" in card
    assert main(["info", str(opened.folder)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "1x48  " in line)
    assert f"{100 * row['base']:.1f}" in line and f"{100 * row['tuned']:.1f}" in line


def test_the_same_sizes_written_otherwise_are_the_same_fit(
    opened: Space, tiny_docs: Path, small_folder: Path, nested_plan: Path
) -> None:
    def again(nested: str | None) -> Space:
        return isometry.fit(
            tiny_docs, base=small_folder, plan=nested_plan, nested=nested, out=opened.folder
        )

    assert again(" 1X48 ").manifest == opened.manifest
    with pytest.raises(InputError, match="other settings"):
        again(None)


def test_a_nested_plan_for_a_narrower_base_is_not_followed(
    small_folder: Path, tiny_docs: Path, nested_plan: Path, tmp_path: Path
) -> None:
    """Its width would be one of the trained sizes, and the whole of this base another."""
    values = json.loads(nested_plan.read_text()) | {"dims": [48], "nested": [[1, 32]]}
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(values))
    with pytest.raises(InputError, match="2 layers and 48 dimensions, which"):
        isometry.fit(tiny_docs, base=small_folder, plan=plan, nested="1x32", out=tmp_path / "out")
    # It is said before documents are read, so that no unfinished work stays.
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_fit_without_sizes_has_none(tiny_space: Path) -> None:
    space = Space.open(tiny_space)
    assert space.manifest["figures"]["sizes"] == []
    candidates = space.manifest["figures"]["validation"]["candidates"]
    assert not any("all_sizes" in row for row in candidates)
    assert "Smaller models" not in space.report.read_text(encoding="utf-8")
    assert "isometry cut" not in (space.model / "README.md").read_text(encoding="utf-8")


def test_too_little_data_says_that_no_size_was_trained(tmp_path: Path, small_folder: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(30):
        (docs / f"{number}.md").write_text("# Pumps\n\nClose the valve first.\n")
    space = isometry.fit(docs, base=small_folder, nested="1x32", out=tmp_path / "out")
    figures = space.manifest["figures"]
    assert figures["verdict"]["kept"] == "base" and figures["sizes"] == []
    said = "so nothing is trained for the smaller sizes (1x32)"
    assert said in figures["verdict"]["headline"] and said in figures["verdict"]["reasons"][0]
    assert said in space.report.read_text(encoding="utf-8")


def test_a_dry_run_measures_the_sizes(tiny_docs: Path, small_folder: Path) -> None:
    settings = FitSettings(str(tiny_docs), base=str(small_folder), minutes=0.2, nested="1x32")
    plan, _ = plan_only(settings)
    assert plan.nested == ((1, 32),)
    assert plan.measured["encode_tokens_per_second_1x32"] > 0
    # There is hardly any time, and yet nothing is frozen.
    assert plan.frozen_layers == 0


def test_sizes_that_cannot_be_trained_cost_nothing(
    tiny_docs: Path,
    small_folder: Path,
    tiny_plan: Path,
    nested_plan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("documents were read")

    monkeypatch.setattr("isometry.jobs.fitting.prepare", read)
    dense = with_dense(Path(shutil.copytree(small_folder, tmp_path / "dense")))
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("--nested: 'big' is no size", {"nested": "big"}),
        ("do not nest", {"nested": "2x32,1x16"}),
        ("is 2x64, so 2x64 cannot", {"nested": "1x32,2x64"}),
        ("is 2x64, so 1x65 cannot", {"nested": "1x65"}),
        ("inner layers have no vectors", {"nested": "1x4", "base": dense}),
        ("--nested says 1x32, but the plan is for 1x48", {"nested": "1x32", "plan": nested_plan}),
        ("but the plan is for no smaller sizes", {"nested": "1x32", "plan": tiny_plan}),
        ("made for --seed 0, not 3", {"seed": 3, "plan": tiny_plan}),
        ("made for --threads 2, not 1", {"threads": 1, "plan": tiny_plan}),
    ]
    for match, options in wrong:
        with pytest.raises(InputError, match=match):
            isometry.fit(tiny_docs, out=tmp_path / "out", **{"base": small_folder, **options})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense"]


def test_a_point_on_the_line_is_as_far_from_the_base_as_it_says(
    tiny: TextEncoder, tiny_folder: Path, tmp_path: Path
) -> None:
    tuned = TextEncoder.load(tiny_folder)
    with torch.no_grad():
        for part in tuned.parameters():
            part += 1
    tuned.save(tmp_path / "tuned")
    job = cast(Any, SimpleNamespace(base_encoder=tiny, work=SimpleNamespace(path=tmp_path)))
    for alpha in (0.0, 0.25, 1.0):
        found = dict(Fitting.merged(job, alpha).named_parameters())
        for name, part in tiny.named_parameters():
            torch.testing.assert_close(found[name], part + alpha)
