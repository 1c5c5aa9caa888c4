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
