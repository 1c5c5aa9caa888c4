from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_vocabulary import WORDS
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaModel,
)
from tuned_folders import change_json, change_weights

from isometry import InputError
from isometry.cli.main import main
from isometry.core.progress import progress_shown
from isometry.encoders.encoder import load_encoder
from isometry.encoders.static import vocabulary_vectors
from isometry.jobs.loading import check_prompts, load_sound, load_sound_text_encoder


@pytest.fixture
def model(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def test_what_is_whole_is_loaded_as_it_is(model: Path) -> None:
    assert load_sound(model).fingerprint() == load_encoder(model).fingerprint()
    # Nothing reads a pooler, and many are saved without one.
    change_weights(model, unpooled)
    load_sound(model)


def unpooled(state: dict[str, Tensor]) -> None:
    for name in [name for name in state if "pooler" in name]:
        del state[name]


def lost(state: dict[str, Tensor]) -> None:
    del state[next(name for name in state if name.endswith("layer.1.output.dense.weight"))]


def renamed(state: dict[str, Tensor]) -> None:
    for name in list(state):
        state[f"foo.{name}"] = state.pop(name)


def quantised(state: dict[str, Tensor]) -> None:
    name = next(name for name in state if name.endswith("layer.1.output.dense.weight"))
    state[name] = (state[name] * 100).to(torch.int8)


def short(state: dict[str, Tensor]) -> None:
    name = next(name for name in state if name.endswith("layer.1.output.dense.weight"))
    state[name] = state[name][:-1].clone()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lost, "lacks weights: .*layer.1.output.dense.weight"),
        (renamed, "lacks weights: .* and"),
        (quantised, "is quantised: .* is I8"),
        (short, "have other shapes .*layer.1.output.dense.weight"),
    ],
)
def test_weights_that_are_not_the_models_own_are_refused(
    model: Path, damage: Any, said: str
) -> None:
    change_weights(model, damage)
    with pytest.raises(InputError, match=said):
        load_sound(model)


def test_a_model_that_says_it_is_quantised_or_needs_code_is_refused(model: Path) -> None:
    change_json(model / "config.json", quantization_config={"quant_method": "gptq"})
    with pytest.raises(InputError, match="is quantised"):
        load_sound(model)
    own = {"AutoModel": "own.Model"}
    change_json(model / "config.json", quantization_config=None, auto_map=own)
    with pytest.raises(InputError, match="needs code of its own"):
        load_sound(model)


def test_a_cross_encoder_is_no_encoder(model: Path, tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, num_labels=1,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path / "pairs")
    with pytest.raises(InputError, match="is a cross-encoder"):
        load_sound(tmp_path / "pairs")


