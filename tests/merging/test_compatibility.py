from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from tuned_folders import change_json, change_weights, with_dense

from isometry.core.errors import InputError
from isometry.encoders.packaged_models import packaged_folder
from isometry.encoders.text import TextEncoder
from isometry.merging.checkpoints import open_checkpoint
from isometry.merging.compatibility import check_compatible, check_prompts, settings_model

POOLING = "1_Pooling/config.json"
PROMPTS = "config_sentence_transformers.json"


@pytest.fixture
def one(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "one"))


@pytest.fixture
def other(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "other"))


def notes(*folders: Path, base: Path | None = None) -> list[str]:
    models = [open_checkpoint(folder) for folder in folders]
    return check_compatible(models, None if base is None else open_checkpoint(base))


def refusal(*folders: Path, base: Path | None = None) -> str:
    with pytest.raises(InputError) as raised:
        notes(*folders, base=base)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def plain(folder: Path) -> Path:
    """Leaves the transformers checkpoint of a folder."""
    for name in ("modules.json", PROMPTS, "sentence_bert_config.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "1_Pooling")
    return folder


def test_tuned_models_of_one_base_are_compatible(one: Path, other: Path) -> None:
    change_json(other / "config.json", hidden_dropout_prob=0.5, use_cache=True, dtype="float32")
    (other / "README.md").write_text("Tuned.", encoding="utf-8")
    assert notes(one, other, base=one) == []


def test_a_model_saved_by_another_version_is_compatible(
    minilm: TextEncoder, tmp_path: Path
) -> None:
    minilm.save(tmp_path / "again")
    said = notes(packaged_folder("minilm"), tmp_path / "again")
    # The published file has position ids, which later versions do not save.
    assert len(said) == 1 and "embeddings.position_ids" in said[0]


def test_whole_numbers_that_not_all_have_are_left_out_of_all(one: Path, other: Path) -> None:
    change_weights(one, lambda state: state.update({"ids": torch.arange(4)}))
    models = [open_checkpoint(other), open_checkpoint(one)]
    assert check_compatible(models, open_checkpoint(one))[0].endswith("ids.")
    assert "ids" not in models[1] and set(models[0]) == set(models[1])
    change_weights(other, lambda state: state.update({"ids": torch.arange(4)}))
    assert notes(one, other) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_attention_heads", 2), ("hidden_act", "relu"), ("layer_norm_eps", 1e-5),
     ("model_type", "roberta")],
)  # fmt: skip
def test_another_architecture_is_refused_by_what_differs(
    one: Path, other: Path, key: str, value: object
) -> None:
    change_json(other / "config.json", **{key: value})
    line = refusal(one, other)
    assert key in line and str(value) in line and str(other) in line


@pytest.mark.parametrize(
    ("key", "values"),
    [("hidden_activation", ("gelu", "silu")), ("activation_function", ("gelu", "relu")),
     ("num_key_value_heads", (1, 2)), ("rms_norm_eps", (1e-6, 1e-5)),
     ("position_embedding_type", ("absolute", "relative_key")), ("rope_theta", (1e4, 1.6e5)),
     ("rope_scaling", (None, {"rope_type": "yarn", "factor": 2.0})),
     ("rope_parameters", ({"rope_theta": 1e4}, {"rope_theta": 1e6})),
     ("sliding_window", (None, 64)), ("local_attention", (64, 128)),
     ("global_attn_every_n_layers", (2, 3)), ("is_decoder", (False, True)),
     ("n_heads", (2, 4)), ("n_head", (2, 4)), ("num_heads", (2, 4)),
     ("activation", ("gelu", "relu")), ("layer_norm_epsilon", (1e-5, 1e-12)),
     ("norm_eps", (1e-5, 1e-6)),
     ("global_rope_theta", (1e4, 1.6e5)), ("local_rope_theta", (1e4, 1.6e5)),
     ("rotary_emb_base", (1e4, 1e6))],
)  # fmt: skip
def test_what_no_shape_shows_is_compared_where_both_say_it(
    one: Path, other: Path, key: str, values: tuple[object, object]
) -> None:
    change_json(one / "config.json", **{key: values[0]})
    change_json(other / "config.json", **{key: values[0]})
    assert notes(one, other) == []
    change_json(other / "config.json", **{key: values[1]})
    assert f"{key} is {values[0]}" in refusal(one, other)


