from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tuned_folders import WEIGHTS, change_weights, tuned

from isometry.cli import merging
from isometry.cli.main import main
from isometry.evaluation.retrieval import METRICS
from isometry.jobs import merge_evaluation, merge_probe


@pytest.fixture
def parents(tiny_folder: Path, tmp_path: Path) -> list[str]:
    return [str(tuned(tiny_folder, tmp_path / name, seed)) for seed, name in enumerate("ab")]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["merge", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_merge_and_merge_again_by_its_recipe(
    capsys: pytest.CaptureFixture[str], parents: list[str], tiny_folder: Path, tmp_path: Path
) -> None:
    options = ("--base", tiny_folder, "--method", "ties", "--keep", "0.4", "--weights", "0.7,0.3")
    code, out, err = run(capsys, *parents, "--out", tmp_path / "one", *options, "-q", "--json")
    assert code == 0 and err == ""
    figures = json.loads(out)
    assert figures["recipe"]["keep"] == 0.4 and figures["recipe"]["weights"] == [0.7, 0.3]
    recipe = tmp_path / "one" / "recipe.json"
    assert json.loads(recipe.read_text(encoding="utf-8")) == figures["recipe"]
    code, out, err = run(capsys, "--recipe", recipe, "--out", tmp_path / "two", "-q")
    assert code == 0 and err == "" and "two" in out.replace("\n", "")
    files = [(tmp_path / name / WEIGHTS).read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_weights_are_learned_on_a_probe(
    capsys: pytest.CaptureFixture[str], parents: list[str], tiny_folder: Path, tiny_docs: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(merge_probe, "_STEPS", 2)
    options = ("--base", tiny_folder, "--method", "self-positioning", "--probe", tiny_docs)
    code, out, err = run(capsys, *parents, "--out", tmp_path / "one", *options, "-q")
    assert code == 0 and err == ""
    recipe = json.loads((tmp_path / "one" / "recipe.json").read_text(encoding="utf-8"))
    said = " ".join(out.split())
    first, second = recipe["weights"]
    whose = f"Learned weights of each tensor, on average {first:.2f}, {second:.2f}"
    assert f"{whose} at a scale of {recipe['scale']:.2f}." in said
    code, out, _ = run(capsys, "--recipe", tmp_path / "one", "--out", tmp_path / "two", "-q")
    assert code == 0 and "Learned" not in out
    files = [(tmp_path / name / WEIGHTS).read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_what_was_learned_is_told_by_what_it_keeps() -> None:
    recipe = {"weights": [0.25, 0.75], "scale": 1.5}
    learned = {"loss": 0.125, "start_loss": 0.25, "start_scale": 0.6, "without_gain": []}
    assert merging._found(recipe, learned) == (
        "Learned weights 0.25, 0.75 at a scale of 1.50: on the probe they keep 88% of what the"
        " best model of each task gains; equal weights at the best fixed scale, 0.60, keep 75%."
    )


def test_what_the_user_should_know_is_said_without_progress_too(
    capsys: pytest.CaptureFixture[str], parents: list[str], tmp_path: Path
) -> None:
    # Not to be read as markup.
    out = tmp_path / "[bold]out"
    code, said, _ = run(capsys, *parents, "--out", out, "--weights", "0.5,0.6", "-q")
    assert code == 0
    assert "sum to 1.1" in said and "[bold]out" in said.replace("\n", "")
    one, other, ours = (load_file(Path(path) / WEIGHTS) for path in (*parents, out))
    name = "pooler.dense.bias"
    torch.testing.assert_close(ours[name], 0.5 * one[name] + 0.6 * other[name])


def test_bad_input_is_one_line_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], parents: list[str], tmp_path: Path
) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"models": parents}), encoding="utf-8")
    recipe = ("--recipe", tmp_path / "r.json")
    before = sorted(tmp_path.iterdir())
    for arguments, said in (
        ((*parents, "--weights", "a,b"), "--weights"),
        ((*parents, "--weights", "1"), "1 weights"),
        ((*parents, "--method", "dare"), "--base"),
        ((*recipe, "--method", "slerp"), "--recipe"),
        ((*recipe, "--seed", "0"), "--recipe"),
        ((*recipe, "--elect-signs"), "--recipe"),
        ((*recipe, "--probe", "docs"), "--recipe"),
        ((*parents, "--method", "self-positioning", "--base", parents[0]), "--probe"),
        ((parents[0], tmp_path / "r.json"), "is a file"),
    ):
        code, out, err = run(capsys, *arguments, "--out", tmp_path / "out", "-q")
        assert code == 2 and out == "", arguments
        assert err.startswith("isometry: ") and err.count("\n") == 1 and said in err
    assert sorted(tmp_path.iterdir()) == before
    lost = "encoder.layer.0.output.dense.bias"
    change_weights(Path(parents[1]), lambda state: state.pop(lost))
    code, _, err = run(capsys, *parents, "--out", tmp_path / "out", "-q")
    assert code == 2 and "lacks 1 of the tensors" in err and err.count("\n") == 1


def test_the_evaluation_is_a_table_of_the_merge_and_each_parent(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    parents: list[str],
    tiny_docs: Path,
    tmp_path: Path,
) -> None:
    def compare(scores: dict[str, object], _: object) -> list[dict[str, object]]:
        figures = dict.fromkeys(METRICS, 0.5)
        change = {"difference": -0.031, "low": -0.052, "high": 0.013}
        size = {"queries": 40, "groups": 1}
        return [{"model": Path(model).name, "mode": "dense", **figures, **change, **size}
                for model in scores]  # fmt: skip

    # tests/jobs/test_merge.py has the figures.
    data = SimpleNamespace(documents=[1] * 1200, facts={"skipped_count": 2}, given=False)
    monkeypatch.setattr(merge_evaluation, "held_out", lambda *_: data)
    monkeypatch.setattr(merge_evaluation, "scores_of", lambda *_: {})
    monkeypatch.setattr(merge_evaluation, "compare", compare)
    arguments = (*parents, "--out", tmp_path / "out", "--evaluate", tiny_docs, "-q")
    code, said, err = run(capsys, *arguments)
    assert code == 0 and err == ""
    lines = [line.split() for line in said.splitlines()]
    rows = [line[0] for line in lines if "dense" in line]
    assert rows == ["out", "a", "b"]
    assert said.count("\u22123.1") == said.count("[\u22125.2") == said.count("+1.3]") == 3
    assert (
        "40 queries made from held-out documents, 1,200 documents, all of pages that belong"
        " together, which says nothing of others." in " ".join(said.split())
    )
    assert "Left out: 2 files or rows" in said
    assert str(tiny_docs) in said.replace("\n", "") and "Differences are to the merge" in said
