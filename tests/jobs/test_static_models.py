"""Tables of token vectors where a model is asked for."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from beir_folders import write_beir
from living_spaces import alike, built_anew
from sentence_transformers import SentenceTransformer
from torch import Tensor
from tuned_folders import change_weights

import isometry
from isometry import InputError, Space
from isometry.cli.main import main
from isometry.core.workspace import Workspace
from isometry.encoders.encoder import load_encoder
from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import TextEncoder
from isometry.jobs import merge_evaluation
from isometry.jobs.encode import encode
from isometry.jobs.merge_tasks import open_tasks
from isometry.jobs.preparation import Questions
from isometry.jobs.ranking import Collection, collection, found_by_vectors


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
    assert after.search("?!", mode="dense") == []
    for mode in ("lexical", "hybrid"):
        assert all(np.isfinite(hit.score) for hit in after.search("?!", mode=mode))
    isometry.migrate(space, back=True)
    again = Space.open(space)
    assert [hit.document for hit in again.search("a queue with priorities", mode="dense")] == found


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _empty_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def _no_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("what?")


def _unknown_module(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "sentence_transformers.models.StaticEmbeddings"
    (folder / "modules.json").write_text(json.dumps(modules))


def _flat(folder: Path) -> None:
    _change_table(folder, lambda table: table[:, 0])


def _short(folder: Path) -> None:
    _change_table(folder, lambda table: table[:30_000])


def _broken(folder: Path) -> None:
    _change_table(folder, lambda table: table.index_fill(0, torch.tensor([2000]), torch.nan))


def _change_table(folder: Path, change: Callable[[Tensor], Tensor]) -> None:
    def changed(state: dict[str, Tensor]) -> None:
        (name,) = state
        state[name] = change(state[name]).contiguous()

    change_weights(folder, changed)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_no_tokenizer, "Cannot load a static model"),
        (_empty_tokenizer, "Cannot load a static model"),
        (_no_json, "Cannot load a static model"),
        (_unknown_module, "Cannot load a text encoder"),
        (_flat, "static model"),
        (_short, "Cannot load .* a table of 30000 rows has none for token 30521"),
        (_broken, "NaN or infinity in its table"),
    ],
)
def test_a_damaged_table_is_named(
    damage: Callable[[Path], None], said: str, table: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = Path(shutil.copytree(table, tmp_path / "table"))
    damage(folder)
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "one text"}\n')
    out = tmp_path / "vectors.parquet"
    assert main(["encode", str(folder), str(texts), "--out", str(out)]) == 2
    assert re.search(said, " ".join(capsys.readouterr().err.split()))
    assert not out.exists()


def test_what_needs_layers_refuses_a_table(table: Path, docs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="static already"):
        isometry.distill(table, docs, tmp_path / "out", static=True)
    with pytest.raises(InputError, match="no transformer but a StaticEmbedding"):
        isometry.fit(docs, base=str(table), out=tmp_path / "fitted")


def test_a_text_without_a_known_token_is_told_and_a_query_finds_nothing_by_it(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "a word"}\n{"text": "\ua66e"}\n')
    figures = encode(table, tmp_path / "texts.jsonl", tmp_path / "v.parquet")
    assert (figures["texts"], figures["blank"]) == (2, 1)
    vectors = np.array(pq.read_table(tmp_path / "v.parquet")["vector"].to_pylist())
    assert vectors.any(axis=1).tolist() == [True, False]
    arguments = ["encode", str(table), str(tmp_path / "texts.jsonl"), "--out"]
    assert main([*arguments, str(tmp_path / "w.parquet"), "--quiet"]) == 0
    assert "1 have no token that the model knows" in " ".join(capsys.readouterr().out.split())

    # Each is judged to what comes first among equals.
    answers = [f"number {count} of the lines" for count in range(12)]
    asked = [("\ua66e" * (1 + count), answer) for count, answer in enumerate(answers)]
    folder = write_beir(tmp_path / "beir", asked)
    rows = isometry.evaluate([table], beir=folder)["rows"]
    (dense,) = [row for row in rows if row["mode"] == "dense"]
    assert dense["queries"] == 12 and dense["ndcg@10"] == 0 and dense["recall@10"] == 0


def test_an_evaluation_of_merged_tables_finds_nothing_for_what_they_do_not_know(
    table: Path, tiny_docs: Path, tmp_path: Path
) -> None:
    (task,) = open_tasks([tiny_docs])
    with Workspace(tmp_path / "work", "x") as work:
        data = merge_evaluation.held_out(work, task, 0)
    # Judged to what comes first among equals.
    asked = Questions(["\ua66e", "sort a list"], [{0: 1}, {0: 1}])
    data = replace(data, questions={**data.questions, "test": asked})
    scores = merge_evaluation.scores_of(str(table), data, tmp_path / "vectors")
    assert scores["ndcg@10"][0] == 0 and scores["recall@100"][0] == 0
    ranked = found_by_vectors(StaticEncoder.load(table), passages(), ["\ua66e", "some words"])
    assert (ranked.order[0] == -1).all() and (ranked.scores[0] == 0).all()
    assert sorted(ranked.order[1][:2].tolist()) == [0, 1]


def passages() -> Collection:
    chunks = pa.table({"document": ["a", "b"], "position": [0, 0], "text": ["words", "a list"]})
    return collection(["a", "b"], chunks)