def test_the_first_five_tensors_that_are_lacking_are_listed(one: Path, other: Path) -> None:
    def cut(state: dict[str, Tensor]) -> None:
        for name in [name for name in state if ".layer.1." in name]:
            del state[name]

    change_weights(other, cut)
    line = refusal(one, other)
    assert line.count("encoder.layer.1.") == 5 and "and 11 more" in line and str(other) in line
    assert "lacks 16 of the tensors" in refusal(other, one)


def test_a_base_without_a_pooler_takes_one_that_nothing_reads(one: Path, other: Path) -> None:
    base = Path(shutil.copytree(one, one.parent / "base"))

    def masked_model(state: dict[str, Tensor]) -> None:
        # As BertForMaskedLM saves it: no pooler, a prefix and a head.
        kept = {f"bert.{name}": state.pop(name) for name in list(state)}
        state.update({name: tensor for name, tensor in kept.items() if ".pooler." not in name})
        state["cls.predictions.bias"] = torch.zeros(3)

    change_weights(plain(base), masked_model)
    models = [open_checkpoint(folder) for folder in (one, other)]
    root = open_checkpoint(base)
    before = root.fingerprint()
    (note,) = check_compatible(models, root)
    assert "lacks pooler.dense" in note and str(base) in note
    assert set(root) == set(models[0]) and root.fingerprint() == before
    assert torch.equal(root["pooler.dense.weight"], models[0]["pooler.dense.weight"])
    # Where nothing stands behind the transformer the pooler may be what is wanted.
    assert "lacks 2 of the tensors" in refusal(plain(one), plain(other), base=base)


def test_a_base_that_lacks_a_layer_lacks_that_and_no_more(one: Path, other: Path) -> None:
    base = Path(shutil.copytree(one, one.parent / "base"))

    def cut(state: dict[str, Tensor]) -> None:
        kept = {f"bert.{name}": state.pop(name) for name in list(state)}
        state.update({name: part for name, part in kept.items() if ".layer.1." not in name})

    change_weights(base, cut)
    line = refusal(one, other, base=base)
    assert "lacks 16 of the tensors" in line and line.count("encoder.layer.1.") == 5


def test_other_shapes_are_refused_with_both(one: Path, other: Path) -> None:
    change_weights(other, lambda state: state.update({"pooler.dense.bias": torch.zeros(31)}))
    assert "pooler.dense.bias (32,) and (31,)" in refusal(one, other)


@pytest.mark.parametrize(
    "changed", [torch.arange(1, 5), torch.arange(4, dtype=torch.int32), torch.ones(4)]
)
def test_whole_numbers_that_differ_are_refused(one: Path, other: Path, changed: Tensor) -> None:
    change_weights(one, lambda state: state.update({"ids": torch.arange(4)}))
    change_weights(other, lambda state: state.update({"ids": changed}))
    for pair in ((one, other), (other, one)):
        assert "differ in ids" in refusal(*pair)


def tokenizer(folder: Path) -> dict[str, object]:
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


def test_vocabularies_of_other_sizes_are_refused(one: Path, other: Path) -> None:
    model = tokenizer(other)["model"]
    del model["vocab"]["bengal"]  # type: ignore[index]
    change_json(other / "tokenizer.json", model=model)
    assert "8,192 and 8,191 tokens" in refusal(one, other)


def test_vocabularies_of_another_order_are_refused(one: Path, other: Path) -> None:
    model = tokenizer(other)["model"]
    vocabulary = model["vocab"]  # type: ignore[index]
    vocabulary["cat"], vocabulary["dog"] = vocabulary["dog"], vocabulary["cat"]
    change_json(other / "tokenizer.json", model=model)
    line = refusal(one, other)
    assert "'cat'" in line and "'dog'" in line


def test_tokenizers_in_files_of_two_formats_are_noted(one: Path, other: Path) -> None:
    (one / "vocab.txt").unlink(missing_ok=True)
    words = tokenizer(other)["model"]["vocab"]  # type: ignore[index]
    (other / "tokenizer.json").unlink()
    (other / "vocab.txt").write_text("\n".join(sorted(words, key=words.get)), encoding="utf-8")
    (note,) = notes(one, other)
    assert "were not compared" in note and str(other) in note


