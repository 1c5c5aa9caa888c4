"""A batch of several clients gives each what `encode` gives for its text alone."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import Role, TextEncoder
from isometry.serving.encoding import BatchEncoder
from isometry.serving.errors import ApiError

TEXTS = ["a", "how do I rotate the keys", "  \tÀ la Carte  \n", "語 😀", "word " * 300, "\ud800 x"]


def mixed(batches: BatchEncoder) -> tuple[np.ndarray, list[int]]:
    """Every text in both roles, all in one batch, roles taking turns."""
    items = [
        batches.of_texts([text], role, ["input"], truncate=True)[0]
        for text in TEXTS
        for role in ("query", "document")
    ]
    return batches.encode(items), [len(item.ids) for item in items]


def alone(encoder: TextEncoder | StaticEncoder) -> np.ndarray:
    return np.concatenate(
        [encoder.encode([text], role) for text in TEXTS for role in ("query", "document")]
    )


def test_texts_and_roles_of_all_kinds_in_one_batch(prompted: TextEncoder) -> None:
    vectors, lengths = mixed(BatchEncoder(prompted, "float32"))
    np.testing.assert_allclose(vectors, alone(prompted), atol=1e-5)
    assert max(lengths) == prompted.max_tokens
    # The prompts matter, or this test would say little.
    assert np.abs(vectors[2] - vectors[3]).max() > 0.01


def test_a_table(static_folder: Path) -> None:
    table = StaticEncoder.load(static_folder)
    vectors, _ = mixed(BatchEncoder(table, "float32"))
    np.testing.assert_allclose(vectors, alone(table), atol=1e-5)


def test_rounded_products_are_near_those_of_encode(minilm: TextEncoder) -> None:
    batches = BatchEncoder(minilm, "bfloat16")
    items = batches.of_texts(TEXTS[:4], "document", ["input"] * 4, truncate=False)
    one_by_one = [minilm.encode([text], precision="bfloat16")[0] for text in TEXTS[:4]]
    assert (batches.encode(items) * one_by_one).sum(axis=1).min() > 0.999


def test_a_model_that_pads_on_the_left_is_given_texts(prompted: TextEncoder) -> None:
    encoder = copy.deepcopy(prompted)
    encoder.model.tokenizer.padding_side = "left"
    batches = BatchEncoder(encoder, "float32")
    assert not batches.takes_ids
    vectors, _ = mixed(batches)
    np.testing.assert_allclose(vectors, alone(encoder), atol=1e-5)
    with pytest.raises(ApiError, match="texts"):
        batches.check_ids([[1, 2]], ["input"])


def test_a_prompt_that_is_not_pooled_keeps_roles_apart(prompted: TextEncoder) -> None:
    encoder = copy.deepcopy(prompted)
    encoder.model[1].include_prompt = False
    vectors, _ = mixed(BatchEncoder(encoder, "float32"))
    np.testing.assert_allclose(vectors, alone(encoder), atol=1e-5)


@pytest.mark.parametrize("role", ["query", "document"])
def test_tokens_are_counted_with_the_prompt(prompted: TextEncoder, role: Role) -> None:
    batches = BatchEncoder(prompted, "float32")
    items = batches.of_texts(TEXTS[:4], role, ["input"] * 4, truncate=False)
    assert [len(item.ids) for item in items] == prompted.lengths(TEXTS[:4], role)


def test_a_text_at_the_limit_passes_and_one_beyond_does_not(prompted: TextEncoder) -> None:
    batches = BatchEncoder(prompted, "float32")
    extra = prompted.lengths([""], "query")[0]
    words = "key " * (prompted.max_tokens - extra)
    assert len(batches.of_texts([words], "query", ["input"], truncate=False)[0].ids) == 128
    with pytest.raises(ApiError, match=r"input\.3 has 129 tokens; this model reads 128"):
        batches.of_texts([words + "key"], "query", ["input.3"], truncate=False)
    ids = list(range(1000, 1129))
    (item,) = batches.of_ids([ids], "query", ["input"], truncate=True)
    # As the model's own tokenizer cuts: what ends a text stays.
    assert item.ids.tolist() == [*ids[:127], ids[-1]]
