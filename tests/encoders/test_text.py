from __future__ import annotations

import copy
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from small_vocabulary import WORDS
from torch import nn

from isometry.core.errors import InputError
from isometry.encoders.packaged_models import packaged_folder
from isometry.encoders.text import Role, TextEncoder, token_batches

ROLES: tuple[Role, ...] = ("query", "document")
SENTENCES = [
    "Return the path.",
    "Open a file and read all of it, line by line.",
    "",
    "x",
    "🙂 naïve",
]


def cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def their(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


@pytest.fixture
def prompted(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny model with the prompts of the E5 family, as published."""
    folder = tmp_path / "prompted"
    shutil.copytree(tiny_folder, folder)
    config = folder / "config_sentence_transformers.json"
    values = json.loads(config.read_text())
    values["prompts"] = {"query": "query: ", "passage": "passage: "}
    config.write_text(json.dumps(values))
    return folder


# -- the same vectors as the peer's -----------------------------------------------------------


def test_hundreds_of_texts_get_the_vectors_of_sentence_transformers_from_what_we_saved(
    minilm: TextEncoder, texts: list[str], tmp_path: Path
) -> None:
    first_lines = sorted(
        {text.split("\n")[0] for text in texts}, key=lambda line: (len(line), line)
    )
    longest = sorted(texts, key=len)[-4:]
    some = [*first_lines[:996:6], *longest, *first_lines[1:996:6]]
    assert len(some) == 336 and min(minilm.lengths(longest, "document")) > minilm.max_tokens
    ours = minilm.encode(some)
    minilm.save(tmp_path / "ours")
    theirs = their(tmp_path / "ours").encode(some, normalize_embeddings=True, batch_size=64)
    assert ours.dtype == np.float32 and ours.shape == (336, 384)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


def test_what_sentence_transformers_saved_gives_the_same_vectors(
    minilm: TextEncoder, texts: list[str], tmp_path: Path
) -> None:
    minilm.model.save(str(tmp_path / "theirs"), create_model_card=False)
    loaded = TextEncoder.load(tmp_path / "theirs")
    np.testing.assert_array_equal(loaded.encode(texts[:10]), minilm.encode(texts[:10]))
    assert loaded.fingerprint() == minilm.fingerprint()


def test_vectors_come_in_the_order_of_the_texts_whatever_the_batches(
    tiny: TextEncoder, texts: list[str]
) -> None:
    some = texts[:24]
    alone = np.concatenate([tiny.encode([text]) for text in some])
    for batch_tokens in (1, 100, 100_000):
        together = tiny.encode(some, batch_tokens=batch_tokens)
        np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(alone - alone[::-1]).max() > 0.1
    assert tiny.encode([]).shape == (0, 32)


def test_bfloat16_keeps_the_direction(minilm: TextEncoder, texts: list[str]) -> None:
    some = sorted(texts[:120], key=len)[:100]
    coarse, fine = minilm.encode(some, precision="bfloat16"), minilm.encode(some)
    assert coarse.dtype == np.float32
    # Elsewhere float32 is faster, and is what is computed.
    assert np.array_equal(coarse, fine) != torch.cpu._is_avx512_bf16_supported()
    assert cosine(coarse, fine).min() >= 0.9999


def test_training_mode_changes_no_vector_and_is_kept(tiny: TextEncoder) -> None:
    expected = tiny.encode(SENTENCES)
    assert not any(part.training for part in tiny.modules())
    tiny.train()
    np.testing.assert_array_equal(tiny.encode(SENTENCES), expected)
    assert tiny.training and tiny.model.training


def test_gradients_flow_through_forward_and_padding_does_not_matter(tiny: TextEncoder) -> None:
    encoded = tiny(tiny.collate(SENTENCES, "document"))
    assert encoded.vector.shape == (5, 32) and encoded.tokens.shape[:2] == encoded.mask.shape
    assert encoded.mask.sum(dim=1).tolist() == tiny.lengths(SENTENCES, "document")
    masked = (encoded.tokens * encoded.mask[..., None]).sum(dim=1)
    torch.testing.assert_close(encoded.vector, masked / encoded.mask.sum(dim=1, keepdim=True))
    encoded.vector.sum().backward()
    grads = [parameter.grad for parameter in tiny.layers().parameters()]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads[4:])


def test_texts_are_cut_after_so_many_tokens(tiny: TextEncoder) -> None:
    long = "file " * 50
    # [CLS], the words and [SEP]
    for tokens in (3, 10):
        batch = tiny.collate([long, "x"], "document", tokens=tokens)
        assert batch["input_ids"].shape == (2, tokens)
        short = tiny.encode(["file " * (tokens - 2)])
        np.testing.assert_allclose(tiny.encode([long], tokens=tokens), short, atol=1e-6)
    assert tiny.collate([long * 9], "document", tokens=1000)["input_ids"].shape == (1, 64)
    assert tiny.lengths([long], "document") == [52]


def test_odd_texts_have_vectors(minilm: TextEncoder) -> None:
    odd = ["", " ", "🙂👩‍👩‍👧", "\x00", "\ud800 half", "שלום עולם", "word " * 200_000]
    vectors = minilm.encode(odd)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    # What is beyond the limit is cut off, not averaged in.
    np.testing.assert_allclose(vectors[-1:], minilm.encode(["word " * 300]), atol=1e-5)
    assert minilm.lengths(["", "word " * 300], "document") == [2, 302]


# -- prompts ----------------------------------------------------------------------------------


def test_queries_and_documents_get_the_prompts_of_the_models_configuration(
    prompted: Path, tiny: TextEncoder
) -> None:
    encoder = TextEncoder.load(prompted)
    assert encoder.prompts == {"query": "query: ", "document": "passage: "}
    for role, prompt in encoder.prompts.items():
        by_hand = tiny.encode([prompt + text for text in SENTENCES])
        np.testing.assert_allclose(encoder.encode(SENTENCES, role), by_hand, atol=1e-6)
        assert np.abs(by_hand - tiny.encode(SENTENCES)).max() > 1e-3
        lengths = tiny.lengths([prompt + text for text in SENTENCES], "document")
        assert encoder.lengths(SENTENCES, role) == lengths


def test_a_models_prompts_are_those_that_sentence_transformers_uses(
    prompted: Path, tmp_path: Path
) -> None:
    encoder = TextEncoder.load(prompted)
    encoder.save(tmp_path / "saved")
    queries, documents = (encoder.encode(SENTENCES, role) for role in ROLES)
    model = their(tmp_path / "saved")
    theirs = model.encode_query(SENTENCES, normalize_embeddings=True)
    np.testing.assert_allclose(queries, theirs, atol=1e-6)
    theirs = model.encode_document(SENTENCES, normalize_embeddings=True)
    np.testing.assert_allclose(documents, theirs, atol=1e-6)
    # Asked by name: for a model without a prompt named "document" they use none.
    model = their(prompted)
    for name, ours in (("query", queries), ("passage", documents)):
        theirs = model.encode(SENTENCES, prompt_name=name, normalize_embeddings=True)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert TextEncoder.load(tmp_path / "saved").prompts == encoder.prompts


def test_given_prompts_replace_the_models_own_and_survive_saving(
    prompted: Path, tmp_path: Path
) -> None:
    encoder = TextEncoder.load(prompted, query_prompt="", document_prompt="text: ")
    assert encoder.prompts == {"query": "", "document": "text: "}
    encoder.save(tmp_path / "saved")
    again = TextEncoder.load(tmp_path / "saved")
    assert again.prompts == encoder.prompts
    model = their(tmp_path / "saved")
    documents = model.encode_document(SENTENCES, normalize_embeddings=True)
    np.testing.assert_allclose(again.encode(SENTENCES), documents, atol=1e-6)
    queries = model.encode_query(SENTENCES, normalize_embeddings=True)
    np.testing.assert_allclose(again.encode(SENTENCES, "query"), queries, atol=1e-6)


def test_a_prompt_that_pooling_leaves_out_is_read_but_not_averaged(
    prompted: Path, tmp_path: Path
) -> None:
    config = prompted / "1_Pooling" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "include_prompt": False}))
    encoder = TextEncoder.load(prompted)
    # Pooling leaves out [CLS] and what comes of the prompt.
    prompt = encoder.tokenizer.encode("query: ", add_special_tokens=False).ids
    encoded = encoder(encoder.collate(SENTENCES, "query"))
    raw = encoder.model[0](encoder.collate(SENTENCES, "query"))["attention_mask"].bool()
    raw[:, : 1 + len(prompt)] = False
    by_hand = (encoded.tokens * raw[..., None]).sum(dim=1) / raw.sum(dim=1, keepdim=True)
    torch.testing.assert_close(encoded.vector, by_hand)
    encoder.save(tmp_path / "saved")
    theirs = their(tmp_path / "saved").encode_query(SENTENCES, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(SENTENCES, "query"), theirs, atol=1e-6)


# -- fingerprint ------------------------------------------------------------------------------


def test_saving_and_loading_keep_the_fingerprint(
    minilm: TextEncoder, prompted: Path, tmp_path: Path
) -> None:
    for number, encoder in enumerate((minilm, TextEncoder.load(prompted))):
        folder = tmp_path / str(number)
        encoder.save(folder)
        again = TextEncoder.load(folder)
        assert again.fingerprint() == encoder.fingerprint()
        again.save(folder)
        assert TextEncoder.load(folder).fingerprint() == encoder.fingerprint()


def one_weight(encoder: TextEncoder) -> None:
    weight = next(encoder.parameters())
    with torch.no_grad():
        weight[-1, -1] = torch.nextafter(weight[-1, -1], torch.tensor(9.0))


def query_prompt(encoder: TextEncoder) -> None:
    encoder.prompts["query"] = "q: "


def prompts_swapped(encoder: TextEncoder) -> None:
    encoder.prompts.update({"query": "", "document": "q: "})


def pooling(encoder: TextEncoder) -> None:
    encoder.model[1].include_prompt = False  # type: ignore[union-attr]


def length(encoder: TextEncoder) -> None:
    encoder.model.max_seq_length = 63


def normalised(encoder: TextEncoder) -> None:
    from sentence_transformers.base.modules import Normalize

    encoder.model.append(Normalize())


def scalar(encoder: TextEncoder) -> None:
    encoder.model[0].register_parameter("scale", nn.Parameter(torch.tensor(1.0)))


def scalar_doubled(encoder: TextEncoder) -> None:
    encoder.model[0].register_parameter("scale", nn.Parameter(torch.tensor(2.0)))


def test_whatever_decides_a_vector_changes_the_fingerprint(tiny: TextEncoder) -> None:
    changes: tuple[Callable[[TextEncoder], None], ...] = (
        *(lambda _: None, one_weight, query_prompt, prompts_swapped),
        *(pooling, length, normalised, scalar, scalar_doubled),
    )
    prints: list[str] = []
    for change in changes:
        changed = copy.deepcopy(tiny)
        change(changed)
        prints.append(changed.fingerprint())
    assert prints[0] == tiny.fingerprint()
    assert len(set(prints)) == len(changes)


# -- what is on disk ---------------------------------------------------------------------------


def test_a_saved_folder_is_whole_safe_and_says_nothing_of_this_machine(
    tiny: TextEncoder, tmp_path: Path
) -> None:
    folder = tmp_path / "secret-place" / "model"
    tiny.save(folder, card="# A card")
    tiny.save(folder, card="# Another card")
    assert (folder / "README.md").read_text() == "# Another card"
    again = TextEncoder.load(folder)
    again.save(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not any(path.suffix in (".bin", ".pt", ".pkl", ".pickle") for path in files)
    for path in files:
        content = path.read_bytes()
        assert b"secret-place" not in content and str(tiny.name).encode() not in content
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_plain_transformers_folder_gets_mean_pooling(
    tiny_folder: Path, tiny: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *given: reached.append(given))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **_: reached.append(given) or [])
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_folder / name, tmp_path)
    plain = TextEncoder.load(tmp_path)
    assert [type(part).__name__ for part in plain.model] == ["Transformer", "Pooling"]
    np.testing.assert_allclose(plain.encode(SENTENCES), tiny.encode(SENTENCES), atol=1e-6)
    assert reached == []


def no_model(folder: Path) -> None:
    for name in ("modules.json", "config.json"):
        (folder / name).unlink()


def only_a_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def add_dense(folder: Path) -> Path:
    modules = json.loads((folder / "modules.json").read_text())
    kind = "sentence_transformers.models.Dense"
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": kind})
    (folder / "modules.json").write_text(json.dumps(modules))
    dense = folder / "2_Dense"
    dense.mkdir()
    (dense / "config.json").write_text(
        '{"in_features": 32, "out_features": 8, "bias": true,'
        ' "activation_function": "torch.nn.modules.linear.Identity"}'
    )
    return dense


DENSE = {"linear.weight": torch.eye(8, 32), "linear.bias": torch.zeros(8)}


def a_pickle_behind(folder: Path) -> None:
    torch.save(DENSE, add_dense(folder) / "pytorch_model.bin")


def half_the_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def module_of(kind: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        modules = json.loads((folder / "modules.json").read_text())
        modules[1]["type"] = kind
        (folder / "modules.json").write_text(json.dumps(modules))

    return change


def broken_json(folder: Path) -> None:
    (folder / "modules.json").write_text("[")


def of_no_known_kind(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(folder / 'was run')!r}, 'w')\nclass Config: pass\n")


def static(folder: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    shutil.rmtree(folder)
    module = StaticEmbedding(tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[module], device="cpu").save(str(folder), create_model_card=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (no_model, "is no model"),
        (only_a_pickle, "safetensors"),
        (a_pickle_behind, "2_Dense/pytorch_model.bin"),
        (half_the_weights, "Cannot load"),
        (no_tokenizer, "without its tokenizer"),
        (module_of("subprocess.Popen"), "subprocess.Popen"),
        (module_of("sentence_transformers.models.Future"), "Future"),
        (broken_json, "Cannot load"),
        (of_no_known_kind, "Cannot load"),
        (own_code, "Cannot load"),
        (static, "no transformer"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(
    tiny_folder: Path, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    change(folder)
    with pytest.raises(InputError, match=said) as caught:
        TextEncoder.load(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert not (folder / "was run").exists()


def test_a_layer_behind_is_loaded_from_safetensors(
    tiny_folder: Path, tiny: TextEncoder, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    save_file(DENSE, add_dense(folder) / "model.safetensors")
    encoder = TextEncoder.load(folder)
    assert encoder.dim == 8
    cut = tiny.encode(SENTENCES)[:, :8]
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(SENTENCES), expected, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_are_named_with_the_text(tiny: TextEncoder, value: float) -> None:
    word = tiny.tokenizer.token_to_id("file")
    with torch.no_grad():
        next(tiny.parameters())[word] = value
    assert np.isfinite(tiny.encode(["a path", "a line"])).all()
    with pytest.raises(InputError, match="NaN or infinity for the text 'a file'"):
        tiny.encode(["a path", "a file", "a line"])


def test_the_tokenizer_is_a_copy_without_limits(tiny: TextEncoder) -> None:
    long = "file " * 500
    assert len(tiny.tokenizer.encode(long).ids) == 502
    tiny.tokenizer.enable_truncation(3)
    assert tiny.collate([long], "document")["input_ids"].shape == (1, 64)


def test_the_layers_are_the_transformers_blocks(minilm: TextEncoder, tiny: TextEncoder) -> None:
    assert len(minilm.layers()) == 6 and len(tiny.layers()) == 2
    assert {type(layer).__name__ for layer in minilm.layers()} == {"BertLayer"}
    for layer in tiny.layers():
        layer.register_forward_hook(lambda module, _, output: seen.append(id(module)))
    seen: list[int] = []
    tiny.encode(["x"])
    assert seen == [id(layer) for layer in tiny.layers()]


# -- vectors of inner layers -------------------------------------------------------------------


def test_every_layer_is_pooled_over_the_mask(minilm: TextEncoder, tiny: TextEncoder) -> None:
    states: list[torch.Tensor] = []
    for encoder in (minilm, tiny):
        batch = encoder.collate(SENTENCES, "document")
        with torch.no_grad():
            pooled = encoder.pooled_layers(batch)
            states.clear()
            hooks = [
                layer.register_forward_hook(lambda _, __, output: states.append(output))
                for layer in encoder.layers()
            ]
            vector = encoder(batch).vector
            again = encoder.pooled_layers(batch)
        for hook in hooks:
            hook.remove()
        count = len(encoder.layers())
        # One pass each: those of `forward`, then those of `pooled_layers`.
        assert len(states) == 2 * count
        assert pooled.shape == (count, len(SENTENCES), encoder.dim)
        torch.testing.assert_close(again, pooled, rtol=0, atol=0)
        mask = batch["attention_mask"].bool()
        for n, state in enumerate(states[:count]):
            by_hand = torch.stack([state[i, mask[i]].mean(dim=0) for i in range(len(SENTENCES))])
            torch.testing.assert_close(pooled[n], by_hand, rtol=1e-5, atol=1e-6)
        last = pooled[-1] if encoder is tiny else nn.functional.normalize(pooled[-1], dim=-1)
        torch.testing.assert_close(last, vector, rtol=0, atol=1e-6)
        # What a Normalize would have made equal.
        assert (pooled.norm(dim=-1) - 1).abs().min() > 0.05


def test_prompts_that_pooling_leaves_out_are_left_out_of_every_layer(prompted: Path) -> None:
    config = prompted / "1_Pooling" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "include_prompt": False}))
    encoder = TextEncoder.load(prompted)
    batch = encoder.collate(SENTENCES, "query")
    pooled = encoder.pooled_layers(batch)
    torch.testing.assert_close(pooled[-1], encoder(batch).vector)
    encoder.model[1].include_prompt = True  # type: ignore[union-attr]
    assert (encoder.pooled_layers(batch) - pooled).abs().amax(dim=(1, 2)).min() > 0.01


def test_gradients_of_an_inner_layer_reach_it_and_none_above(tiny: TextEncoder) -> None:
    tiny.pooled_layers(tiny.collate(SENTENCES, "document"))[0].pow(2).sum().backward()
    lower, upper = tiny.layers()
    assert not any(part.grad is not None and part.grad.any() for part in upper.parameters())
    for part in (next(tiny.parameters()), *(part for part in lower.parameters() if part.ndim == 2)):
        assert part.grad is not None and part.grad.any()


def test_a_layer_behind_pooling_leaves_inner_layers_without_vectors(tiny: TextEncoder) -> None:
    from sentence_transformers.base.modules import Dense

    batch = tiny.collate(SENTENCES, "document")
    tiny.pooled_layers(batch)
    tiny.model.append(Dense(32, 8))
    with pytest.raises(InputError, match="Transformer -> Pooling -> Dense"):
        tiny.pooled_layers(batch)


def body_of(folder: Path, body: Any) -> TextEncoder:
    """An encoder of any random transformer, with the tiny model's tokenizer."""
    body.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(packaged_folder("minilm") / name, folder)
    return TextEncoder.load(folder)


def test_states_that_a_shorter_model_would_not_pool_are_no_vectors(tmp_path: Path) -> None:
    from transformers import AlbertConfig, AlbertModel, ModernBertConfig, ModernBertModel

    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
    tokens = {"vocab_size": WORDS, "pad_token_id": 0}
    normed = ModernBertModel(
        ModernBertConfig(
            num_hidden_layers=3,
            cls_token_id=101,
            sep_token_id=102,
            bos_token_id=101,
            eos_token_id=102,
            **sizes,
            **tokens,
        )
    )
    shared = AlbertModel(AlbertConfig(embedding_size=16, num_hidden_layers=3, **sizes, **tokens))
    for name, body, said in (
        ("normed", normed, "changed before they are pooled"),
        ("shared", shared, "4 hidden states for 1 layers"),
    ):
        encoder = body_of(tmp_path / name, body)
        with pytest.raises(InputError, match=said) as caught:
            encoder.pooled_layers(encoder.collate(SENTENCES, "document"))
        assert "\n" not in str(caught.value)


# -- batches ----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 600), max_size=60), st.integers(1, 2000))
@settings(deadline=None)
def test_token_batches_hold_every_row_once_within_the_budget(
    lengths: list[int], batch_tokens: int
) -> None:
    batches = list(token_batches(lengths, batch_tokens))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) == 1 or len(batch) * longest <= batch_tokens
    order = [lengths[row] for batch in batches for row in batch]
    assert order == sorted(lengths, reverse=True)
    # Every batch but the last is as large as the budget allows.
    for batch in batches[:-1]:
        assert (len(batch) + 1) * max(1, lengths[batch[0]]) > batch_tokens


def test_a_model_that_was_saved_with_fewer_dimensions_gives_these(
    tiny_folder: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(tiny_folder), device="cpu", truncate_dim=8).save(str(tmp_path / "cut"))
    cut = TextEncoder.load(tmp_path / "cut")
    assert cut.dim == 8
    texts = ["sort a list", "copy a file with its permissions"]
    theirs = SentenceTransformer(str(tmp_path / "cut"), device="cpu")
    expected = theirs.encode(texts, normalize_embeddings=True)
    assert expected.shape == (2, 8)
    np.testing.assert_allclose(cut.encode(texts), expected, atol=1e-6)
    assert cut.fingerprint() != TextEncoder.load(tiny_folder).fingerprint()
    cut.save(tmp_path / "again")
    assert TextEncoder.load(tmp_path / "again").fingerprint() == cut.fingerprint()


def test_one_text_and_other_roles_and_precisions_are_refused(tiny: TextEncoder) -> None:
    with pytest.raises(InputError, match="a list of texts, not one text"):
        tiny.encode("one text")
    with pytest.raises(InputError, match="not 'passage'"):
        tiny.encode(["a"], cast(Any, "passage"))
    with pytest.raises(InputError, match="not 'fp16'"):
        tiny.encode(["a"], precision=cast(Any, "fp16"))