def test_a_tokenizer_that_reads_otherwise_is_refused(one: Path, other: Path) -> None:
    normalizer = tokenizer(other)["normalizer"]
    change_json(other / "tokenizer.json", normalizer={**normalizer, "lowercase": False})  # type: ignore[dict-item]
    assert "read a text differently" in refusal(one, other)


def test_truncation_and_layout_of_a_tokenizer_do_not_count(one: Path, other: Path) -> None:
    truncation = {"direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0}
    change_json(other / "tokenizer.json", truncation=truncation)
    assert notes(one, other) == []


def test_without_tokenizer_json_the_vocabulary_file_counts(one: Path, other: Path) -> None:
    for folder, words in ((one, "a\nb\n"), (other, "b\na\n")):
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.txt").write_text(words, encoding="utf-8")
    assert "vocab.txt" in refusal(one, other)


def test_a_tokenizer_that_is_none_is_refused(one: Path, other: Path) -> None:
    (other / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert "tokenizer.json" in refusal(one, other)


def test_another_pooling_is_refused(one: Path, other: Path) -> None:
    change_json(other / POOLING, pooling_mode="cls")
    line = refusal(one, other)
    assert "Pooling" in line and "mean" in line and "cls" in line
    # A third that is plain in front hides nothing.
    third = plain(Path(shutil.copytree(one, one.with_name("third"))))
    assert "Pooling" in refusal(third, one, other)


def test_the_old_and_the_new_way_of_writing_a_pooling_are_one(one: Path, other: Path) -> None:
    old = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True,
           "pooling_mode_cls_token": False}  # fmt: skip
    (other / POOLING).write_text(json.dumps(old), encoding="utf-8")
    assert notes(one, other) == []
    old |= {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    (other / POOLING).write_text(json.dumps(old), encoding="utf-8")
    assert "Pooling" in refusal(one, other)


def test_another_head_is_refused(one: Path, other: Path) -> None:
    with_dense(one)
    assert "Transformer -> Pooling -> Dense" in refusal(one, other)
    with_dense(other, activation_function="torch.nn.modules.linear.Identity")
    line = refusal(one, other)
    assert "Tanh" in line and "Identity" in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_residual", True),
        ("module_input_name", "token_embeddings"),
        ("module_output_name", "projected"),
    ],
)
def test_a_head_that_reads_or_adds_otherwise_is_refused(
    one: Path, other: Path, key: str, value: object
) -> None:
    with_dense(one)
    assert notes(one, with_dense(Path(shutil.copytree(other, other.with_name("same"))))) == []
    assert key in refusal(one, with_dense(other, **{key: value}))


def test_a_pooling_that_leaves_the_prompt_out_is_another(one: Path, other: Path) -> None:
    change_json(other / POOLING, include_prompt=False)
    assert "include_prompt" in refusal(one, other)
    change_json(one / POOLING, include_prompt=False)
    assert notes(one, other) == []


def test_a_base_has_no_head_but_must_have_every_tensor(one: Path, other: Path) -> None:
    assert notes(one, one, base=plain(other)) == []
    with_dense(one)
    assert "2_Dense/linear.weight" in refusal(one, one, base=other)


