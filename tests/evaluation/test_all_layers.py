from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder
from isometry.evaluation import all_layers
from isometry.evaluation.all_layers import AllLayers
from isometry.evaluation.nested import layer_vectors

TEXTS = ["a small animal that runs away", "x", "to go home, and then to come back again"]


def test_every_layer_of_a_text_is_kept_behind_one_another(
    tiny: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = AllLayers(tiny, 6)
    expected = layer_vectors(tiny, TEXTS, tokens=6)
    cached = CachedEncoder(encoder, tmp_path, "float32")
    found = cached.encode(TEXTS)
    assert encoder.dim == found.shape[1] == 64 and tiny.dim == 32
    np.testing.assert_array_equal(found.reshape(3, 2, 32), expected.transpose(1, 0, 2))
    assert not np.allclose(np.linalg.norm(found, axis=1), 1)
    monkeypatch.setattr(all_layers, "layer_vectors", lambda *_, **__: pytest.fail("again"))
    np.testing.assert_array_equal(cached.encode(TEXTS[::-1]), found[::-1])


def test_the_cut_and_the_layers_are_part_of_what_they_are(tiny: TextEncoder) -> None:
    prints = {AllLayers(tiny, 6).fingerprint(), AllLayers(tiny, 9).fingerprint()}
    assert len(prints | {tiny.fingerprint()}) == 3
    short, long = (AllLayers(tiny, cut).encode(TEXTS) for cut in (6, 30))
    np.testing.assert_allclose(short[1], long[1], atol=1e-5)
    assert not np.allclose(short[2], long[2], atol=1e-3)


def test_fewer_tokens_may_be_asked_for_but_no_more_than_the_cut(tiny: TextEncoder) -> None:
    encoder = AllLayers(tiny, 6)
    np.testing.assert_array_equal(encoder.encode(TEXTS, tokens=30), encoder.encode(TEXTS))
    np.testing.assert_array_equal(encoder.encode(TEXTS, tokens=4), AllLayers(tiny, 4).encode(TEXTS))
    assert not np.allclose(encoder.encode(TEXTS, tokens=4), encoder.encode(TEXTS), atol=1e-3)


def test_layers_come_in_the_order_of_the_texts(tiny: TextEncoder) -> None:
    texts = ["a b c d e f", "x", "one two three", "a cat"]  # a cycle, no exchange, by length
    found = layer_vectors(tiny, texts, tokens=9)
    for row, text in enumerate(texts):
        alone = layer_vectors(tiny, [text], tokens=9)
        np.testing.assert_allclose(found[:, row], alone[:, 0], atol=1e-5)


def test_a_layer_is_cut_to_its_first_dimensions_before_it_is_normalised() -> None:
    from isometry.evaluation.nested import reciprocal_ranks

    queries = np.array([[[9.0, 9, 9], [9, 9, 9]], [[1.0, 0, 7], [0, 1, 7]]])
    answers = np.array([[[9.0, 9, 9], [9, 9, 9]], [[1.0, 0, -7], [0.1, 2, -7]]])
    assert reciprocal_ranks(queries, answers, 2, 2).tolist() == [1, 1]
    # In three dimensions the last one decides: both find the second answer first.
    assert reciprocal_ranks(queries, answers, 2, 3).tolist() != [1, 1]
