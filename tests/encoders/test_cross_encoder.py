from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder as Theirs
from torch import nn

from isometry.core.errors import InputError
from isometry.core.files import hash_folder
from isometry.encoders.cross_encoder import CrossEncoder
from isometry.encoders.packaged_models import packaged_folder
from isometry.encoders.text import TextEncoder


@pytest.fixture
def cross(tiny_original: TextEncoder) -> CrossEncoder:
    return CrossEncoder.from_encoder(tiny_original, seed=0)


@pytest.fixture(scope="module")
def few(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of all lengths, most of them cut."""
    some = [pair for pair in pairs if len(pair[0]) < 30][:20]
    return [*some, ("a", "b"), ("a path", ""), ("", "x " * 500), ("naïve 🙂", "\ud800 \n")]


def body(cross: CrossEncoder) -> nn.Module:
    return cross.model.base_model


def theirs(folder: Path) -> Theirs:
    return Theirs(str(folder), device="cpu", local_files_only=True)


def test_a_score_is_a_linear_head_on_the_pooled_first_state(
    tiny_original: TextEncoder, cross: CrossEncoder, few: list[tuple[str, str]]
) -> None:
    batch = cross.collate(few)
    states = tiny_original.model[0].model(**batch).last_hidden_state[:, 0]
    weights = tiny_original.model[0].model.pooler.dense
    pooled = torch.tanh(states @ weights.weight.T + weights.bias)
    head = cross.model.classifier
    assert head.weight.shape == (1, 32)
    expected = (pooled @ head.weight.T + head.bias)[:, 0]
    torch.testing.assert_close(cross(batch), expected, rtol=1e-5, atol=1e-6)
    scores, last = cross.forward_with_states(batch)
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(last[:, 0], states, rtol=1e-5, atol=1e-5)
    assert last.shape == (*batch["input_ids"].shape, 32)


def test_the_encoders_weights_are_kept_and_copied_under_a_new_head(tiny: TextEncoder) -> None:
    state = torch.random.get_rng_state()
    one, same, other = (CrossEncoder.from_encoder(tiny, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    own = tiny.model[0].model.state_dict()
    for made in (one, other):
        kept = body(made).state_dict()
        assert kept.keys() == own.keys()
        assert all(torch.equal(kept[name], own[name]) for name in own)
    assert torch.equal(one.model.classifier.weight, same.model.classifier.weight)
    assert not torch.equal(one.model.classifier.weight, other.model.classifier.weight)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()
    one.tokenizer.model_max_length = 7
    assert all(torch.equal(tiny.model[0].model.state_dict()[name], own[name]) for name in own)
    assert tiny.max_tokens == 64
    assert tiny.model[0].model.config.num_labels == 2


@pytest.mark.parametrize("tokens", [12, 40, None])
def test_only_the_document_is_cut_and_has_the_second_segment(
    tiny_original: TextEncoder, cross: CrossEncoder, tokens: int | None
) -> None:
    query, document = "what is a relative path", "a path that starts " * 40
    ids = [tiny_original.tokenizer.encode(text).ids[1:-1] for text in (query, document)]
    start, end = (tiny_original.tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    limit = tokens or 64
    batch = cross.collate([(query, document), ("a", "b"), (query, "")], tokens)
    room = limit - 3 - len(ids[0])
    assert batch["input_ids"][0].tolist() == [start, *ids[0], end, *ids[1][:room], end]
    segments = [0] * (len(ids[0]) + 2)
    assert batch["token_type_ids"][0].tolist() == segments + [1] * (room + 1)
    assert batch["attention_mask"].sum(dim=1).tolist() == [limit, 5, len(ids[0]) + 3]
    # A query may be longer than the share of it that cutting the longer text would leave.
    wide = "path " * (limit - 5)
    kept = cross.collate([(wide, document)], tokens)
    assert int((kept["token_type_ids"] == 0).sum()) == limit - 3


def test_a_query_that_leaves_no_room_is_refused(cross: CrossEncoder) -> None:
    cross.collate([("path " * 8, "a b")], 12)
    for words in (9, 500):
        with pytest.raises(InputError, match=rf"has {words} tokens and leaves no room.* have 12"):
            cross.collate([("fine", "a"), ("path " * words, "a b")], 12)
    with pytest.raises(InputError, match=r"has 61 tokens and leaves no room.* have 64"):
        cross.score([("path " * 61, "a b")])


def test_scores_do_not_depend_on_the_batch(cross: CrossEncoder, few: list[tuple[str, str]]) -> None:
    cross.train()
    found = cross.score(few)
    assert cross.training
    assert cross.model.dropout.training
    cross.eval()
    with torch.no_grad():
        alone = [float(cross(cross.collate([pair]))) for pair in few]
    np.testing.assert_allclose(found, alone, atol=1e-5)
    assert np.std(alone) > 0.01
    np.testing.assert_allclose(cross.score(few, batch_tokens=70), alone, atol=1e-5)
    short = cross.score(few, tokens=24)
    assert np.abs(short - found).max() > 0.01
    assert found.dtype == np.float32
    assert cross.score([]).shape == (0,)


def test_gradients_reach_body_and_head(cross: CrossEncoder, few: list[tuple[str, str]]) -> None:
    cross(cross.collate(few[:4])).sum().backward()
    for name, parameter in cross.named_parameters():
        assert parameter.grad is not None, name
        # A bias of keys is the same for all keys: a softmax does not see it.
        assert "key.bias" in name or parameter.grad.abs().sum() > 0, name


def test_sentence_transformers_gives_the_same_scores_from_what_we_saved(
    minilm: TextEncoder, few: list[tuple[str, str]], tmp_path: Path
) -> None:
    cross = CrossEncoder.from_encoder(minilm, seed=3, max_tokens=96)
    # Far from 0, where a sigmoid would show.
    with torch.no_grad():
        cross.model.classifier.weight.mul_(20)
    some = few[:8]
    found = cross.score(some)
    assert np.abs(found).max() > 0.5
    cross.save(tmp_path / "model")
    peer = theirs(tmp_path / "model")
    assert peer.max_seq_length == 96
    np.testing.assert_allclose(peer.predict(some), found, atol=1e-6)


def test_what_is_saved_is_loaded_as_it_was_from_our_folder_and_theirs(
    cross: CrossEncoder, few: list[tuple[str, str]], tmp_path: Path
) -> None:
    found = cross.score(few)
    cross.train().save(tmp_path / "ours", card="# Card\n")
    loaded = CrossEncoder.load(tmp_path / "ours")
    assert loaded.max_tokens == 64
    assert not loaded.training
    np.testing.assert_array_equal(loaded.score(few), found)
    # Another folder: with modules, and an activation that we leave out.
    peer = theirs(tmp_path / "ours")
    peer.activation_fn = nn.Sigmoid()
    peer.save(str(tmp_path / "theirs"), create_model_card=False)
    np.testing.assert_array_equal(CrossEncoder.load(tmp_path / "theirs").score(few), found)


def test_what_was_scored_leaves_no_trace_in_what_is_saved(
    cross: CrossEncoder, few: list[tuple[str, str]], tmp_path: Path
) -> None:
    cross.save(tmp_path / "before", card="# Card\n")
    cross.score(few, tokens=24)
    cross.save(tmp_path / "after", card="# Card\n")
    before = hash_folder(tmp_path / "before")
    assert before == hash_folder(tmp_path / "after")
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(before)
    assert str(tmp_path) not in (tmp_path / "after/config.json").read_text()


@pytest.mark.parametrize("source", ["packaged:minilm", "tiny"])
def test_an_encoder_is_no_cross_encoder(source: str, tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=r"no ranking head: it lacks classifier.bias, classifier"):
        CrossEncoder.load(tiny_folder if source == "tiny" else source)


@pytest.mark.parametrize("key", ["classifier.weight", "classifier.bias", "bert.pooler.dense.bias"])
def test_a_head_that_is_missing_in_part_is_missing(
    cross: CrossEncoder, tmp_path: Path, key: str
) -> None:
    folder = tmp_path / "model"
    cross.save(folder)
    weights = load_file(folder / "model.safetensors")
    # As the published checkpoints of PROP have it, under a name that transformers drops.
    weights["cls." + key] = weights.pop(key)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=f"no ranking head: it lacks {key}"):
        CrossEncoder.load(folder)


def test_a_classifier_is_no_cross_encoder(cross: CrossEncoder, tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification

    config = copy.deepcopy(cross.model.config)
    config.num_labels = 3
    model = BertForSequenceClassification(config)
    cross.save(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="tells 3 classes apart"):
        CrossEncoder.load(tmp_path / "model")
    with pytest.raises(ValueError, match="one output, not 3"):
        CrossEncoder(model, cross.tokenizer)


def test_what_cannot_be_loaded_says_so(cross: CrossEncoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no model"):
        CrossEncoder.load(tmp_path / "nowhere")
    folder = tmp_path / "model"
    cross.save(folder)
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"comes without its tokenizer|Cannot load"):
        CrossEncoder.load(folder)
    cross.save(folder)
    torch.save(cross.model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="Cannot load a cross-encoder"):
        CrossEncoder.load(folder)
    cross.save(folder)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="Cannot load a cross-encoder"):
        CrossEncoder.load(folder)


def test_numbers_that_are_not_finite_are_named(cross: CrossEncoder) -> None:
    with torch.no_grad():
        cross.model.classifier.bias.fill_(torch.nan)
    with pytest.raises(InputError, match="NaN or infinity for 'a query' and 'a document'"):
        cross.score([("a query", "a document")])


def test_the_limit_is_the_encoders_or_as_far_as_positions_go(tiny_original: TextEncoder) -> None:
    assert CrossEncoder.from_encoder(tiny_original, 0).max_tokens == 64
    assert CrossEncoder.from_encoder(tiny_original, 0, max_tokens=128).max_tokens == 128
    with pytest.raises(InputError, match="positions for 128 tokens, not for 129"):
        CrossEncoder.from_encoder(tiny_original, 0, max_tokens=129)


def test_weights_that_do_not_fit_are_refused(tiny: TextEncoder) -> None:
    del tiny.model[0].model.encoder.layer[1]
    with pytest.raises(InputError, match=r"do not fit into a cross-encoder: encoder.layer.1"):
        CrossEncoder.from_encoder(tiny, 0)


def test_an_architecture_with_a_head_of_its_own_and_without_segments(
    few: list[tuple[str, str]], tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(dim=32, n_layers=1, n_heads=4, hidden_dim=64)
    DistilBertModel(config).save_pretrained(tmp_path / "body")
    shutil.copy(packaged_folder("minilm") / "tokenizer.json", tmp_path / "body")
    tokenizer = json.loads((packaged_folder("minilm") / "tokenizer_config.json").read_text())
    tokenizer |= {"model_input_names": ["input_ids", "attention_mask"], "model_max_length": 48}
    (tmp_path / "body/tokenizer_config.json").write_text(json.dumps(tokenizer))
    modules = [Transformer(str(tmp_path / "body")), Pooling(32)]
    encoder = TextEncoder(SentenceTransformer(modules=modules, device="cpu"))
    cross = CrossEncoder.from_encoder(encoder, 0)
    assert set(cross.collate(few)) == {"input_ids", "attention_mask"}
    found = cross.score(few)
    cross.save(tmp_path / "model")
    np.testing.assert_array_equal(CrossEncoder.load(tmp_path / "model").score(few), found)
    own = [pair for pair in few if len(pair[0]) < 60 and "\ud800" not in pair[1]]
    np.testing.assert_allclose(theirs(tmp_path / "model").predict(own), cross.score(own), atol=1e-6)


@pytest.mark.parametrize("side", ["right", "left"])
def test_words_are_those_of_the_document_alone(
    cross: CrossEncoder, few: list[tuple[str, str]], side: str
) -> None:
    cross.tokenizer.padding_side = side
    batch, words = cross.collate_with_words(few, 40)
    expected = cross.collate(few, 40)
    assert batch.keys() == expected.keys()
    assert all(torch.equal(batch[name], expected[name]) for name in batch)
    assert words.shape == tuple(batch["input_ids"].shape)
    plain = copy.deepcopy(cross.tokenizer.backend_tokenizer)
    plain.no_truncation()
    plain.no_padding()
    for row, (_, document) in enumerate(few):
        alone = plain.encode(document.replace("\ud800", "?"), add_special_tokens=False)
        own = np.flatnonzero(words[row] >= 0)
        assert batch["input_ids"][row, own].tolist() == alone.ids[: len(own)]
        assert words[row, own].tolist() == alone.word_ids[: len(own)]
        # All of the second segment but its last token; padding has the first's number.
        assert len(own) == int(batch["token_type_ids"][row].sum()) - 1
    assert max(np.unique(own, return_counts=True)[1].max() for own in words[:20]) > 1


def test_words_need_a_tokenizer_that_knows_them(
    cross: CrossEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BatchEncoding

    monkeypatch.setattr(cross, "_tokenize", lambda *_: BatchEncoding({"input_ids": [[1, 2]]}))
    with pytest.raises(InputError, match="does not tell which tokens are one word"):
        cross.collate_with_words([("a", "b")])