def test_every_command_that_takes_a_model_refuses_it(
    model: Path, tiny_docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_weights(model, lost)
    for command in (
        ("cut", str(model), "--size", "1x16"),
        ("distill", str(model), "--source", str(tiny_docs), "--layers", "1"),
        ("fit", str(tiny_docs), "--base", str(model)),
        ("encode", str(model), str(tiny_docs)),
    ):
        out = tmp_path / command[0]
        assert main([*command, "--out", str(out)]) == 2, command
        assert "lacks weights" in capsys.readouterr().err, command
        assert not list(tmp_path.glob(f"*{command[0]}*")), command


@pytest.mark.parametrize(
    "file", ["config.json", "modules.json", "config_sentence_transformers.json"]
)
@pytest.mark.parametrize("value", [[], 5, "x", [1]])
def test_json_of_another_shape_is_named(
    model: Path, file: str, value: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / file).write_text(json.dumps(value))
    assert main(["cut", str(model), "--size", "1x16", "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert file in line or str(model) in line


def test_nothing_is_written_into_what_it_is_made_from(
    model: Path, tiny_space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (model / "small", model / "1_Pooling" / "small", tiny_space / "small", model):
        command = ["cut", str(model), "--size", "1x16", "--out", str(out), "--force"]
        assert main(command) == 2
        assert str(out) in capsys.readouterr().err
    assert not list(model.rglob("small")) and not list(tiny_space.rglob("small"))


@pytest.mark.parametrize("kind", ["SparseEncoder", "MultiVectorEncoder"])
def test_what_gives_no_one_vector_a_text_is_no_encoder(model: Path, kind: str) -> None:
    change_json(model / "config_sentence_transformers.json", model_type=kind)
    with pytest.raises(InputError, match=f"is a {kind}"):
        load_sound(model)


def test_code_that_the_library_has_by_now_is_not_needed(model: Path) -> None:
    before = load_sound(model).fingerprint()
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    change_json(model / "config.json", auto_map=own)
    assert load_sound(model).fingerprint() == before


@pytest.mark.parametrize("dimension", [16, 64])
def test_a_pooling_of_another_width_is_named(model: Path, dimension: int) -> None:
    change_json(model / "1_Pooling" / "config.json", embedding_dimension=dimension)
    with pytest.raises(InputError, match=rf"says {dimension} dimensions, .* has 32"):
        load_sound_text_encoder(model)


def test_a_tokenizer_with_words_that_the_model_does_not_know_is_named(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "embeddings.word_embeddings.weight"
    sound = load_sound_text_encoder(model)
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["isometric"])
    tokenizer.save_pretrained(model)
    # One token more is no other tokenizer: families share theirs.
    with progress_shown(True):
        shared = load_sound_text_encoder(model)
    assert "knows no isometric: a text" in " ".join(capsys.readouterr().err.split())
    texts = ["a path", "the day of the week"]
    np.testing.assert_array_equal(shared.encode(texts), sound.encode(texts))
    with pytest.raises(InputError, match="no vector for a token of the text 'an isometric path'"):
        shared.encode([*texts, "an isometric path"])
    with pytest.raises(InputError, match=r"has token 8,192, its table 8,192 tokens"):
        vocabulary_vectors(shared)
    change_weights(model, lambda state: state.update({words: state[words][:-9].clone()}))
    change_json(model / "config.json", vocab_size=len(tokenizer) - 10)
    with pytest.raises(InputError, match=r"has [\d,]+ words, its table [\d,]+\."):
        load_sound_text_encoder(model)


def test_no_text_is_longer_than_there_are_positions(model: Path, tmp_path: Path) -> None:
    # RoBERTa counts from behind the padding, of which a tokenizer without a limit knows nothing;
    # and this one has no token to pad with.
    config = RobertaConfig(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=40, pad_token_id=0, type_vocab_size=2,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(tmp_path / "body")
    shutil.copy(model / "tokenizer.json", tmp_path / "body")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "[SEP]"}
    (tmp_path / "body" / "tokenizer_config.json").write_text(json.dumps(settings))
    encoder = load_sound(tmp_path / "body")
    assert encoder.max_tokens == 39
    assert encoder.encode(["one word after another " * 50, "a"]).shape == (2, 32)


def test_no_prompt_of_another_name_comes_back_where_there_is_to_be_none(
    model: Path, tmp_path: Path
) -> None:
    change_json(
        model / "config_sentence_transformers.json",
        prompts={"query": "query: ", "passage": "passage: "},
        default_prompt_name="passage",
    )
    encoder = load_sound_text_encoder(model, query_prompt="", document_prompt="")
    encoder.save(tmp_path / "saved")
    saved = load_sound(tmp_path / "saved")
    assert saved.prompts == encoder.prompts == {"query": "", "document": ""}
    assert saved.fingerprint() == encoder.fingerprint()


def test_a_table_knows_no_prompts(table: Path) -> None:
    with pytest.raises(InputError, match="knows no prompts"):
        load_sound(table, query_prompt="query: ")
    load_sound(table, query_prompt="", document_prompt="")


@pytest.mark.parametrize("role", ["query", "document"])
def test_a_prompt_of_its_own_that_fills_its_room_is_refused(model: Path, role: Any) -> None:
    """All texts would have one vector."""
    own = {"query": "", "document": "", role: "one word after another " * 20}
    change_json(model / "config_sentence_transformers.json", prompts=own)
    encoder = load_sound(model)
    with pytest.raises(InputError, match=f"The {role} prompt has 80 tokens, and the model reads"):
        check_prompts(encoder)
    with pytest.raises(InputError, match=f"The {role} prompt has"):
        check_prompts(encoder, role)
    # What is not used is no matter.
    check_prompts(encoder, "document" if role == "query" else "query")
