from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from tuned_folders import WEIGHTS, change_json, change_weights, in_shards, with_dense

from isometry.core.errors import InputError
from isometry.merging.checkpoints import Checkpoint, listed, open_checkpoint

WORDS = "embeddings.word_embeddings.weight"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "a-model"))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as raised:
        open_checkpoint(folder)
    return str(raised.value)


def test_it_has_the_tensors_of_the_file(folder: Path) -> None:
    found, expected = open_checkpoint(folder), load_file(folder / WEIGHTS)
    assert set(found) == set(expected) and len(found) == len(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor)
        assert found.shape(name) == tuple(tensor.shape) and found.dtype(name) == tensor.dtype


def test_whether_a_tensor_is_there_is_known_without_reading_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError

    found = open_checkpoint(folder)
    monkeypatch.setattr(Checkpoint, "__getitem__", read)
    assert WORDS in found and "ghost" not in found and found.shape(WORDS) == (8192, 32)


def test_other_modules_have_their_folder_in_front(folder: Path) -> None:
    found = open_checkpoint(with_dense(folder))
    dense = load_file(folder / "2_Dense" / WEIGHTS)
    assert torch.equal(found["2_Dense/linear.weight"], dense["linear.weight"])
    assert found.file("2_Dense/linear.bias") == f"2_Dense/{WEIGHTS}"
    assert found.file(WORDS) == WEIGHTS


def test_a_transformer_in_a_folder_of_its_own_has_the_same_names(
    folder: Path, tiny_folder: Path
) -> None:
    modules = (folder / "modules.json").read_text(encoding="utf-8")
    (folder / "0_Transformer").mkdir()
    for file in [file for file in folder.iterdir() if file.is_file()]:
        if file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(folder / "0_Transformer" / file.name)
    changed = modules.replace('"path": ""', '"path": "0_Transformer"')
    (folder / "modules.json").write_text(changed, encoding="utf-8")
    found = open_checkpoint(folder)
    assert set(found) == set(open_checkpoint(tiny_folder))
    assert found.file(WORDS) == f"0_Transformer/{WEIGHTS}"
    assert found.config["model_type"] == "bert"


def test_shards_are_one_model(folder: Path, tiny_folder: Path) -> None:
    whole, parts = open_checkpoint(tiny_folder), open_checkpoint(in_shards(folder))
    assert set(whole) == set(parts)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert len({parts.file(name) for name in parts}) == 2


def test_shards_without_their_index_are_named(folder: Path) -> None:
    (in_shards(folder) / f"{WEIGHTS}.index.json").unlink()
    with pytest.raises(InputError, match=r"lacks model.safetensors.index.json.*00001-of-00002"):
        open_checkpoint(folder)


def test_a_missing_shard_and_a_missing_tensor_are_named(folder: Path) -> None:
    index = in_shards(folder) / f"{WEIGHTS}.index.json"
    change_json(index, weight_map={WORDS: "model-00001-of-00002.safetensors", "ghost": "x"})
    assert "lacks x" in refusal(folder)
    change_json(index, weight_map={"ghost": "model-00001-of-00002.safetensors"})
    assert "ghost" in refusal(folder)
    (folder / "model-00001-of-00002.safetensors").unlink()
    assert "model-00001-of-00002.safetensors" in refusal(folder)


def test_quantised_weights_are_refused(folder: Path) -> None:
    def narrow(state: dict[str, Tensor]) -> None:
        state[WORDS] = state[WORDS].to(torch.int8)

    change_weights(folder, narrow)
    assert f"quantised: {WORDS} is I8" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float8_e4m3fn])
def test_other_narrow_types_are_refused_too(folder: Path, dtype: torch.dtype) -> None:
    change_weights(folder, lambda state: state.update({WORDS: state[WORDS].to(dtype)}))
    assert "quantised" in refusal(folder)


