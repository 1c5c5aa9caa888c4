from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor
from tuned_folders import WEIGHTS, change_json, in_shards, with_dense

from isometry.core.errors import InputError
from isometry.merging.checkpoints import Checkpoint, open_checkpoint
from isometry.merging.writing import write_merged

PROMPTS = "config_sentence_transformers.json"


def written(like: Checkpoint, out: Path, tensors: dict[str, Tensor] | None = None) -> int:
    out.mkdir()
    return write_merged(out, (tensors or like).items(), like, like, like)


def test_the_file_is_byte_for_byte_what_the_library_writes(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        "half": torch.randn(3, generator=generator).half(),
        "a": torch.randn(2, 3, generator=generator),
        "ü": torch.randn(5, generator=generator).bfloat16(),
        "flags": torch.tensor([True, False, True]),
        "ids": torch.arange(7),
        "double": torch.randn(1, generator=generator).double(),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "short": torch.arange(3, dtype=torch.int16),
        "int": torch.arange(3, dtype=torch.int32),
    }
    folder = tmp_path / "like"
    folder.mkdir()
    change_json(folder / "config.json", model_type="bert")
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    like = open_checkpoint(folder)
    # In any order.
    assert written(like, tmp_path / "out", dict(reversed(list(state.items())))) == 10
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    with safe_open(tmp_path / "out" / WEIGHTS, "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_plain_sentence_transformers_loads_it(
    tiny_folder: Path, tmp_path: Path, texts: list[str]
) -> None:
    source = with_dense(Path(shutil.copytree(tiny_folder, tmp_path / "source")))
    written(open_checkpoint(source), tmp_path / "out")
    vectors = [
        SentenceTransformer(str(folder), device="cpu").encode(texts[:3])
        for folder in (source, tmp_path / "out")
    ]
    assert vectors[0].shape == (3, 8)
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_shards_stay_shards_with_an_index_of_what_is_there(
    tiny_folder: Path, tmp_path: Path
) -> None:
    source = in_shards(Path(shutil.copytree(tiny_folder, tmp_path / "source")))
    like = open_checkpoint(source)
    lost = "embeddings.token_type_embeddings.weight"
    like.without([lost])
    written(like, tmp_path / "out")
    index = json.loads((tmp_path / "out" / f"{WEIGHTS}.index.json").read_text(encoding="utf-8"))
    again = open_checkpoint(tmp_path / "out")
    assert set(index["weight_map"]) == set(again) == set(like) and lost not in again
    assert {again.file(name) for name in again} == {like.file(name) for name in like}
    size = sum(tensor.numel() * tensor.element_size() for tensor in again.values())
    assert index["metadata"]["total_size"] == size
    assert all(torch.equal(again[name], like[name]) for name in like)


def test_settings_go_along_and_what_belongs_to_one_parent_does_not(
    tiny_folder: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(tiny_folder, tmp_path / "source"))
    change_json(source / "config.json", _name_or_path="/somebody/at/home")
    for name in ("README.md", "recipe.json", "modeling.py", "training_args.bin", "vocab.txt"):
        (source / name).write_text("{}", encoding="utf-8")
    (source / "checkpoint-10").mkdir()
    (source / "checkpoint-10" / "config.json").write_text("{}", encoding="utf-8")
    written(open_checkpoint(source), tmp_path / "out")
    names = {file.relative_to(tmp_path / "out").as_posix() for file in
             (tmp_path / "out").rglob("*") if file.is_file()}  # fmt: skip
    assert {"config.json", "modules.json", "tokenizer.json", "1_Pooling/config.json",
            "vocab.txt", WEIGHTS} <= names  # fmt: skip
    assert not names & {"README.md", "recipe.json", "modeling.py", "training_args.bin"}
    assert not any(name.startswith("checkpoint") for name in names)
    assert "somebody" not in (tmp_path / "out" / "config.json").read_text(encoding="utf-8")


def test_prompts_may_be_anothers(tiny_folder: Path, tmp_path: Path) -> None:
    asking = Path(shutil.copytree(tiny_folder, tmp_path / "asking"))
    own = {"prompts": {"query": "ask: "}, "default_prompt_name": "query"}
    change_json(asking / "config_sentence_transformers.json", **own)
    like = open_checkpoint(tiny_folder)
    (tmp_path / "out").mkdir()
    write_merged(tmp_path / "out", like.items(), like, like, open_checkpoint(asking))
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert model.prompts["query"] == "ask: " and model.default_prompt_name == "query"


def test_a_number_beyond_the_type_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    like = open_checkpoint(tiny_folder)
    state = load_file(tiny_folder / WEIGHTS)
    state["pooler.dense.bias"][0] = float("inf")
    with pytest.raises(InputError, match=r"F32 can hold in pooler\.dense\.bias"):
        written(like, tmp_path / "out", state)


