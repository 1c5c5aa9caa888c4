from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tuned_folders import change_json, change_weights

import isometry
from isometry import InputError
from isometry.cli.main import main
from isometry.core.files import hash_folder
from isometry.encoders.text import TextEncoder
from isometry.jobs import encode as job


def table(folder: Path, texts: list[str]) -> Path:
    path = folder / "texts.jsonl"
    rows = [{"id": f"r{n}", "title": "", "text": text} for n, text in enumerate(texts)]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_vectors_come_in_the_order_of_the_rows(
    tmp_path: Path, texts: list[str], small_folder: Path
) -> None:
    some = texts[:40]
    figures = job.encode(small_folder, table(tmp_path, some), tmp_path / "v.parquet")
    assert figures["texts"] == 40
    found = pq.read_table(tmp_path / "v.parquet")
    assert found.column_names == ["id", "text", "vector"]
    assert found["id"].to_pylist() == [f"r{n}" for n in range(40)]
    assert found.schema.field("vector").type.list_size == 64
    encoder = TextEncoder.load(small_folder)
    expected = encoder.encode(found["text"].to_pylist())
    np.testing.assert_allclose(np.array(found["vector"].to_pylist()), expected, atol=1e-6)
    longer = [n > encoder.max_tokens for n in encoder.lengths(some, "document")]
    assert figures["truncated"] == sum(longer) > 0


def test_a_killed_run_goes_on_with_its_shards(
    tmp_path: Path, texts: list[str], small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "SHARD", 10)
    source, out = table(tmp_path, texts[:35]), tmp_path / "v.parquet"
    encoded: list[int] = []
    whole = TextEncoder.encode

    def counted(self: TextEncoder, some: list[str], *rest: object, **more: object) -> object:
        if len(encoded) == 2 and not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        encoded.append(len(some))
        return whole(self, some, *rest, **more)

    monkeypatch.setattr(TextEncoder, "encode", counted)
    with pytest.raises(KeyboardInterrupt):
        job.encode(small_folder, source, out)
    assert not out.exists()
    (tmp_path / "again").touch()
    job.encode(small_folder, source, out)
    assert encoded == [10, 10, 10, 5]
    assert pq.read_table(out).num_rows == 35
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "again", "texts.jsonl", "v.parquet",
    ]  # fmt: skip


