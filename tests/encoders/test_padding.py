from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from isometry.encoders.padding import pad, same_batch
from isometry.encoders.text import TextEncoder

SOME = ["", "x", "  spaces \n", "naïve Café", "file " * 100, "\ud800", *"abcdefghijklmnop"]


def collated(encoder: TextEncoder, rows: list[int], tokens: int | None) -> tuple[Any, Any]:
    _, collate = encoder._collator(SOME, "document", tokens)
    return collate(rows), encoder.collate([SOME[row] for row in rows], "document", tokens=tokens)


@pytest.mark.parametrize("tokens", [None, 3, 10, 1000])
def test_batches_from_ids_are_those_of_the_models_tokenizer(
    tiny: TextEncoder, tokens: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rows in ([4], [0, 4, 1], [2, 3, 5, 6]):
        ours, theirs = collated(tiny, rows, tokens)
        assert same_batch(ours, theirs)
    # And they are made without it: it is asked once, for the trial.
    asked: list[int] = []
    whole = type(tiny).collate
    monkeypatch.setattr(
        TextEncoder,
        "collate",
        lambda self, texts, *rest, **more: (
            asked.append(len(texts)) or whole(self, texts, *rest, **more)
        ),
    )
    tiny.encode(SOME)
    assert asked == [3]


@pytest.mark.parametrize("change", [{"padding_side": "left"}, {"truncation_side": "left"}])
def test_a_tokenizer_that_pads_or_cuts_otherwise_is_left_to_itself(
    tiny_folder: Path, tmp_path: Path, change: dict[str, str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    config = next(folder.rglob("tokenizer_config.json"))
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    encoder = TextEncoder.load(folder)
    for name, value in change.items():
        assert getattr(encoder.model.tokenizer, name) == value
    assert all(same_batch(*collated(encoder, [row, 4], None)) for row in (0, 1, 4))
    if "padding_side" not in change:
        # BERT's positions count padding on the left, so there the batch decides.
        some = [text for text in SOME if text != "\ud800"]
        theirs = SentenceTransformer(str(folder), device="cpu").encode(
            some, normalize_embeddings=True
        )
        np.testing.assert_allclose(encoder.encode(some), theirs, atol=1e-5)


def test_batches_of_other_names_or_values_differ() -> None:
    ids = [np.array([1, 2], dtype=np.int32), np.array([3], dtype=np.int32)]
    like = pad(ids, 0, {"modality": "text"})
    assert like == {"modality": "text"}
    batch = pad(ids, 0, dict.fromkeys(("input_ids", "attention_mask"), None))
    assert batch["input_ids"].tolist() == [[1, 2], [3, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert same_batch(batch, dict(batch))
    assert not same_batch(batch, pad(ids, 9, batch))
    assert not same_batch(batch, {**batch, "token_type_ids": batch["input_ids"]})
