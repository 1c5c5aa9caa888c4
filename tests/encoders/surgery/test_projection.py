from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from isometry.encoders.surgery.first_token import with_first_token
from isometry.encoders.surgery.layers import truncate
from isometry.encoders.surgery.projection import project
from isometry.encoders.text import TextEncoder

SENTENCES = ["Return the path.", "Open a file and read all of it, line by line.", "x"]


def test_vectors_are_the_encoders_on_other_axes(tiny: TextEncoder, tmp_path: Path) -> None:
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 32)))[0][:8].T.astype("f4").T
    small = project(truncate(tiny, 1), axes)
    expected = truncate(tiny, 1).encode(SENTENCES)
    expected = expected @ axes.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(small.encode(SENTENCES), expected, atol=1e-5)
    small.save(tmp_path / "small")
    plain = SentenceTransformer(str(tmp_path / "small"), device="cpu", local_files_only=True)
    np.testing.assert_allclose(plain.encode(SENTENCES), expected, atol=1e-5)
    # Unlike those of a plain cut, these axes may be learnt.
    assert all(part.requires_grad for part in small.parameters())
    assert not small.training and not any(part.training for part in small.modules())


def test_what_was_projected_is_projected_again_on_axes_of_its_own(tiny: TextEncoder) -> None:
    before = tiny.fingerprint()
    axes = np.random.default_rng(0).normal(size=(8, 32)).astype(np.float32)
    once = project(tiny, axes)
    twice = project(once, np.eye(8, dtype=np.float32)[[3, 1, 0, 7]])
    expected = once.encode(SENTENCES)[:, [3, 1, 0, 7]]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(twice.encode(SENTENCES), expected, atol=1e-5)
    assert once.encode(SENTENCES).shape == (3, 8)
    assert tiny.fingerprint() == before


def test_what_a_model_cuts_off_itself_counts_for_nothing(tiny: TextEncoder) -> None:
    whole = tiny.encode(["a path", "the day of the week"])
    tiny.model.truncate_dim = 16
    projected = project(tiny, np.eye(8, 16))
    expected = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    found = projected.encode(["a path", "the day of the week"])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match="do not fit"):
        project(tiny, np.eye(8, 20))


def test_prompts_go_along_each_to_its_role(tiny: TextEncoder) -> None:
    asking = TextEncoder(tiny.model, query_prompt="query: ", document_prompt="passage: ")
    assert project(asking, np.eye(8, 32)).prompts == asking.prompts
    assert with_first_token(asking, "[MASK]").prompts == asking.prompts