def test_a_missing_normalisation_is_noted(one: Path, other: Path) -> None:
    modules = json.loads((other / "modules.json").read_text(encoding="utf-8"))
    modules.append(
        {
            "idx": 2,
            "name": "2",
            "path": "2_Normalize",
            "type": "sentence_transformers.models.Normalize",
        }
    )
    (other / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    said = notes(one, other)
    assert len(said) == 1 and "Normalize" in said[0] and str(other) in said[0]


def test_another_length_is_noted(one: Path, other: Path) -> None:
    change_json(other / "sentence_bert_config.json", max_seq_length=17)
    said = notes(one, other)
    assert len(said) == 1 and "17" in said[0] and "64" in said[0]


def test_a_base_with_a_prefix_and_a_head_is_found_under_the_models_names(
    one: Path, other: Path
) -> None:
    def dress(state: dict[str, Tensor]) -> None:
        for name in list(state):
            state[f"bert.{name}"] = state.pop(name)
        state["cls.predictions.bias"] = torch.zeros(3)

    change_weights(plain(other), dress)
    model, base = open_checkpoint(one), open_checkpoint(other)
    assert check_compatible([model], base) == []
    assert set(base) == set(model)
    name = "encoder.layer.0.output.dense.weight"
    assert torch.equal(base[name], model[name])
    # Among the models themselves another head is a difference.
    assert "lacks" in refusal(one, other)


def prompts(*folders: Path) -> None:
    check_prompts([open_checkpoint(folder) for folder in folders])


def test_prompts_that_differ_are_refused_by_role(one: Path, other: Path) -> None:
    prompts(one, other)
    change_json(other / PROMPTS, prompts={"query": "ask: ", "document": ""})
    with pytest.raises(InputError, match=r"'query' '' in .*'ask: ' in .*--prompts-from"):
        prompts(one, other)
    change_json(one / PROMPTS, prompts={"query": "ask: "})
    prompts(one, other, plain(Path(shutil.copytree(one, one.with_name("plain")))))
    # Which is used unasked decides vectors, too.
    change_json(one / PROMPTS, default_prompt_name="query")
    with pytest.raises(InputError, match="'default'"):
        prompts(one, other)


def test_the_settings_are_those_of_the_first_that_has_modules(one: Path, other: Path) -> None:
    models = [open_checkpoint(plain(one)), open_checkpoint(other)]
    assert settings_model(models) is models[1]
    assert settings_model(models[:1]) is models[0]


def test_a_base_from_tensorflow_has_other_names_for_the_same(one: Path, other: Path) -> None:
    def dress(state: dict[str, Tensor]) -> None:
        for name in list(state):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            state[f"bert.{old.replace('LayerNorm.bias', 'LayerNorm.beta')}"] = state.pop(name)

    change_weights(plain(other), dress)
    model, base = open_checkpoint(one), open_checkpoint(other)
    assert check_compatible([model], base) == []
    assert set(base) == set(model)
    name = "encoder.layer.0.output.LayerNorm.weight"
    assert torch.equal(base[name], model[name])
    assert base.stored_name(name) == "bert.encoder.layer.0.output.LayerNorm.gamma"


def test_a_prefix_is_found_where_the_first_tensor_is_missing(one: Path, other: Path) -> None:
    def dress(state: dict[str, Tensor]) -> None:
        first = min(state)
        for name in list(state):
            tensor = state.pop(name)
            if name != first:
                state[f"bert.{name}"] = tensor

    change_weights(plain(other), dress)
    assert "lacks 1 of the tensors" in refusal(one, base=other)


def test_another_type_of_numbers_is_noted(one: Path, other: Path) -> None:
    def halve(state: dict[str, Tensor]) -> None:
        for name, tensor in state.items():
            if tensor.is_floating_point():
                state[name] = tensor.bfloat16()

    change_weights(other, halve)
    (said,) = notes(one, other)
    assert "in float32" in said and "in bfloat16" in said and str(other) in said


def with_module(folder: Path, kind: str, **settings: object) -> Path:
    """Puts a module without weights behind the others."""
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    path = f"{len(modules)}_{kind}"
    module = {"idx": len(modules), "name": path[0], "path": path,
              "type": f"sentence_transformers.models.{kind}"}  # fmt: skip
    (folder / "modules.json").write_text(json.dumps([*modules, module]), encoding="utf-8")
    change_json(folder / path / "config.json", **settings)
    return folder


def test_a_router_is_refused_by_name(one: Path, other: Path) -> None:
    line = refusal(with_module(one, "Router"), with_module(other, "Router"))
    assert f"The model '{one}' has a Router" in line


def test_a_normalisation_before_a_head_is_no_matter_of_taste(one: Path, other: Path) -> None:
    line = refusal(with_dense(one), with_dense(with_module(other, "Normalize")))
    assert "Pooling -> Dense" in line and "Pooling -> Normalize -> Dense" in line


def test_other_modules_are_compared_by_what_both_say(one: Path, other: Path) -> None:
    with_module(one, "SpladePooling", pooling_strategy="max", embedding_dimension=8, chunk=2)
    with_module(other, "SpladePooling", pooling_strategy="max", embedding_dimension=9)
    assert notes(one, other) == []
    change_json(other / "2_SpladePooling/config.json", pooling_strategy="sum")
    assert "SpladePooling modules differ: pooling_strategy is max" in refusal(one, other)


def test_dropout_is_of_training_alone(one: Path, other: Path) -> None:
    assert notes(with_module(one, "Dropout", p=0.1), with_module(other, "Dropout", p=0.2)) == []


@pytest.mark.parametrize("key", ["is_causal", "use_bidirectional_attention"])
def test_models_read_in_one_direction_or_in_both_whatever_their_base_does(
    one: Path, other: Path, key: str
) -> None:
    for folder, value in ((one, True), (other, False)):
        change_json(folder / "config.json", **{key: value})
    assert f"{key} is True" in refusal(one, other)
    assert notes(one, one, base=other) == []


def test_capitals_are_left_or_not_in_both(one: Path, other: Path) -> None:
    for folder in (one, other):
        normalizer = tokenizer(folder)["normalizer"]
        change_json(folder / "tokenizer.json", normalizer={**normalizer, "lowercase": False})  # type: ignore[dict-item]
    change_json(other / "sentence_bert_config.json", do_lower_case=True)
    assert "do_lower_case is False" in refusal(one, other)
    change_json(one / "sentence_bert_config.json", do_lower_case=True)
    assert notes(one, other) == []


def test_another_similarity_is_noted_where_both_name_one(one: Path, other: Path) -> None:
    change_json(one / PROMPTS, similarity_fn_name="cosine")
    change_json(other / PROMPTS, similarity_fn_name=None)
    assert notes(one, other) == []
    change_json(other / PROMPTS, similarity_fn_name="dot")
    (said,) = notes(one, other)
    assert "by cosine" in said and f"'{other}' does by dot" in said


def loose(folder: Path, added: dict[str, int], **settings: object) -> Path:
    """Leaves a tokenizer as old versions saved it."""
    (folder / "tokenizer.json").unlink(missing_ok=True)
    (folder / "tokenizer_config.json").unlink(missing_ok=True)
    (folder / "vocab.txt").write_text("a\nb\nc\n", encoding="utf-8")
    change_json(folder / "tokenizer_config.json", **settings)
    (folder / "added_tokens.json").write_text(json.dumps(added), encoding="utf-8")
    return folder


def test_without_tokenizer_json_added_tokens_and_case_count_too(one: Path, other: Path) -> None:
    assert notes(loose(one, {"[ENT]": 3}), loose(other, {"[ENT]": 3})) == []
    line = refusal(one, loose(other, {"[REL]": 3}))
    assert "number 3 is '[ENT]' and '[REL]'" in line
    assert "number 3 is '[ENT]' and None" in refusal(one, loose(other, {}))
    # Newer versions have them elsewhere, with special tokens of the vocabulary.
    decoder = {"0": {"content": "a", "special": True}, "3": {"content": "[ENT]"}}
    assert notes(one, loose(other, {}, added_tokens_decoder=decoder)) == []
    decoder["3"]["content"] = "[REL]"
    assert "'[REL]'" in refusal(one, loose(other, {}, added_tokens_decoder=decoder))
    loose(one, {}, do_lower_case=True)
    assert notes(one, loose(other, {})) == []
    assert "do_lower_case" in refusal(one, loose(other, {}, do_lower_case=False))


def test_another_file_of_merges_is_another_tokenizer(one: Path, other: Path) -> None:
    for folder in (one, other):
        (loose(folder, {}) / "bpe.codes").write_text("a b 1\n", encoding="utf-8")
    assert notes(one, other) == []
    (other / "bpe.codes").write_text("b a 1\n", encoding="utf-8")
    assert "bpe.codes" in refusal(one, other)


def test_tokenizers_that_know_no_unknown_word_are_compared_by_their_words(
    one: Path, other: Path
) -> None:
    for folder, indent in ((one, None), (other, 1)):
        words = {"version": "1.0", "added_tokens": [], "truncation": None, "padding": None,
                 "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
                 "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"}}  # fmt: skip
        text = json.dumps(words, indent=indent)
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    assert notes(one, other) == []


