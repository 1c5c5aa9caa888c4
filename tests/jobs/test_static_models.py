"""Tables of token vectors where a model is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from living_spaces import alike, built_anew
from sentence_transformers import SentenceTransformer

import isometry
from isometry import InputError, Space
from isometry.encoders.encoder import load_encoder
from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import TextEncoder
from isometry.jobs.encode import encode


def test_each_kind_of_model_is_loaded_as_what_it_is(table: Path, tiny_folder: Path) -> None:
    assert isinstance(load_encoder(table), StaticEncoder)
    assert isinstance(load_encoder(tiny_folder), TextEncoder)
    with pytest.raises(InputError, match="no model 'nothing'"):
        load_encoder("nothing")


def test_encode_gives_the_vectors_of_sentence_transformers_and_cuts_nothing(
    table: Path, tmp_path: Path
) -> None:
    long = "words " * 3000 + "end"
    (tmp_path / "texts.jsonl").write_text(f'{{"text": "a short one"}}\n{{"text": "{long}"}}\n')
    figures = encode(table, tmp_path / "texts.jsonl", tmp_path / "v.parquet")
    assert (figures["texts"], figures["truncated"], figures["dim"]) == (2, 0, 384)
    found = pq.read_table(tmp_path / "v.parquet")
    model = SentenceTransformer(str(table), device="cpu")
    expected = model.encode(found["text"].to_pylist())
    np.testing.assert_allclose(np.array(found["vector"].to_pylist()), expected, atol=1e-6)


def test_a_space_goes_over_to_a_table_and_back(table: Path, space: Path, tmp_path: Path) -> None:
    before = Space.open(space)
    found = [hit.document for hit in before.search("a queue with priorities", mode="dense")]
    isometry.migrate(space, table)
    after = Space.open(space)
    assert after.manifest["encoder"]["max_tokens"] is None
    assert after.verify()
    assert alike(after, built_anew(after, tmp_path / "anew"))
    top = [hit.document for hit in after.search("the day of the week", 3, "dense")]
    assert any("calendar" in name for name in top)
    # A query without a word that counts has no direction; words and fusion still answer.
    for mode in ("dense", "lexical", "hybrid"):
        assert all(np.isfinite(hit.score) for hit in after.search("?!", mode=mode))
    isometry.migrate(space, back=True)
    again = Space.open(space)
    assert [hit.document for hit in again.search("a queue with priorities", mode="dense")] == found


def test_what_needs_layers_refuses_a_table(table: Path, docs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="static already"):
        isometry.distill(table, docs, tmp_path / "out", static=True)
    with pytest.raises(InputError, match="no transformer but a StaticEmbedding"):
        isometry.fit(docs, base=str(table), out=tmp_path / "fitted")
