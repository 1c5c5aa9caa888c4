from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The texts that were really encoded."""
    seen: list[str] = []
    encode = TextEncoder.encode

    def counting(self: TextEncoder, texts: list[str], *rest: Any, **options: Any) -> np.ndarray:
        seen.extend(texts)
        return encode(self, texts, *rest, **options)

    monkeypatch.setattr(TextEncoder, "encode", counting)
    yield seen


def test_nothing_is_computed_twice(
    tiny: TextEncoder, texts: list[str], tmp_path: Path, computed: list[str]
) -> None:
    some = [*texts[:20], texts[3], texts[0], ""]
    expected = tiny.encode(some)
    computed.clear()
    cached = CachedEncoder(tiny, tmp_path, "float32")
    np.testing.assert_allclose(cached.encode(some), expected, atol=1e-6)
    assert sorted(computed) == sorted(set(some))
    computed.clear()
    first = cached.encode(some)
    # Another process, with the model loaded anew.
    again = CachedEncoder(copy.deepcopy(tiny), tmp_path, "float32").encode(some[::-1])
    np.testing.assert_array_equal(again, first[::-1])
    assert computed == []
    CachedEncoder(tiny, tmp_path, "float32").encode([*some, "new", texts[1]])
    assert computed == ["new"]


def test_prompt_precision_and_weights_have_their_own_vectors(
    tiny_folder: Path, tmp_path: Path, computed: list[str]
) -> None:
    texts = ["a path", "a file"]
    options = {"query_prompt": "query: ", "document_prompt": ""}
    encoder = TextEncoder.load(tiny_folder, **options)
    other = TextEncoder.load(tiny_folder, **options)
    with torch.no_grad():
        next(iter(other.layers()[1].parameters()))[0, 0] += 1
    shorter = TextEncoder.load(tiny_folder, **options)
    shorter.model.max_seq_length = 3
    made = [
        CachedEncoder(encoder, tmp_path, "float32").encode(texts, "document"),
        CachedEncoder(encoder, tmp_path, "float32").encode(texts, "query"),
        CachedEncoder(encoder, tmp_path, "bfloat16").encode(texts, "document"),
        CachedEncoder(other, tmp_path, "float32").encode(texts, "document"),
        CachedEncoder(shorter, tmp_path, "float32").encode(texts, "document"),
    ]
    assert computed == texts * 5 and len(list(tmp_path.iterdir())) == 5
    for i, one in enumerate(made):
        assert all(not np.array_equal(one, another) for another in made[:i])
    np.testing.assert_allclose(made[1], encoder.encode(texts, "query"), atol=1e-6)
    np.testing.assert_array_equal(made[2], encoder.encode(texts, "document", precision="bfloat16"))
    # The query prompt has no say in documents, but in the encoder's identity: no stale vector.
    prompted = TextEncoder.load(tiny_folder, query_prompt="other: ", document_prompt="")
    np.testing.assert_array_equal(
        CachedEncoder(prompted, tmp_path, "float32").encode(texts, "document"), made[0]
    )
    assert not np.array_equal(
        CachedEncoder(prompted, tmp_path, "float32").encode(texts, "query"), made[1]
    )


def test_work_that_is_broken_off_keeps_its_blocks(
    tiny: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = TextEncoder.encode
    asked: list[int] = []

    def failing(self: TextEncoder, texts: list[str], *rest: Any, **options: Any) -> np.ndarray:
        asked.append(len(texts))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return encode(self, texts, *rest, **options)

    monkeypatch.setattr(TextEncoder, "encode", failing)
    texts = [f"number {i}" for i in range(2100)]
    with pytest.raises(KeyboardInterrupt):
        CachedEncoder(tiny, tmp_path, "float32").encode(texts)
    CachedEncoder(tiny, tmp_path, "float32").encode(texts)
    assert asked == [2048, 52, 52]