@pytest.mark.parametrize("lacking", [0, 1])
def test_a_pooler_that_nothing_reads_may_be_missing_of_a_model(
    one: Path, other: Path, lacking: int
) -> None:
    def behead(state: dict[str, Tensor]) -> None:
        for name in [name for name in state if name.startswith("pooler.")]:
            del state[name]

    change_weights((one, other)[lacking], behead)
    models = [open_checkpoint(folder) for folder in (one, other)]
    (said,) = check_compatible(models)
    assert f"'{(one, other)[lacking]}' lacks pooler.dense.bias" in said
    assert set(models[0]) == set(models[1])
    assert ("pooler.dense.bias" in models[0]) == (lacking == 1)
    # Plain transformers may give what it pools.
    assert "pooler.dense.bias" in refusal(plain(one), plain(other))


@pytest.mark.parametrize("dressed", [0, 1])
def test_a_prefix_of_one_model_is_no_other_architecture(
    one: Path, other: Path, dressed: int
) -> None:
    def dress(state: dict[str, Tensor]) -> None:
        for name in list(state):
            state[f"bert.{name}"] = state.pop(name)

    change_weights((one, other)[dressed], dress)
    models = [open_checkpoint(folder) for folder in (one, other)]
    assert check_compatible(models) == []
    assert set(models[0]) == set(models[1])
    name = "encoder.layer.0.output.dense.weight"
    assert models[dressed].stored_name(name) == f"bert.{name}"
    assert torch.equal(models[0][name], models[1][name])