def test_another_source_does_not_go_on_with_old_shards(
    tmp_path: Path, texts: list[str], small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "v.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(job, "_join", stop)
        with pytest.raises(KeyboardInterrupt):
            job.encode(small_folder, table(tmp_path, texts[:5]), out)
    other = table(tmp_path, texts[5:10])
    with pytest.raises(InputError, match="another source") as caught:
        job.encode(small_folder, other, out)
    assert "--force" in caught.value.hint
    assert job.encode(small_folder, other, out, force=True)["texts"] == 5
    assert pq.read_table(out).num_rows == 5


def test_another_model_in_the_same_place_does_not_go_on_with_old_shards(
    tmp_path: Path, texts: list[str], small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    model = Path(shutil.copytree(small_folder, tmp_path / "model"))
    source, out = table(tmp_path, texts[:5]), tmp_path / "v.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(job, "_join", stop)
        with pytest.raises(KeyboardInterrupt):
            job.encode(model, source, out)
    change_json(model / "config_sentence_transformers.json", prompts={"document": "passage: "})
    with pytest.raises(InputError, match="other settings"):
        job.encode(model, source, out)


def test_a_model_that_changes_under_its_name_does_not_go_on_with_old_shards(
    tmp_path: Path, texts: list[str], small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    model = Path(shutil.copytree(small_folder, tmp_path / "model"))
    # As of a model of the hub, no file tells that it is another one.
    monkeypatch.setattr(job, "model_files", lambda _: {})
    source, out = table(tmp_path, texts[:5]), tmp_path / "v.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(job, "_join", stop)
        with pytest.raises(KeyboardInterrupt):
            job.encode(model, source, out)
    change_weights(model, lambda state: state["embeddings.LayerNorm.bias"].add_(1))
    with pytest.raises(InputError, match="is not the one that the work in"):
        job.encode(model, source, out)
    change_weights(model, lambda state: state["embeddings.LayerNorm.bias"].sub_(1))
    assert job.encode(model, source, out)["texts"] == 5


def test_what_comes_to_the_place_meanwhile_is_not_replaced(
    tmp_path: Path, texts: list[str], small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, join = table(tmp_path, texts[:5]), tmp_path / "v.parquet", job._join

    def meanwhile(*arguments: Any) -> None:
        join(*arguments)
        out.write_text("years of work")

    monkeypatch.setattr(job, "_join", meanwhile)
    with pytest.raises(InputError, match="exists"):
        job.encode(small_folder, source, out)
    assert out.read_text() == "years of work"
    # Nothing that was encoded is lost.
    monkeypatch.setattr(job, "_join", join)
    monkeypatch.setattr(TextEncoder, "encode", lambda *_: pytest.fail("it encoded again"))
    with pytest.raises(InputError, match="another kind of file; it is left alone"):
        job.encode(small_folder, source, out, force=True)
    assert out.read_text() == "years of work"
    out.unlink()
    assert job.encode(small_folder, source, out)["texts"] == 5


def test_from_the_command_line(
    tmp_path: Path,
    texts: list[str],
    small_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = table(tmp_path, texts[:5]), tmp_path / "v.parquet"
    assert main(["encode", str(small_folder), str(source), "--out", str(out), "--json", "-q"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["texts"] == 5
    assert captured.err == ""


def test_the_source_is_not_replaced(tmp_path: Path, texts: list[str], small_folder: Path) -> None:
    source = table(tmp_path, texts[:5])
    before = source.read_bytes()
    with pytest.raises(InputError, match="is the source"):
        isometry.encode(small_folder, source, source, force=True)
    assert source.read_bytes() == before


def test_neither_a_database_nor_a_model_is_replaced(
    tmp_path: Path, texts: list[str], small_folder: Path
) -> None:
    base = tmp_path / "texts.db"
    with contextlib.closing(sqlite3.connect(base)) as made:
        made.execute("CREATE TABLE t (id TEXT, text TEXT)")
        made.executemany("INSERT INTO t VALUES (?, ?)", enumerate(texts[:5]))
        made.commit()
    before = base.read_bytes()
    for source in (base, f"sqlite:{base}", f"sqlite:{base}#t"):
        with pytest.raises(InputError, match="is the source"):
            isometry.encode(small_folder, source, base, force=True)
    assert base.read_bytes() == before
    model = Path(shutil.copytree(small_folder, tmp_path / "model"))
    source, kept = table(tmp_path, texts[:5]), hash_folder(model)
    for name in ("model.safetensors", "new.parquet"):
        with pytest.raises(InputError, match="lies in the model"):
            isometry.encode(model, source, model / name, force=True)
    assert hash_folder(model) == kept


def test_a_name_of_a_folder_is_none_of_a_file(
    tmp_path: Path, texts: list[str], small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = table(tmp_path, texts[:5])
    assert main(["encode", str(small_folder), str(source), "--out", f"{tmp_path}/sub/"]) == 2
    assert "sub/ is a folder" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "sub").exists()


def test_vectors_do_not_lie_among_what_they_are_made_of(tmp_path: Path, small_folder: Path) -> None:
    (tmp_path / "docs/deep").mkdir(parents=True)
    (tmp_path / "docs/a.md").write_text("# A\n\nsome words")
    with pytest.raises(InputError, match="lies in the source"):
        isometry.encode(small_folder, tmp_path / "docs", tmp_path / "docs/deep/v.parquet")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.md", "deep", "docs"]
    assert isometry.encode(small_folder, tmp_path / "docs", tmp_path / "v.parquet")["texts"] == 1
    # What is hidden is not read.
    hidden = tmp_path / "docs" / ".vectors" / "v.parquet"
    assert isometry.encode(small_folder, tmp_path / "docs", hidden)["texts"] == 1


def test_what_is_skipped_is_told(
    tmp_path: Path, small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# One\n\nwords")
    (docs / "b.py").write_text("def broken(:")
    out = tmp_path / "v.parquet"
    assert main(["encode", str(small_folder), str(docs), "--out", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 files or rows were skipped: b.py: " in said
    figures = isometry.encode(small_folder, docs, out, force=True)
    (skipped,) = figures["skipped_first"]
    assert skipped["path"] == "b.py" and skipped["reason"] in said


@pytest.mark.parametrize("role", ["query", "document"])
def test_a_prompt_is_put_before_every_text(
    tmp_path: Path,
    texts: list[str],
    small_folder: Path,
    role: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = Path(shutil.copytree(small_folder, tmp_path / "model"))
    change_json(model / "config_sentence_transformers.json", prompts={role: "own: "})
    source = table(tmp_path, texts[:20])

    def made(*options: str) -> tuple[str, list[str], np.ndarray]:
        out = tmp_path / "v.parquet"
        command = ["encode", str(model), str(source), "--out", str(out), "--role", role]
        assert main([*command, *options, "--force", "--json", "-q"]) == 0
        found = pq.read_table(out)
        prompt = json.loads(capsys.readouterr().out)["prompt"]
        return prompt, found["text"].to_pylist(), np.array(found["vector"].to_pylist())

    encoder = TextEncoder.load(small_folder)
    for options, expected in (
        ((f"--{role}-prompt", "find: "), "find: "),
        ((f"--{role}-prompt", ""), ""),
        ((), "own: "),
    ):
        prompt, plain, vectors = made(*options)
        assert prompt == expected
        by_hand = encoder.encode([prompt + text for text in plain])
        np.testing.assert_allclose(vectors, by_hand, atol=1e-6)
    assert not np.allclose(vectors, encoder.encode(plain), atol=1e-3)


def test_another_prompt_is_other_work(
    tmp_path: Path, texts: list[str], small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    source, out = table(tmp_path, texts[:5]), tmp_path / "v.parquet"
    monkeypatch.setattr(job, "_join", stop)
    with pytest.raises(KeyboardInterrupt):
        job.encode(small_folder, source, out, document_prompt="a: ")
    with pytest.raises(InputError, match="other settings"):
        job.encode(small_folder, source, out, document_prompt="b: ")


def test_a_prompt_of_the_other_role_is_refused(
    tmp_path: Path, texts: list[str], small_folder: Path
) -> None:
    source, out = table(tmp_path, texts[:5]), tmp_path / "v.parquet"
    with pytest.raises(InputError, match="--query-prompt is put before no document") as caught:
        job.encode(small_folder, source, out, query_prompt="query: ")
    assert "--role query" in caught.value.hint
    with pytest.raises(InputError, match="--document-prompt is put before no query"):
        job.encode(small_folder, source, out, role="query", document_prompt="passage: ")


def test_of_an_enormous_text_no_more_is_read_than_can_count(
    tmp_path: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = TextEncoder.load(small_folder)
    most = 16 * encoder.max_tokens
    seen: list[int] = []
    whole = TextEncoder._tokenize

    def counted(self: TextEncoder, some: list[str], role: Any) -> Any:
        seen.extend(map(len, some))
        return whole(self, some, role)

    monkeypatch.setattr(TextEncoder, "_tokenize", counted)
    some = ["a path", "word " * most]
    figures = job.encode(small_folder, table(tmp_path, some), tmp_path / "v.parquet")
    assert figures["truncated"] == 1 and max(seen) <= most
    found = pq.read_table(tmp_path / "v.parquet")
    assert found["text"].to_pylist() == [text.strip() for text in some]
    expected = encoder.encode(["a path", "word " * encoder.max_tokens])
    np.testing.assert_allclose(np.array(found["vector"].to_pylist()), expected, atol=1e-6)


@pytest.mark.parametrize("filler", [" " * 4200, "A" * 4200 + " ", "\n" * 1500 + "\t" * 1500])
def test_a_long_text_of_few_tokens_is_read_to_its_end(
    tmp_path: Path, small_folder: Path, filler: str
) -> None:
    encoder = TextEncoder.load(small_folder)
    text = f"name {filler}value of the setting"
    assert len(text) > 16 * encoder.max_tokens
    figures = job.encode(small_folder, table(tmp_path, [text]), tmp_path / "v.parquet")
    assert figures["truncated"] == 0
    found = np.array(pq.read_table(tmp_path / "v.parquet")["vector"].to_pylist())
    np.testing.assert_allclose(found, encoder.encode([text]), atol=1e-6)


def test_the_name_of_another_format_is_refused(tmp_path: Path, small_folder: Path) -> None:
    source = table(tmp_path, ["one", "two"])
    with pytest.raises(InputError, match=r"Call it v\.parquet"):
        job.encode(small_folder, source, tmp_path / "v.csv")
    assert not (tmp_path / "v.csv").exists()
    for options in ({"role": "Document"}, {"precision": "fp16"}):
        with pytest.raises(InputError, match=f"not '{next(iter(options.values()))}'"):
            job.encode(small_folder, source, tmp_path / "v.parquet", **options)