@pytest.mark.parametrize("change", ["lacking", "unknown", "shape", "type", "twice"])
def test_tensors_that_are_not_those_announced_raise(
    tiny_folder: Path, tmp_path: Path, change: str
) -> None:
    like = open_checkpoint(tiny_folder)
    tensors = list(load_file(tiny_folder / WEIGHTS).items())
    name, tensor = tensors[-1]
    tensors[-1:] = {
        "lacking": [],
        "unknown": [(name, tensor), ("ghost", tensor)],
        "shape": [(name, tensor.reshape(-1)[:-1])],
        "type": [(name, tensor.double())],
        "twice": [(name, tensor), (name, tensor)],
    }[change]
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="ghost" if change == "unknown" else name):
        write_merged(tmp_path / "out", tensors, like, like, like)


def test_an_index_that_lists_nothing_of_the_merge_stays_behind(
    tiny_folder: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(tiny_folder, tmp_path / "source"))
    (source / f"{WEIGHTS}.index.json").write_text('{"weight_map": {}}', encoding="utf-8")
    written(open_checkpoint(source), tmp_path / "out")
    assert not (tmp_path / "out" / f"{WEIGHTS}.index.json").exists()


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_it_is_loaded_in_the_type_that_it_is_written_in(
    tiny_folder: Path, tmp_path: Path, key: str
) -> None:
    like = Path(shutil.copytree(tiny_folder, tmp_path / "like"))
    own = json.loads((like / "config.json").read_text(encoding="utf-8"))
    own = {name: value for name, value in own.items() if name not in ("dtype", "torch_dtype")}
    (like / "config.json").write_text(json.dumps({**own, key: "bfloat16"}), encoding="utf-8")
    types = open_checkpoint(tiny_folder)
    (out := tmp_path / "out").mkdir()
    write_merged(out, types.items(), open_checkpoint(like), types, types)
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))[key] == "float32"
    loaded = SentenceTransformer(str(out), device="cpu")
    assert next(loaded.parameters()).dtype == torch.float32


def test_prompts_of_another_take_nothing_else_along(tiny_folder: Path, tmp_path: Path) -> None:
    asking, like = (Path(shutil.copytree(tiny_folder, tmp_path / name)) for name in ("a", "b"))
    change_json(like / PROMPTS, similarity_fn_name="dot")
    change_json(asking / PROMPTS, similarity_fn_name="cosine")
    own, other = open_checkpoint(like), open_checkpoint(asking)
    # The same prompts: the file stays as it is.
    (same := tmp_path / "same").mkdir()
    write_merged(same, own.items(), own, own, other)
    assert (same / PROMPTS).read_bytes() == (like / PROMPTS).read_bytes()
    change_json(asking / PROMPTS, prompts={"query": "ask: "})
    (out := tmp_path / "out").mkdir()
    write_merged(out, own.items(), own, own, open_checkpoint(asking))
    settings = json.loads((out / PROMPTS).read_text(encoding="utf-8"))
    assert settings["prompts"] == {"query": "ask: "} and settings["similarity_fn_name"] == "dot"


def test_an_index_lists_its_own_modules_tensors_alone(tiny_folder: Path, tmp_path: Path) -> None:
    source = in_shards(with_dense(Path(shutil.copytree(tiny_folder, tmp_path / "source"))))
    written(open_checkpoint(source), tmp_path / "out")
    names = [
        set(json.loads((folder / f"{WEIGHTS}.index.json").read_text())["weight_map"])
        for folder in (source, tmp_path / "out")
    ]
    assert names[0] == names[1]


def test_the_type_is_said_where_the_transformer_has_its_settings(
    tiny_folder: Path, tmp_path: Path
) -> None:
    like = Path(shutil.copytree(tiny_folder, tmp_path / "like"))
    modules = (like / "modules.json").read_text(encoding="utf-8")
    (like / "0_Transformer").mkdir()
    for file in [file for file in like.iterdir() if file.is_file()]:
        if file.name not in ("modules.json", PROMPTS):
            file.rename(like / "0_Transformer" / file.name)
    changed = modules.replace('"path": ""', '"path": "0_Transformer"')
    (like / "modules.json").write_text(changed, encoding="utf-8")
    change_json(like / "0_Transformer" / "config.json", dtype="bfloat16")
    types = open_checkpoint(tiny_folder)
    (out := tmp_path / "out").mkdir()
    write_merged(out, types.items(), open_checkpoint(like), types, types)
    said = json.loads((out / "0_Transformer" / "config.json").read_text(encoding="utf-8"))
    assert said["dtype"] == "float32" and not (out / "config.json").exists()
