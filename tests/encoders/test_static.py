from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from small_vocabulary import WORDS
from tokenizers import Tokenizer
from tokenizers.normalizers import NFC

from isometry.core.errors import InputError
from isometry.encoders.packaged_models import packaged_folder
from isometry.encoders.static import (
    StaticEncoder,
    real_tokens,
    sif_weights,
    token_basis,
    vocabulary_vectors,
)
from isometry.encoders.text import TextEncoder

SENTENCES = [
    "Return the path.",
    "Open a file and read all of it, line by line.",
    "",
    "x",
    "🙂 naïve [SEP] [MASK]",
    "the the the of",
]
# The special tokens, three that were never filled, and the first thousand or so that are text:
# signs, digits, letters, and the most frequent words.
KEPT = [0, 1, 2, 3, 100, 101, 102, 103, *range(999, 2200)]


def their(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


@pytest.fixture(scope="module")
def few_words_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM with its own weights and 1,209 tokens of its vocabulary."""
    folder = tmp_path_factory.mktemp("few") / "model"
    shutil.copytree(packaged_folder("minilm"), folder)
    (folder / "vocab.txt").unlink(missing_ok=True)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    place = {row: number for number, row in enumerate(KEPT)}
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {
        token: place[row] for token, row in vocabulary.items() if row in place
    }
    for added in tokenizer["added_tokens"]:
        added["id"] = place[added["id"]]
    for name in ("[CLS]", "[SEP]"):
        tokenizer["post_processor"]["special_tokens"][name]["ids"] = [place[vocabulary[name]]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    weights = load_file(folder / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    weights[name] = weights[name][KEPT].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["vocab_size"] = len(KEPT)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def teacher(few_words_folder: Path) -> TextEncoder:
    return TextEncoder.load(few_words_folder)


@pytest.fixture(scope="module")
def student(teacher: TextEncoder) -> StaticEncoder:
    return StaticEncoder.from_teacher(teacher, 64)


@pytest.fixture(scope="module")
def vectors(teacher: TextEncoder) -> np.ndarray:
    return vocabulary_vectors(teacher)


@pytest.fixture
def small() -> StaticEncoder:
    """A random table under MiniLM's tokenizer as it is in its file, with weights from 0 to 2."""
    tokenizer = Tokenizer.from_file(str(packaged_folder("minilm") / "tokenizer.json"))
    # It would cut, and pad, at 128 tokens.
    assert tokenizer.truncation and tokenizer.padding
    table = torch.randn(30522, 8, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(30522, generator=torch.Generator().manual_seed(1)) * 2
    weights[100] = 0
    return StaticEncoder(table, tokenizer, weights)


# -- the table out of a teacher ----------------------------------------------------------------

# model2vec 0.10.0: `distill(folder, pca_dims=64, quantize_to="float32")` of `few_words_folder`;
# the cosines of each text with those after it.
ASKED = [
    "city",
    "state",
    "the work of the house",
    "1 + 2 = 3.",
    "school",
    "university",
]
MODEL2VEC = [
    [0.68924, 0.46881, 0.02304, 0.5321, 0.49555],
    [0.55287, 0.17929, 0.64551, 0.64121],
    [0.38719, 0.70054, 0.43839],
    [0.12878, -0.00527],
    [0.70195],
]
LENGTHS = {"the": 1.551963, "city": 2.261346, "university": 2.161617}


def test_a_table_is_model2vecs_but_for_two_special_tokens(student: StaticEncoder) -> None:
    # [PAD] and [UNK] are text to it: two of 1,203 tokens. Without its weights, [2][1] is 0.689 and
    # [0][2] 0.043; without centring, everything is nearer to 1.
    vectors = student.encode(ASKED)
    cosines = vectors @ vectors.T
    for row, expected in enumerate(MODEL2VEC):
        np.testing.assert_allclose(cosines[row, row + 1 :], expected, atol=0.006)
    vocabulary = student.tokenizer.get_vocab()
    for token, length in LENGTHS.items():
        row = vocabulary[token]
        made = float((student.table[row] * student.weights[row]).detach().norm())
        assert made == pytest.approx(length, rel=0.003)


def test_a_token_is_what_the_teacher_makes_of_it_alone(
    teacher: TextEncoder, vectors: np.ndarray
) -> None:
    words = ["city", "the", "university", "3", "."]
    vocabulary = teacher.tokenizer.get_vocab()
    some = vectors[[vocabulary[word] for word in words]]
    lengths = np.linalg.norm(some, axis=1, keepdims=True)
    np.testing.assert_allclose(some / lengths, teacher.encode(words), atol=1e-5)
    # As pooled, before the teacher normalises.
    assert lengths.min() > 2
    assert not vectors[:8].any() and vectors[8:].any(axis=1).all()


def test_no_prompt_stands_before_a_token(few_words_folder: Path, vectors: np.ndarray) -> None:
    prompted = TextEncoder.load(few_words_folder, document_prompt="work: ")
    np.testing.assert_array_equal(vocabulary_vectors(prompted), vectors)


def test_vectors_have_the_teachers_own_width(tiny: TextEncoder) -> None:
    tiny.model.truncate_dim = 12
    assert tiny.dim == 12 and StaticEncoder.from_teacher(tiny).dim == 12


def test_special_and_unused_tokens_are_no_text(teacher: TextEncoder, tiny: TextEncoder) -> None:
    np.testing.assert_array_equal(real_tokens(teacher), np.arange(8, len(KEPT)))
    assert len(real_tokens(tiny)) == WORDS - 5 - 994


def test_the_axes_are_the_principal_components_of_the_real_tokens(
    teacher: TextEncoder, vectors: np.ndarray
) -> None:
    basis = token_basis(teacher, vectors, 16)
    np.testing.assert_allclose(basis @ basis.T, np.eye(16), atol=1e-4)
    centered = vectors[8:] - vectors[8:].mean(axis=0)
    spread = (centered @ basis.T).var(axis=0)
    expected = np.linalg.eigvalsh(np.cov(centered.T, bias=True))[::-1][:16]
    np.testing.assert_allclose(spread, expected, rtol=1e-3)
    assert token_basis(teacher, vectors).shape == (384, 384)
    # All of them change no distance: only the centre has moved.
    whole = StaticEncoder.of_vectors(teacher, vectors, token_basis(teacher, vectors))
    np.testing.assert_allclose(
        torch.pdist(whole.table[8:80].detach()), torch.pdist(torch.from_numpy(vectors[8:80])), 1e-3
    )
    assert float(whole.table[8:].detach().mean(dim=0).abs().max()) < 1e-4


@pytest.mark.parametrize("dim", [0, -1, 385])
def test_dimensions_that_are_not_there(teacher: TextEncoder, dim: int) -> None:
    with pytest.raises(InputError, match=f"cannot have {dim} dimensions"):
        token_basis(teacher, np.ones((len(KEPT), 384), dtype=np.float32), dim)


def test_weights_by_hand() -> None:
    # p = 1/2, 1/3, 1/4 over their sum, 13/12.
    shares = np.array([6, 4, 3]) / 13
    np.testing.assert_allclose(sif_weights(3, 0.1), 0.1 / (0.1 + shares))
    np.testing.assert_allclose(sif_weights(np.array([12.0, 8, 6]), 0.1), sif_weights(3, 0.1))
    assert sif_weights(np.array([1.0, 0.0]))[1] == 1
    assert (np.diff(sif_weights(1000)) > 0).all()


@pytest.mark.parametrize(
    ("frequencies", "smoothing"),
    [(0, 1e-4), (np.zeros(3), 1e-4), (np.array([1.0, -1.0]), 1e-4), (3, 0.0)],
)
def test_impossible_frequencies_raise(frequencies: Any, smoothing: float) -> None:
    with pytest.raises(ValueError, match="must"):
        sif_weights(frequencies, smoothing)


def test_given_frequencies_weigh_the_tokens(teacher: TextEncoder, vectors: np.ndarray) -> None:
    counts = np.ones(len(KEPT))
    city = teacher.tokenizer.token_to_id("city")
    counts[city], counts[:8] = 1e6, 1e9
    made = StaticEncoder.of_vectors(
        teacher, vectors, token_basis(teacher, vectors, 8), frequencies=counts, smoothing=0.01
    )
    share = 1e6 / (1e6 + len(KEPT) - 9)
    assert float(made.weights[city]) == pytest.approx(0.01 / (0.01 + share), rel=1e-5)
    # What is no text weighs nothing, however often it is said to occur.
    assert not made.weights[:8].any()


# -- encoding ----------------------------------------------------------------------------------


def test_a_text_is_the_weighted_mean_of_its_tokens(small: StaticEncoder) -> None:
    for text in ("open a file", "unbelievably", "the the file"):
        ids = small.tokenizer.encode(text, add_special_tokens=False).ids
        weights = small.weights[ids]
        mean = (weights[:, None] * small.table[ids]).sum(dim=0).detach() / weights.sum()
        np.testing.assert_allclose(small.encode([text])[0], mean / mean.norm(), atol=1e-6)
    assert np.abs(small.encode(["the file"]) - small.encode(["the the file"])).max() > 0.01


def test_vectors_come_in_the_order_of_the_texts_whatever_the_blocks(
    small: StaticEncoder, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [*texts[:40], "", texts[3]]
    together = small.encode(some)
    np.testing.assert_allclose(together[3], together[41], atol=1e-7)
    for size in (1, 7):
        monkeypatch.setattr("isometry.encoders.static._AT_ONCE", size)
        np.testing.assert_allclose(small.encode(some), together, atol=1e-6)
    assert small.encode([]).shape == (0, 8)
    lengths = np.linalg.norm(together, axis=1)
    assert lengths[40] == 0
    np.testing.assert_allclose(np.delete(lengths, 40), 1, atol=1e-6)


def test_what_weighs_nothing_is_left_out(student: StaticEncoder) -> None:
    # No token stands for this sign, and a marker may stand in a text.
    plain = student.encode(["the city"])
    np.testing.assert_allclose(student.encode(["the city 🙂 [MASK]"]), plain, atol=1e-6)
    assert not student.encode(["🙂", "[CLS] [SEP]"]).any()


def test_half_a_surrogate_pair_is_a_text(small: StaticEncoder) -> None:
    np.testing.assert_array_equal(small.encode(["a \ud800"]), small.encode(["a ?"]))


def test_cutting(small: StaticEncoder) -> None:
    np.testing.assert_allclose(
        small.encode(["open a file", "x"], tokens=2), small.encode(["open a", "x"]), atol=1e-6
    )
    assert small.lengths(["open a file", ""]) == [3, 0]


def test_gradients_reach_the_tokens_that_occur(small: StaticEncoder) -> None:
    small(small.collate(["open a file", "x"])).vector[:, 0].sum().backward()
    assert small.table.grad is not None
    hit = set(small.table.grad.any(dim=1).nonzero()[:, 0].tolist())
    ids = small.tokenizer.encode("open a file x", add_special_tokens=False).ids
    assert hit == set(ids)
    assert [name for name, _ in small.named_parameters()] == ["table"]


# -- saving ------------------------------------------------------------------------------------


def test_plain_sentence_transformers_makes_the_same_vectors(
    student: StaticEncoder, small: StaticEncoder, texts: list[str], tmp_path: Path
) -> None:
    long = " ".join(["city"] * 300 + ["university"] * 300)
    assert small.lengths([long]) == [600]
    for name, encoder in (("student", student), ("small", small)):
        encoder.save(tmp_path / name)
        some = [*SENTENCES, *texts[:200], long]
        ours = encoder.encode(some)
        theirs = their(tmp_path / name).encode(some)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        again = StaticEncoder.load(tmp_path / name)
        np.testing.assert_allclose(again.encode(some), ours, atol=1e-6)
        assert again.fingerprint() == encoder.fingerprint()
        assert again.dim == encoder.dim
        assert not list((tmp_path / name).rglob("*.bin"))
    assert student.fingerprint() != small.fingerprint()


def test_both_roles_are_one(small: StaticEncoder, tmp_path: Path) -> None:
    small.save(tmp_path / "small")
    plain = their(tmp_path / "small")
    expected = small.encode(["open a file"], "query")
    np.testing.assert_allclose(plain.encode_query(["open a file"]), expected, atol=1e-6)
    np.testing.assert_allclose(plain.encode_document(["open a file"]), expected, atol=1e-6)


def test_a_table_as_model2vec_keeps_it(small: StaticEncoder, tmp_path: Path) -> None:
    small.save(tmp_path / "theirs")
    place = next((tmp_path / "theirs").glob("**/model.safetensors"))
    row_of = torch.arange(30522) % 5000
    tensors = {
        "embeddings": small.table.detach()[:5000].clone(),
        "mapping": row_of,
        "weights": small.weights.clone(),
    }
    save_file(tensors, place)
    expected = StaticEncoder(small.table[row_of], small.tokenizer, small.weights)
    np.testing.assert_allclose(
        StaticEncoder.load(tmp_path / "theirs").encode(SENTENCES),
        expected.encode(SENTENCES),
        atol=1e-6,
    )


def test_what_is_no_static_model(tmp_path: Path, tiny_folder: Path, small: StaticEncoder) -> None:
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        StaticEncoder.load(tmp_path)
    with pytest.raises(InputError, match="a Transformer"):
        StaticEncoder.load(tiny_folder)
    small.save(tmp_path / "small")
    place = next((tmp_path / "small").glob("**/model.safetensors"))
    place.write_bytes(place.read_bytes()[:1000])
    with pytest.raises(InputError, match="Cannot load"):
        StaticEncoder.load(tmp_path / "small")


def test_what_a_table_would_leave_out_is_refused(tmp_path: Path, small: StaticEncoder) -> None:
    small.save(tmp_path / "small")
    plain = their(tmp_path / "small")
    kinds: dict[str, SentenceTransformer] = {
        "more than a table: StaticEmbedding -> Dense": SentenceTransformer(
            modules=[plain[0], Dense(plain[0].get_embedding_dimension(), 2)]
        ),
        "truncate_dim": SentenceTransformer(modules=[plain[0]], truncate_dim=2),
        "prompts": SentenceTransformer(modules=[plain[0]], prompts={"query": "find: "}),
    }
    for number, (said, model) in enumerate(kinds.items()):
        model.save(str(tmp_path / str(number)))
        with pytest.raises(InputError, match=said):
            StaticEncoder.load(tmp_path / str(number))


def test_a_table_and_weights_must_fit_the_tokens(tiny: TextEncoder) -> None:
    table = torch.zeros(WORDS, 4)
    with pytest.raises(ValueError, match=f"none for token {WORDS - 1}"):
        StaticEncoder(table[:-1], tiny.tokenizer)
    for weights in (torch.ones(WORDS - 1), -torch.ones(WORDS)):
        with pytest.raises(ValueError, match="weights must"):
            StaticEncoder(table, tiny.tokenizer, weights)


def test_the_tokenizer_is_part_of_the_fingerprint_and_the_table_is_a_copy(
    small: StaticEncoder,
) -> None:
    given = small.table.detach().clone()
    one = StaticEncoder(given, small.tokenizer)
    before = one.fingerprint()
    cased = Tokenizer.from_str(small.tokenizer.to_str())
    cased.normalizer = NFC()
    assert StaticEncoder(given, cased).fingerprint() != before
    given.zero_()
    assert one.fingerprint() == before