def test_what_the_tokenizer_does_itself_need_not_be_said(one: Path, other: Path) -> None:
    """Newer versions save no such flag, with which a model was published."""
    assert tokenizer(one)["normalizer"]["lowercase"]  # type: ignore[index]
    for value in (True, False):
        change_json(other / "sentence_bert_config.json", do_lower_case=value)
        assert notes(one, other) == notes(other, one) == []


def test_a_tokenizer_that_says_nothing_of_added_tokens_adds_its_own(one: Path, other: Path) -> None:
    """As DeBERTa's and T5's classes do."""
    (loose(one, {"[MASK]": 3}), loose(other, {}))
    (other / "added_tokens.json").unlink()
    assert notes(one, one, base=other) == notes(other, one) == []


def test_a_pooler_is_borrowed_by_whose_files_the_merge_has(one: Path, other: Path) -> None:
    def behead(state: dict[str, Tensor]) -> None:
        for name in [name for name in state if name.startswith("pooler.")]:
            del state[name]

    change_weights(other, behead)
    models = [open_checkpoint(plain(one)), open_checkpoint(other)]
    assert settings_model(models) is models[1]
    (said,) = check_compatible(models)
    assert "pooler.dense.bias" in said and "left out" in said
    # Each name is of a file of its own folder.
    assert {models[1].file(name) for name in models[1]} == {"model.safetensors"}
    assert set(models[0]) == set(models[1])


def test_a_model_without_its_tokenizer_is_named_and_a_base_needs_none(
    one: Path, other: Path
) -> None:
    (other / "tokenizer.json").unlink()
    for pair in ((one, other), (other, one)):
        assert f"The model '{other}' comes without its tokenizer" in refusal(*pair)
    (said,) = notes(one, one, base=other)
    assert said == f"'{other}' comes without its tokenizer, and none was compared."
    # A base's cannot stand in for the models' own.
    assert f"'{other}' comes without its tokenizer" in refusal(other, base=one)
    (one / "tokenizer.json").unlink()
    assert notes(one, other) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("cls_token", "cls"), ("max_tokens", "max"), ("mean_sqrt_len_tokens",) * 2,
     ("weightedmean_tokens", "weightedmean"), ("lasttoken", "lasttoken")],
)  # fmt: skip
def test_every_old_name_of_a_pooling_is_known(one: Path, other: Path, old: str, new: str) -> None:
    # Two modes, in any order; that prompts are read is what both mean where nothing is said.
    (one / POOLING).write_text(
        json.dumps({f"pooling_mode_{old}": True, "pooling_mode_mean_tokens": True})
    )
    (other / POOLING).write_text(
        json.dumps({"pooling_mode": ["mean", new], "include_prompt": True})
    )
    assert notes(one, other) == []


def test_a_head_without_a_word_on_its_activation_has_tanh(one: Path, other: Path) -> None:
    for folder in (one, other):
        with_dense(folder)
    config = json.loads((other / "2_Dense" / "config.json").read_text(encoding="utf-8"))
    del config["activation_function"]
    (other / "2_Dense" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert notes(one, other) == []