def test_a_configuration_of_quantisation_is_refused(folder: Path) -> None:
    change_json(folder / "config.json", quantization_config={"load_in_4bit": True})
    assert "quantised" in refusal(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    assert "pytorch_model.bin" in refusal(folder) and "pickle" in refusal(folder)
    (folder / "pytorch_model.bin").unlink()
    assert "no weights" in refusal(folder)


def test_a_pickle_beside_the_weights_is_not_read(folder: Path) -> None:
    (folder / "training_args.bin").write_bytes(b"no pickle")
    assert WORDS in open_checkpoint(folder)


def test_an_adapter_is_refused(folder: Path) -> None:
    change_json(folder / "adapter_config.json", r=8)
    assert "LoRA" in refusal(folder)


def test_a_cut_off_file_is_refused(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    for length in (4, 100, len(data) - 1):
        (folder / WEIGHTS).write_bytes(data[:length])
        assert WEIGHTS in refusal(folder)


def test_modules_that_are_none_are_refused(folder: Path) -> None:
    for text in ("[]", '[{"path": ""}]', '{"a": 1}', '[{"type": "T", "path": "../elsewhere"}]'):
        (folder / "modules.json").write_text(text, encoding="utf-8")
        assert "modules.json" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_found_with_its_tensor(
    folder: Path, dtype: torch.dtype, value: float
) -> None:
    name = "encoder.layer.1.output.dense.bias"

    def damage(state: dict[str, Tensor]) -> None:
        state[name] = state[name].to(dtype)
        state[name][3] = value

    change_weights(folder, damage)
    found = open_checkpoint(folder)
    assert len(found[WORDS]) > 0
    with pytest.raises(InputError, match=name):
        found[name]


def test_the_fingerprint_is_of_what_decides_a_vector(folder: Path, tiny_folder: Path) -> None:
    original = open_checkpoint(tiny_folder).fingerprint()
    (folder / "README.md").write_text("Another text.", encoding="utf-8")
    (folder / "recipe.json").write_text("{}", encoding="utf-8")
    assert open_checkpoint(folder).fingerprint() == original
    found = {original}
    change_weights(folder, lambda state: state[WORDS].view(-1)[:1].add_(1))
    found.add(open_checkpoint(folder).fingerprint())
    change_json(folder / "1_Pooling" / "config.json", pooling_mode="cls")
    found.add(open_checkpoint(folder).fingerprint())
    change_json(folder / "tokenizer.json", truncation=None)
    found.add(open_checkpoint(folder).fingerprint())
    assert len(found) == 4


def test_a_head_without_its_weights_is_named(folder: Path) -> None:
    """As from a hub, where pickles are left."""
    (with_dense(folder) / "2_Dense" / WEIGHTS).unlink()
    assert f"no {WEIGHTS} in 2_Dense, its Dense" in refusal(folder)


def test_the_whole_file_is_read_where_shards_of_another_save_are_left(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    in_shards(folder)
    (folder / WEIGHTS).write_bytes(whole)
    found = open_checkpoint(folder)
    assert {found.file(name) for name in found} == {WEIGHTS}
    # Nor does it matter that shards are gone.
    next(folder.glob("model-*.safetensors")).unlink()
    assert set(open_checkpoint(folder)) == set(found)


@pytest.mark.parametrize("name", ["bpe.codes", "spm.model", "source.spm", "prophetnet.tokenizer"])
def test_what_a_tokenizer_is_read_from_goes_along(folder: Path, name: str) -> None:
    (folder / name).write_text("x", encoding="utf-8")
    assert folder / name in open_checkpoint(folder).settings_files


@pytest.mark.parametrize("kind", ["own_code.Layer", "sentence_transformers_own.Layer"])
def test_a_module_of_somebody_s_own_is_refused(folder: Path, kind: str) -> None:
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules.append({"idx": 2, "name": "2", "path": "2_Layer", "type": kind})
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    assert "needs code of its own for its module Layer" in refusal(folder)


def test_code_of_a_type_that_nobody_knows_is_refused(folder: Path) -> None:
    change_json(folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.Config"})
    assert "needs code of its own for its architecture" in refusal(folder)


def test_shards_may_have_the_names_of_tensorflow(folder: Path, tiny_folder: Path) -> None:
    def dress(state: dict[str, Tensor]) -> None:
        for name in [name for name in state if "LayerNorm" in name]:
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            state[old.replace("LayerNorm.bias", "LayerNorm.beta")] = state.pop(name)

    change_weights(folder, dress)
    assert set(open_checkpoint(in_shards(folder))) == set(open_checkpoint(tiny_folder))


def test_a_readme_in_any_format_is_one_parents_own(folder: Path) -> None:
    (folder / "README.txt").write_text("Mine.", encoding="utf-8")
    assert "README.txt" not in {file.name for file in open_checkpoint(folder).settings_files}


def test_a_default_prompt_is_the_one_that_is_named(folder: Path) -> None:
    settings = folder / "config_sentence_transformers.json"
    change_json(settings, prompts={"query": "ask: ", "document": ""}, default_prompt_name="query")
    assert open_checkpoint(folder).prompts() == {"query": "ask: ", "default": "ask: "}
    change_json(settings, default_prompt_name="document")
    assert open_checkpoint(folder).prompts() == {"query": "ask: "}


def test_a_length_is_the_models_or_else_its_tokenizers_or_none(folder: Path) -> None:
    change_json(folder / "tokenizer_config.json", model_max_length=33)
    change_json(folder / "sentence_bert_config.json", max_seq_length=21)
    assert open_checkpoint(folder).max_tokens() == 21
    change_json(folder / "sentence_bert_config.json", max_seq_length=None)
    assert open_checkpoint(folder).max_tokens() == 33
    # As a tokenizer says that has no limit.
    change_json(folder / "tokenizer_config.json", model_max_length=int(1e30))
    assert open_checkpoint(folder).max_tokens() is None


def test_a_module_elsewhere_on_the_machine_is_refused(folder: Path, tmp_path: Path) -> None:
    modules = [{"type": "sentence_transformers.models.Transformer", "path": str(tmp_path)}]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    assert "names a module outside its folder" in refusal(folder)


def test_five_names_are_all_listed() -> None:
    assert listed(list("abcde")) == "a, b, c, d, e"
    assert listed(list("abcdef")) == "a, b, c, d, e and 1 more"
