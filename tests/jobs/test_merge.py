from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from beir_folders import write_beir
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from tuned_folders import WEIGHTS, change_json, change_weights, in_shards, tuned, with_dense

from isometry import TensorWeights
from isometry.core.errors import InputError
from isometry.core.files import hash_folder
from isometry.encoders.text import TextEncoder
from isometry.jobs import merge as job
from isometry.jobs import merge_evaluation
from isometry.merging.average import average
from isometry.merging.dare import dare
from isometry.merging.slerp import slerp
from isometry.merging.task_arithmetic import task_arithmetic
from isometry.merging.ties import ties

PROMPTS = "config_sentence_transformers.json"
WORDS = "embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def parents(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("parents")
    return [tuned(tiny_folder, folder / f"tuned-{seed}", seed) for seed in (1, 2, 3)]


@pytest.fixture
def copies(parents: list[Path], tmp_path: Path) -> list[Path]:
    """Two parents that a test may change."""
    return [Path(shutil.copytree(parent, tmp_path / parent.name)) for parent in parents[:2]]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


def merged(models: list[Path], out: Path, **options: Any) -> dict[str, torch.Tensor]:
    job.merge(models, out, **options)
    return weights_of(out)


def assert_same(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(ours) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(ours[name], tensor), name


def test_each_method_writes_what_its_part_makes(
    parents: list[Path], tiny_folder: Path, tmp_path: Path
) -> None:
    base, states = weights_of(tiny_folder), [weights_of(parent) for parent in parents]
    on = {"base": tiny_folder}
    shares = [0.2, 0.5, 0.3]
    cases: list[tuple[list[Path], dict[str, Any], Any]] = [
        (parents, {}, average(states)),
        (parents, {"weights": shares}, average(states, shares)),
        (parents[:2], {"method": "slerp"}, slerp(*states[:2], 0.5)),
        (parents[:2], {"method": "slerp", "weights": [0.75, 0.25]}, slerp(*states[:2], 0.25)),
        (parents, {"method": "task-arithmetic", **on}, task_arithmetic(base, states, scale=0.3)),
        (parents, {"method": "task-arithmetic", "scale": 0.7, "weights": shares, **on},
         task_arithmetic(base, states, shares, scale=0.7)),
        (parents, {"method": "ties", **on}, ties(base, states, keep=0.2, scale=1.0)),
        (parents, {"method": "ties", "keep": 0.5, "scale": 0.4, **on},
         ties(base, states, keep=0.5, scale=0.4)),
        (parents, {"method": "dare", **on}, dare(base, states, drop=0.9, scale=1.0)),
        (parents, {"method": "dare", "drop": 0.5, "seed": 3, "elect_signs": True, **on},
         dare(base, states, drop=0.5, seed=3, elect_signs=True)),
    ]  # fmt: skip
    for number, (models, options, expected) in enumerate(cases):
        assert_same(merged(models, tmp_path / str(number), **options), dict(expected))


def test_plain_sentence_transformers_loads_the_merge(
    parents: list[Path], tmp_path: Path, texts: list[str]
) -> None:
    twice = [parents[0], parents[0]]
    figures = job.merge(twice, tmp_path / "out", weights=[0.5, 0.5])
    assert figures["warnings"] == [f"'{parents[0]}' is merged with itself."]
    assert figures["evaluation"] == []
    assert figures["tensors"] == len(weights_of(parents[0]))
    vectors = [
        SentenceTransformer(str(folder), device="cpu").encode(texts[:5])
        for folder in (parents[0], tmp_path / "out")
    ]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    there, here = TextEncoder.load(parents[0]), TextEncoder.load(tmp_path / "out")
    assert there.fingerprint() == here.fingerprint()


def test_heads_are_merged_with_the_transformer_and_shards_with_files(
    copies: list[Path], tmp_path: Path
) -> None:
    for seed, folder in enumerate(copies):
        with_dense(folder, seed)
    in_shards(copies[1])
    job.merge(copies, tmp_path / "out")
    heads = [load_file(folder / "2_Dense" / WEIGHTS) for folder in (*copies, tmp_path / "out")]
    middle = (heads[0]["linear.weight"] + heads[1]["linear.weight"]) / 2
    torch.testing.assert_close(heads[2]["linear.weight"], middle)
    assert SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(["a"]).shape == (1, 8)
    job.merge(copies[::-1], tmp_path / "back")
    assert (tmp_path / "back" / f"{WEIGHTS}.index.json").is_file()
    back = SentenceTransformer(str(tmp_path / "back"), device="cpu").encode(["a"])
    np.testing.assert_allclose(
        back, SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(["a"]), atol=1e-6
    )


def test_plain_transformers_checkpoints_are_merged(copies: list[Path], tmp_path: Path) -> None:
    for folder in copies:
        for name in ("modules.json", PROMPTS, "sentence_bert_config.json"):
            (folder / name).unlink()
        shutil.rmtree(folder / "1_Pooling")
    expected = dict(average([weights_of(folder) for folder in copies]))
    assert_same(merged(copies, tmp_path / "out"), expected)
    assert not (tmp_path / "out" / "modules.json").exists()
    from transformers import AutoModel

    loaded = AutoModel.from_pretrained(tmp_path / "out").state_dict()
    assert torch.equal(loaded[WORDS], expected[WORDS])


def test_the_first_pattern_that_fits_gives_a_tensors_weights(
    parents: list[Path], tmp_path: Path
) -> None:
    tensors = [
        job.TensorWeights("encoder.layer.0.*", (1.0, 0.0)),
        job.TensorWeights("encoder.*", (0.0, 1.0)),
    ]
    ours = merged(parents[:2], tmp_path / "out", weights=[0.5, 0.5], tensors=tensors)
    one, other = (weights_of(parent) for parent in parents[:2])
    for name, tensor in ours.items():
        if name.startswith("encoder.layer.0."):
            assert torch.equal(tensor, one[name])
        elif name.startswith("encoder."):
            assert torch.equal(tensor, other[name])
        else:
            torch.testing.assert_close(tensor, (one[name] + other[name]) / 2)
    with pytest.raises(InputError, match="decoder"):
        job.merge(parents, tmp_path / "b", tensors=[job.TensorWeights("decoder.*", (1, 0, 0))])


@pytest.mark.parametrize(
    "options",
    [
        {"weights": [0.2, 0.5, 0.3], "tensors": [job.TensorWeights("*bias", (1.0, 0.0, 0.0))]},
        {"method": "dare", "drop": 0.7, "seed": 5, "scale": 0.8},
        {"method": "ties", "keep": 0.3},
    ],
)
def test_a_recipe_makes_the_same_bytes_again(
    parents: list[Path], tiny_folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    base = tiny_folder if "method" in options else None
    first = job.merge(parents, tmp_path / "first", base=base, **options)
    second = job.merge_by_recipe(tmp_path / "first" / "recipe.json", tmp_path / "second")
    third = job.merge_by_recipe(tmp_path / "second", tmp_path / "third")
    assert first["recipe"] == second["recipe"] == third["recipe"]
    files = [hash_folder(tmp_path / name) for name in ("first", "second", "third")]
    assert files[0] == files[1] == files[2]


def test_a_changed_parent_is_noticed_and_a_moved_one_is_not(
    copies: list[Path], tmp_path: Path
) -> None:
    before = merged(copies, tmp_path / "out", prompts_from=copies[1])
    moved = [copies[0].rename(tmp_path / "elsewhere"), copies[1]]
    recipe = tmp_path / "out" / "recipe.json"
    with pytest.raises(InputError, match="There is no model"):
        job.merge_by_recipe(recipe, tmp_path / "again")
    job.merge_by_recipe(recipe, tmp_path / "again", models=moved)
    assert_same(weights_of(tmp_path / "again"), before)
    change_weights(moved[1], lambda state: state[WORDS].view(-1)[:1].add_(1))
    with pytest.raises(InputError, match="tuned-2' is not the model"):
        job.merge_by_recipe(recipe, tmp_path / "third", models=moved)
    assert not (tmp_path / "third").exists()
    with pytest.raises(InputError, match="2 models, not 1"):
        job.merge_by_recipe(recipe, tmp_path / "third", models=moved[:1])


def test_a_recipe_by_hand_needs_sources_only(parents: list[Path], tmp_path: Path) -> None:
    recipe = tmp_path / "mine.json"
    change_json(recipe, models=[str(parent) for parent in parents], weights=[0.2, 0.5, 0.3])
    job.merge_by_recipe(recipe, tmp_path / "out")
    states = [weights_of(parent) for parent in parents]
    assert_same(weights_of(tmp_path / "out"), dict(average(states, [0.2, 0.5, 0.3])))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "no list of models"),
        ({"models": [1]}, "no recipe"),
        ({"models": ["a", "b"], "wheights": [1, 2]}, "wheights"),
        ({"models": ["a", "b"], "weights": "ab"}, "no recipe"),
        ({"models": ["a", "b"], "method": "stirring"}, "stirring"),
        ({"models": ["a", "b"], "format": 9}, "format 9"),
        ({"models": ["a", "b"], "tensors": [{"weights": [1, 2]}]}, "'pattern' is missing"),
        ({"models": ["a", "b"], "scale": [1]}, "no recipe: a value has the wrong type"),
        ({"models": ["a", "b"], "seed": float("inf")}, "no recipe: a value has the wrong type"),
        ({"models": ["a", "b"], "weights": "10"}, "no list: '10'"),
        (
            {"models": ["a", "b"], "method": "dare", "elect_signs": "false"},
            "neither true nor false",
        ),
        ({"models": ["a", "b"], "prompts_from": "c"}, "--prompts-from must be one of the models"),
        (
            {"models": ["a", "b"], "method": "self-positioning", "base": "c", "weights": [1, 0.1]},
            "which sum to 1, not to 1.1",
        ),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    change_json(tmp_path / "r.json", **values)
    with pytest.raises(InputError, match=said):
        job.merge_by_recipe(tmp_path / "r.json", tmp_path / "out")


BASED = {"base": "b"}


@pytest.mark.parametrize(
    ("models", "options", "said"),
    [
        ([], {}, "at least two"),
        (["a"], {}, "at least two"),
        (["a", "b"], {"method": "ties"}, "--base"),
        (["a", "b"], {"base": "c"}, "takes no --base"),
        (["a", "b", "c"], {"method": "slerp"}, "two models, not 3"),
        (["a", "b"], {"weights": [1.0]}, "2 models and 1 weights"),
        (["a", "b"], {"weights": [1.0]}, "--weights 0.7,0.3"),
        (["a", "b"], {"weights": [float("nan"), 1.0]}, "finite, not nan"),
        (["a", "b"], {"seed": -1}, "--seed must be at least 0, not -1"),
        (["a", "b"], {"keep": 0.2}, "average takes no --keep"),
        (["a", "b"], {"elect_signs": True}, "--elect-signs"),
        (["a", "b"], {"method": "ties", "keep": 0.0, **BASED}, "--keep"),
        (["a", "b"], {"method": "ties", "keep": 1.5, **BASED}, "--keep"),
        (["a", "b"], {"method": "ties", "weights": [1.0, -1.0], **BASED}, "0 and more"),
        (["a", "b"], {"method": "slerp", "weights": [0.0, 0.0]}, "0 and more"),
        (["a", "b"], {"method": "dare", "drop": 1.0, **BASED}, "--drop"),
        (["a", "b"], {"method": "dare", "drop": -0.1, **BASED}, "--drop"),
        (["a", "b"], {"weights": [1.0, -1.0]}, "sum to 0"),
        (["a", "b"], {"prompts_from": "c"}, "--prompts-from"),
        (["a", "b"], {}, "There is no model 'a'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(
    tmp_path: Path, models: list[str], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        job.merge(models, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_parent_leaves_nothing_behind(copies: list[Path], tmp_path: Path) -> None:
    name = "encoder.layer.1.output.dense.bias"
    change_weights(copies[1], lambda state: state[name][:1].fill_(float("nan")))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=f"tuned-2' has NaN or infinity in {name}"):
        job.merge(copies, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_an_existing_folder_is_replaced_only_on_demand(copies: list[Path], tmp_path: Path) -> None:
    job.merge(copies, tmp_path / "out")
    before = hash_folder(tmp_path / "out")
    with pytest.raises(InputError, match="exists"):
        job.merge(copies, tmp_path / "out", weights=[1.0, 0.0])
    assert hash_folder(tmp_path / "out") == before
    # A parent may be replaced by the merge, which nobody can make again then.
    expected = dict(average([weights_of(folder) for folder in copies]))
    result = job.merge(copies, copies[0], force=True)
    assert_same(weights_of(copies[0]), expected)
    assert not result["repeatable"]
    assert any("its recipe cannot be repeated" in note for note in result["warnings"])
    assert "it cannot be made again" in (copies[0] / "README.md").read_text()


def test_a_place_that_cannot_be_written_is_told_before_anything_is_evaluated(
    parents: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        merge_evaluation, "scores_of", lambda *_, **__: pytest.fail("it was evaluated")
    )
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("One short text.", encoding="utf-8")
    with pytest.raises(InputError, match="Cannot write to /proc/nowhere"):
        job.merge(parents, "/proc/nowhere", evaluate=[docs])


def test_models_that_keep_other_dimensions_are_noted(copies: list[Path], tmp_path: Path) -> None:
    change_json(copies[1] / PROMPTS, truncate_dim=16)
    notes = job.merge(copies, tmp_path / "out")["warnings"]
    first, second = (f"'{folder}'" for folder in copies)
    assert notes == [
        f"The merge gives all dimensions, as {first}; {second} gives the first 16 dimensions."
    ]
    notes = job.merge(copies[::-1], tmp_path / "turned")["warnings"]
    assert notes[0].startswith(f"The merge gives the first 16 dimensions, as {second}")
    assert TextEncoder.load(tmp_path / "turned").dim == 16


def test_a_folder_that_is_no_model_is_not_replaced(parents: list[Path], tmp_path: Path) -> None:
    for name, write in (("precious", "thesis.txt"), ("space", "space.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / write).write_text("years of work", encoding="utf-8")
    (tmp_path / "file").write_text("years of work", encoding="utf-8")
    before = hash_folder(tmp_path)
    for name in ("precious", "space", "file"):
        for force in (False, True):
            with pytest.raises(InputError, match="no model; it is left alone"):
                job.merge(parents, tmp_path / name, force=force)
    assert hash_folder(tmp_path) == before


def test_a_parent_that_is_to_be_evaluated_is_not_replaced(
    copies: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("One short text.", encoding="utf-8")
    before = hash_folder(copies[0])
    monkeypatch.chdir(tmp_path)
    for out in (copies[0], Path(copies[0].name)):
        with pytest.raises(InputError, match="one of the models, and --evaluate"):
            job.merge(copies, out, evaluate=[docs], force=True)
    assert hash_folder(copies[0]) == before


def test_what_holds_more_than_a_model_is_not_replaced(parents: list[Path], tmp_path: Path) -> None:
    run, project, space = (tmp_path / name for name in ("run", "project", "space"))
    # A folder of checkpoints, a program's own settings, and a Space.
    shutil.copytree(parents[0], run)
    shutil.copytree(parents[1], run / "checkpoint-500")
    whole = Path(shutil.copytree(parents[0], tmp_path / "whole"))
    shutil.copytree(parents[1], whole / "inner")
    for folder, name in ((project, "config.json"), (space, "space.json")):
        folder.mkdir()
        (folder / name).write_text("{}", encoding="utf-8")
    shutil.copytree(parents[0], space / "model")
    (project / "recipe.json").write_text("{}", encoding="utf-8")
    shutil.copytree(parents[0], project / "models" / "small")
    before = hash_folder(tmp_path)
    for models, out, said in (
        ([parents[0], run / "checkpoint-500"], run, "no model; it is left alone"),
        (parents, run, "no model; it is left alone"),
        ([parents[0], whole / "inner"], whole, "inner', which lies in it"),
        (parents, project, "no model; it is left alone"),
        (parents, space / "model", "lies in the Space"),
        (parents, space / "other", "lies in the Space"),
        (parents, space / "index" / "deep" / "er", "lies in the Space"),
        (parents, parents[0] / "1_Pooling" / "out", "lies in the model"),
    ):
        with pytest.raises(InputError, match=said):
            job.merge(models, out, force=True)
    assert hash_folder(tmp_path) == before


@pytest.mark.parametrize(
    "name",
    [".git/HEAD", "data/labels.json", "NOTES.md", "notes.txt", "my_config.json", "label_map.json"],
)
def test_what_is_no_part_of_a_model_is_not_replaced_with_it(
    copies: list[Path], tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    # Its parents have more than most.
    (copies[0] / "bpe_ranks.json").write_text("{}")
    job.merge(copies, out)
    # What a model has, and no more.
    job.merge(copies, out, force=True)
    assert (out / "bpe_ranks.json").is_file()
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("years of work", encoding="utf-8")
    before = hash_folder(out)
    with pytest.raises(InputError, match=f"holds {re.escape(name)}, which is no part of a model"):
        job.merge(copies, out, force=True)
    assert hash_folder(out) == before


def test_what_comes_to_the_place_meanwhile_is_not_replaced(
    copies: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, card = tmp_path / "out", job._card

    def meanwhile(*arguments: Any) -> str:
        out.mkdir()
        (out / "thesis.txt").write_text("years of work", encoding="utf-8")
        return card(*arguments)

    monkeypatch.setattr(job, "_card", meanwhile)
    with pytest.raises(InputError, match="no model; it is left alone"):
        job.merge(copies, out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", *(each.name for each in copies)}


def test_a_parent_that_cannot_be_compared_is_found_before_the_merge(
    copies: list[Path], tiny_docs: Path, tmp_path: Path
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        for folder in copies:
            (folder / name).unlink(missing_ok=True)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(InputError, match="tokenizer"):
        job.merge(copies, tmp_path / "out", evaluate=[tiny_docs])
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    # Nothing else needs one.
    job.merge(copies, tmp_path / "out")


def test_several_sources_are_compared_on_and_columns_are_those_of_tables(
    small_folder: Path, few_docs: Path, tmp_path: Path, pairs: list[tuple[str, str]]
) -> None:
    asked = write_beir(tmp_path / "asked", pairs)
    table = tmp_path / "rows.csv"
    lines = ["title,words"]
    lines += [",".join(f'"{part.replace(chr(34), chr(39))}"' for part in pair) for pair in pairs]
    table.write_text("\n".join(lines), encoding="utf-8")
    figures = job.merge(
        [small_folder] * 2, tmp_path / "out", evaluate=[few_docs, table, asked], text="words"
    )
    assert [one["source"] for one in figures["evaluation"]] == [
        str(source) for source in (few_docs, table, asked)
    ]
    # One model twice, and their mean.
    for one in figures["evaluation"]:
        merge, parent = one["rows"]
        assert merge["ndcg@10"] == pytest.approx(parent["ndcg@10"]) and merge["ndcg@10"] > 0
    assert figures["evaluation"][2]["rows"][0]["queries"] >= 20
    for sources, said in (
        ([few_docs], "holds no table"),
        ([few_docs, few_docs], "twice"),
    ):
        with pytest.raises(InputError, match=said):
            job.merge([small_folder] * 2, tmp_path / "no", evaluate=sources, text="words")


def test_a_recipe_may_be_yaml_with_weights_by_name(parents: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"""
        # The lowest layer of the first, of all else the mean.
        models: [{parents[0]}, {parents[1]}]
        tensors:
          - pattern: encoder.layer.0.*
            weights: [1, 0]
        """,
        encoding="utf-8",
    )
    job.merge_by_recipe(path, tmp_path / "out")
    expected = dict(average(
        [weights_of(parent) for parent in parents[:2]],
        lambda name: (1.0, 0.0) if name.startswith("encoder.layer.0.") else (0.5, 0.5),
    ))  # fmt: skip
    assert_same(weights_of(tmp_path / "out"), expected)
    for text in ("models: [a, b", "models: [a, b]\nseed: 2024-13-45"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"recipe.yaml as YAML") as caught:
            job.merge_by_recipe(path, tmp_path / "none")
        assert "\n" not in str(caught.value)


def test_a_recipe_by_hand_may_leave_the_base_to_the_command(
    parents: list[Path], tiny_folder: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "r.json"
    change_json(recipe, models=[str(parent) for parent in parents], method="ties")
    with pytest.raises(InputError, match="ties needs --base"):
        job.merge_by_recipe(recipe, tmp_path / "out")
    job.merge_by_recipe(recipe, tmp_path / "out", base=tiny_folder)
    job.merge(parents, tmp_path / "same", method="ties", base=tiny_folder)
    assert_same(weights_of(tmp_path / "out"), weights_of(tmp_path / "same"))
    change_json(recipe, method="average")
    with pytest.raises(InputError, match="has no base, and average takes none"):
        job.merge_by_recipe(recipe, tmp_path / "no", base=tiny_folder)


def test_figures_of_one_parent_are_not_the_merges(copies: list[Path], tmp_path: Path) -> None:
    names = {"cut.json", "distillation.json", "trainer_state.json", "train_results.json",
             "eval_results.json", "all_results.json"}  # fmt: skip
    for name in names:
        (copies[0] / name).write_text("{}", encoding="utf-8")
    job.merge(copies, tmp_path / "out")
    assert not names & {path.name for path in (tmp_path / "out").iterdir()}
    assert (tmp_path / "out" / "modules.json").is_file()


def test_a_recipe_asks_what_its_merge_was_asked(
    parents: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another seed the queries could be made from what its parents were trained on."""
    seeds: list[int] = []
    data = SimpleNamespace(documents=[], facts={"skipped_count": 0}, given=True)
    monkeypatch.setattr(
        merge_evaluation, "held_out", lambda _, __, seed: seeds.append(seed) or data
    )
    monkeypatch.setattr(merge_evaluation, "scores_of", lambda *_: {})
    monkeypatch.setattr(merge_evaluation, "compare", lambda *_: [])
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("One short text.", encoding="utf-8")
    options = {"evaluate": [docs]}
    first = job.merge(parents, tmp_path / "out", seed=3, **options)
    job.merge_by_recipe(tmp_path / "out", tmp_path / "again", **options)
    assert seeds == [3, 3] and first["recipe"]["seed"] == 3


def test_one_model_under_two_names_is_told(parents: list[Path], tmp_path: Path) -> None:
    same = Path(shutil.copytree(parents[0], tmp_path / "same"))
    (said,) = job.merge([parents[0], same], tmp_path / "out")["warnings"]
    assert said == f"{parents[0]}, {same} are one model."
    options = {"method": "ties", "base": parents[0]}
    notes = job.merge([parents[1], same], tmp_path / "other", **options)["warnings"]
    assert f"{same}, {parents[0]} are one model." in notes
    assert any("has the weights of its base" in note and str(same) in note for note in notes)
    # Another card, say, is another fingerprint.
    change_json(same / PROMPTS, prompts={"query": "", "document": ""})
    notes = job.merge([parents[1], same], tmp_path / "third", **options)["warnings"]
    assert not any("are one model" in note for note in notes)
    assert any("has the weights of its base" in note for note in notes)


def test_weights_of_tensors_may_be_as_in_a_recipe(parents: list[Path], tmp_path: Path) -> None:
    own = {"pattern": "*LayerNorm*", "weights": [1, 0]}
    made = job.merge(parents[:2], tmp_path / "a", tensors=[own])
    same = job.merge(
        parents[:2], tmp_path / "b", tensors=[TensorWeights("*LayerNorm*", (1.0, 0.0))]
    )
    assert made["recipe"] == same["recipe"]
    assert made["recipe"]["tensors"] == [{"pattern": "*LayerNorm*", "weights": [1.0, 0.0]}]
    wrong: Any
    for wrong in (
        {"pattern": "x"}, {"pattern": "x", "weights": "0.5"}, {"pattern": "x", "weights": ["a"]},
        {"pattern": "x", "weights": [1, 0], "sclae": 1}, "x",
    ):  # fmt: skip
        with pytest.raises(InputError, match="are no weights of tensors"):
            job.merge(parents[:2], tmp_path / "c", tensors=[wrong])


def test_a_source_is_asked_once_however_it_is_typed(
    parents: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("One short text.", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="twice"):
        job.merge(parents, "out", evaluate=["docs", "./docs/"])
    options = {"method": "self-positioning", "base": parents[0]}
    with pytest.raises(InputError, match="twice"):
        job.merge(parents, "out", probe=["docs/", "docs"], **options)


def test_queries_that_are_nowhere_in_beirs_layout_are_not_read_as_documents(
    parents: list[Path], tmp_path: Path, pairs: list[tuple[str, str]]
) -> None:
    folder = write_beir(tmp_path / "asked", pairs[:60])
    with pytest.raises(InputError, match="columns of tables"):
        job.merge(parents, tmp_path / "out", evaluate=[folder], text="body")
    with pytest.raises(InputError, match="evaluate --beir, which asks them all"):
        few = write_beir(tmp_path / "few", pairs[:30])
        job.merge(parents, tmp_path / "out", evaluate=[few])
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "validation.tsv")
    (figures,) = job.merge(parents, tmp_path / "out", evaluate=[folder])["evaluation"]
    assert (figures["kind"], figures["skipped"]) == ("given", 0)
    assert figures["documents"] == len({code for _, code in pairs[:60]})
    assert 10 <= figures["rows"][0]["queries"] < 60
    (folder / "qrels" / "train.tsv").write_text("", encoding="utf-8")
    (folder / "qrels" / "validation.tsv").rename(folder / "qrels" / "other.tsv")
    with pytest.raises(InputError, match="not in BEIR's layout"):
        job.merge(parents, tmp_path / "again", evaluate=[folder])


def test_what_a_recipe_leaves_empty_is_not_given(parents: list[Path], tmp_path: Path) -> None:
    models = "".join(f"- {folder}\n" for folder in parents)
    recipe = tmp_path / "r.yaml"
    empty = ("weights", "tensors", "base", "seed", "probe", "method", "format", "elect_signs")
    lines = "".join(f"{name}:\n" for name in empty)
    recipe.write_text(f"models:\n{models}{lines}", encoding="utf-8")
    job.merge_by_recipe(recipe, tmp_path / "out")
    expected = dict(average([weights_of(folder) for folder in parents]))
    assert_same(weights_of(tmp_path / "out"), expected)


def test_weights_that_do_not_sum_to_one_are_noted(
    parents: list[Path], tiny_folder: Path, tmp_path: Path
) -> None:
    two = parents[:2]
    said = job.merge(two, tmp_path / "a", weights=[0.5, 0.6])["warnings"]
    assert len(said) == 1 and "sum to 1.1" in said[0]
    assert job.merge(two, tmp_path / "b", weights=[0.4, 0.6])["warnings"] == []
    said = job.merge(two, tmp_path / "c", method="slerp", weights=[3.0, 1.0])["warnings"]
    assert len(said) == 1 and "ratio" in said[0]
    quarter = dict(slerp(weights_of(two[0]), weights_of(two[1]), 0.25))
    assert_same(weights_of(tmp_path / "c"), quarter)
    # So it is where signs are elected: the mean is over the weights that agree.
    dropped = {"method": "dare", "base": tiny_folder, "weights": [3.0, 1.0]}
    for elected in (True, False):
        said = job.merge(two, tmp_path / f"elected-{elected}", elect_signs=elected, **dropped)[
            "warnings"
        ]
        assert len(said) == 1 and "sum to 4" in said[0] and ("ratio" in said[0]) == elected


def test_a_base_that_is_none_is_noted_with_the_model(
    parents: list[Path], tiny_folder: Path, tmp_path: Path
) -> None:
    stranger = tuned(tiny_folder, tmp_path / "stranger", 9)
    change_weights(stranger, lambda state: state.update(
        {name: torch.randn(tensor.shape) for name, tensor in state.items()}))  # fmt: skip
    figures = job.merge(
        [parents[0], stranger], tmp_path / "out", method="task-arithmetic", base=tiny_folder
    )
    assert len(figures["warnings"]) == 1
    line = figures["warnings"][0]
    assert "stranger" in line and "does not look like the base" in line
    far = tuned(tiny_folder, tmp_path / "far", 9, size=0)
    change_weights(far, lambda state: state.update(
        {name: 2.5 * tensor for name, tensor in state.items()}))  # fmt: skip
    # The direction is the base's, but the way is longer than the base itself.
    figures = job.merge([far], tmp_path / "b", method="task-arithmetic", base=tiny_folder)
    assert "1.50 of its norm" in figures["warnings"][0]
    # It is near to the base, but points elsewhere.
    turned = tuned(tiny_folder, tmp_path / "turned", 9, size=0)

    def turn(state: dict[str, torch.Tensor]) -> None:
        names = [name for name, tensor in state.items() if tensor.is_floating_point()]
        base = torch.cat([state[name].flatten() for name in names])
        away = torch.randn(len(base), generator=torch.Generator().manual_seed(0))
        away -= (away @ base) / (base @ base) * base
        away *= base.norm() / away.norm()
        parts = (0.4 * (0.4 * base + 0.84**0.5 * away)).split([state[n].numel() for n in names])
        state |= {
            name: part.reshape(state[name].shape) for name, part in zip(names, parts, strict=True)
        }

    change_weights(turned, turn)
    figures = job.merge([turned], tmp_path / "c", method="task-arithmetic", base=tiny_folder)
    assert "0.92 of its norm, their cosine 0.40" in figures["warnings"][0]


def test_a_model_that_is_its_own_base_comes_back_under_every_method(
    tiny_folder: Path, tmp_path: Path
) -> None:
    expected = weights_of(tiny_folder)
    for method in ("average", "slerp", "task-arithmetic", "ties", "dare"):
        base = None if method in ("average", "slerp") else tiny_folder
        ours = merged([tiny_folder] * 2, tmp_path / method, method=method, base=base)
        assert_same(ours, expected)


def test_prompts_that_differ_need_a_decision(copies: list[Path], tmp_path: Path) -> None:
    change_json(copies[1] / PROMPTS, prompts={"query": "ask: ", "document": ""})
    with pytest.raises(InputError, match="prompts differ"):
        job.merge(copies, tmp_path / "out")
    for number, kept in enumerate(("", "ask: ")):
        out = tmp_path / f"out-{number}"
        # As a shell completes a path.
        job.merge(copies, out, prompts_from=f"{copies[number]}/")
        assert TextEncoder.load(out).prompts["query"] == kept
    recipe = json.loads((tmp_path / "out-1" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["prompts_from"] == str(copies[1])


def test_types_are_those_of_the_first_model(copies: list[Path], tmp_path: Path) -> None:
    change_weights(copies[0], lambda state: state.update(
        {name: tensor.half() for name, tensor in state.items()}))  # fmt: skip
    assert merged(copies, tmp_path / "out")[WORDS].dtype == torch.float16
    assert merged(copies[::-1], tmp_path / "back")[WORDS].dtype == torch.float32
    change_weights(copies[0], lambda state: state[WORDS].fill_(60000))
    with pytest.raises(InputError, match=f"F16 can hold in {WORDS}"):
        job.merge(copies, tmp_path / "large", weights=[1.2, 0.0])


def test_parents_and_merge_are_compared_on_held_out_queries(
    small_folder: Path, tiny_docs: Path, tmp_path: Path
) -> None:
    # Noise, that is: surely worse than what it was made from.
    worse = tuned(small_folder, tmp_path / "worse", 0, size=1.0)
    figures = job.merge(
        [small_folder, worse], tmp_path / "out", weights=[1.0, 0.0], evaluate=tiny_docs
    )
    (evaluation,) = figures["evaluation"]
    assert evaluation["source"] == str(tiny_docs)
    merge, same, noisy = evaluation["rows"]
    assert [row["model"] for row in (merge, same, noisy)] == [
        str(tmp_path / "out"), str(small_folder), str(worse),
    ]  # fmt: skip
    # With all weight on one parent the merge is this parent.
    assert merge["ndcg@10"] == same["ndcg@10"] > 0
    assert same["difference"] == same["low"] == same["high"] == 0
    assert noisy["difference"] == pytest.approx(noisy["ndcg@10"] - merge["ndcg@10"])
    assert noisy["low"] < noisy["difference"] < min(0, noisy["high"])
    # Few modules answer, and an interval over these is wide.
    assert 1 < noisy["groups"] < 10 < noisy["queries"]


def test_tables_are_merged_and_compared(table: Path, tiny_docs: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(table, tmp_path / "other"))
    weights = next(other.rglob(WEIGHTS))
    state = load_file(weights)
    save_file({name: 0.5 * tensor for name, tensor in state.items()}, weights)
    figures = job.merge([table, other], tmp_path / "out", evaluate=[tiny_docs])
    merge, same, _ = figures["evaluation"][0]["rows"]
    assert merge["ndcg@10"] == pytest.approx(same["ndcg@10"]) and merge["ndcg@10"] > 0


def test_a_source_of_too_little_is_refused_before_the_merge(
    parents: list[Path], tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("One short text.", encoding="utf-8")
    with pytest.raises(InputError, match="Too little text"):
        job.merge(parents, tmp_path / "out", evaluate=[docs])
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]


def test_a_switch_that_a_recipe_leaves_empty_is_off(
    parents: list[Path], tiny_folder: Path, tmp_path: Path
) -> None:
    models = "".join(f"- {folder}\n" for folder in parents[:2])
    recipe = tmp_path / "r.yaml"
    for value, elected in (("", False), ("1", True)):
        text = f"method: dare\nbase: {tiny_folder}\nmodels:\n{models}elect_signs: {value}\n"
        recipe.write_text(text, encoding="utf-8")
        made = job.merge_by_recipe(recipe, tmp_path / "out", force=True)
        assert made["recipe"]["elect_signs"] is elected


def test_the_pooler_of_a_plain_model_is_left_out_beside_one_that_has_none(
    copies: list[Path], tmp_path: Path
) -> None:
    for name in ("modules.json", PROMPTS, "sentence_bert_config.json"):
        (copies[0] / name).unlink(missing_ok=True)
    shutil.rmtree(copies[0] / "1_Pooling")

    def behead(state: dict[str, Any]) -> None:
        for name in [name for name in state if name.startswith("pooler.")]:
            del state[name]

    change_weights(copies[1], behead)
    job.merge(copies[:2], tmp_path / "out")
    assert not any("pooler." in name for name in weights_of(tmp_path / "out"))


@pytest.mark.parametrize(
    ("models", "options", "said"),
    [
        (["a", "b"], {"method": "dare", "elect_signs": True, "weights": [1.0, -0.5], **BASED},
         "0 and more"),
        (["a", "b"], {"method": "ties", "elect_signs": True, **BASED}, "takes no --elect-signs"),
        (["a", "b"], {"tensors": [job.TensorWeights("*", (1.0, float("inf")))]}, "finite, not inf"),
        (["a", "b"], {"weights": [0.5, 0.5], "tensors": [job.TensorWeights("*", (1.0,))]},
         "2 models and 1 weights"),
        (["a"], {"method": "self-positioning", "probe": "c", "base": "b",
                 "tensors": [job.TensorWeights("*", (1.0,))]}, "it takes none"),
        # What may be at the very end of what is allowed, or below 0 in sum.
        (["a", "b"], {"method": "ties", "keep": 1.0, **BASED}, "no model 'a'"),
        (["a", "b"], {"method": "dare", "drop": 0.0, **BASED}, "no model 'a'"),
        (["a", "b"], {"weights": [0.5, -1.5]}, "no model 'a'"),
        (["a"], {"method": "ties", **BASED}, "no model 'a'"),
    ],
)  # fmt: skip
def test_what_stands_at_the_edge_is_refused_or_not(
    tmp_path: Path, models: list[str], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        job.merge(models, tmp_path / "out", **options)


def test_a_changed_base_is_noticed(parents: list[Path], tiny_folder: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_folder, tmp_path / "base"))
    job.merge(parents[:1], tmp_path / "out", method="task-arithmetic", base=base)
    change_weights(base, lambda state: state[WORDS].view(-1)[:1].add_(1))
    with pytest.raises(InputError, match="base' is not the model"):
        job.merge_by_recipe(tmp_path / "out", tmp_path / "again")


def test_prompts_are_those_of_the_same_model_where_it_lies_now(
    copies: list[Path], tmp_path: Path
) -> None:
    change_json(copies[1] / PROMPTS, prompts={"query": "ask: ", "document": ""})
    job.merge(copies, tmp_path / "out", prompts_from=copies[1])
    moved = [copies[0], copies[1].rename(tmp_path / "elsewhere")]
    made = job.merge_by_recipe(tmp_path / "out", tmp_path / "again", models=moved)
    assert made["recipe"]["prompts_from"] == str(moved[1])
    assert TextEncoder.load(tmp_path / "again").prompts["query"] == "ask: "


def test_weights_of_less_than_one_are_noted_and_yml_is_yaml(
    parents: list[Path], tmp_path: Path
) -> None:
    recipe = tmp_path / "r.yml"
    models = "".join(f"- {folder}\n" for folder in parents[:2])
    recipe.write_text(f"models:\n{models}weights: [0.5, 0.4]  # by hand\n", encoding="utf-8")
    (said,) = job.merge_by_recipe(recipe, tmp_path / "out")["warnings"]
    assert "sum to 0.9" in said


@pytest.mark.parametrize(
    "line",
    ["seed: 1.7", "seed: true", "weights: [true, false]", "scale: true", "seed: .inf",
     "weights: [0.7, null]", "weights: [null, null]"],
)  # fmt: skip
def test_a_recipe_s_numbers_are_numbers(parents: list[Path], tmp_path: Path, line: str) -> None:
    models = "".join(f"- {folder}\n" for folder in parents[:2])
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"models:\n{models}{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match="is no recipe"):
        job.merge_by_recipe(recipe, tmp_path / "out")
