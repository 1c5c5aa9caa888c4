from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from small_vocabulary import WORDS
from torch.nn import functional
from transformers import ModernBertConfig, ModernBertModel
from tuned_folders import change_json, change_weights, with_dense

import isometry
from isometry import InputError, Space
from isometry.cli.main import main
from isometry.encoders.text import TextEncoder
from isometry.jobs import cut
from isometry.jobs.cut import RECORD
from isometry.jobs.loading import load_sound

SENTENCES = ["Return the path.", "Open a file and read all of it, line by line.", "x"]


def layer(folder: Path, keep: int, dim: int) -> np.ndarray:
    """What the whole model has after a layer, cut and then normalised."""
    encoder = TextEncoder.load(folder)
    with torch.no_grad():
        pooled = encoder.pooled_layers(encoder.collate(SENTENCES, "document"))
    return functional.normalize(pooled[keep - 1, :, :dim], dim=-1).numpy()


@pytest.fixture
def space(nested_space: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(nested_space, tmp_path / "a-space"))


def test_plain_sentence_transformers_loads_the_cut_of_a_space(space: Path, tmp_path: Path) -> None:
    record = isometry.cut(space, "1x48", tmp_path / "small")
    plain = SentenceTransformer(str(tmp_path / "small"), device="cpu", local_files_only=True)
    expected = layer(space / "model", 1, 48)
    np.testing.assert_allclose(plain.encode(SENTENCES), expected, atol=1e-6)
    assert np.abs(expected - layer(space / "model", 2, 48)).max() > 0.01
    assert json.loads((tmp_path / "small" / RECORD).read_text()) == {
        name: value for name, value in record.items() if name != "out"
    }
    # It says what it was cut from, and what the fit found out about it.
    manifest = Space.open(space).manifest
    row, whole = manifest["figures"]["sizes"]
    assert record["from"]["fingerprint"] == manifest["encoder"]["fingerprint"]
    assert (record["from"]["layers"], record["from"]["dimensions"]) == (2, 64)
    assert (record["layers"], record["dimensions"]) == (1, 48)
    assert record["parameters"] == row["parameters"]
    assert record["fingerprint"] == TextEncoder.load(tmp_path / "small").fingerprint()
    assert record["trained"] is True and record["warnings"] == []
    assert record["test"] == {
        "queries": manifest["figures"]["test"]["queries"],
        "ndcg@10": row["tuned"],
        "whole": whole["tuned"],
    }
    card = (tmp_path / "small" / "README.md").read_text()
    assert f"{100 * row['tuned']:.1f} points of nDCG@10" in card
    # Nobody else learns where it lay.
    assert str(tmp_path) not in card + (tmp_path / "small" / RECORD).read_text()
    Space.open(space).verify()


def test_a_space_goes_over_to_its_cut(space: Path, tmp_path: Path) -> None:
    isometry.cut(space, "1x48", tmp_path / "small")
    assert isometry.migrate(space, tmp_path / "small")["dim"] == 48
    after = Space.open(space)
    after.verify()
    assert after.index.dim == 48 and after.encode(["a text"]).shape == (1, 48)
    expected = layer(space / "model", 1, 48)
    np.testing.assert_allclose(after.encode(SENTENCES, "document"), expected, atol=1e-6)
    assert after.search("copy a file", 3, "dense")
    # The model that was fitted is still there, and still known.
    other = isometry.cut(space / "model", "1x48", tmp_path / "again")
    assert other["trained"] is True
    smaller = isometry.cut(space, "1x16", tmp_path / "smaller")
    assert smaller["dimensions"] == 16


def test_a_size_that_was_not_trained_is_cut_with_a_warning(
    space: Path, tiny_space: Path, tmp_path: Path
) -> None:
    record = isometry.cut(space, "1x32", tmp_path / "a")
    assert record["trained"] is False and record["test"] is None
    assert record["warnings"] == [
        "Nothing was trained for 1x32: a-space was trained for 1x48, 2x64."
    ]
    # All layers and fewer dimensions: not of this Space, but of one that nested its dimensions.
    assert isometry.cut(space, "2x32", tmp_path / "b")["trained"] is False
    assert isometry.cut(tiny_space, "2x32", tmp_path / "c")["trained"] is True
    assert isometry.cut(tiny_space, "1x32", tmp_path / "d")["trained"] is False
    # Without --nested the fit measured fewer dimensions of all layers.
    manifest = Space.open(tiny_space).manifest
    (row,) = (row for row in manifest["figures"]["curve"] if row["dimensions"] == 32)
    kept = manifest["figures"]["verdict"]["kept"]
    found = isometry.cut(tiny_space, "2x32", tmp_path / "e")["test"]
    assert found["ndcg@10"] == row[kept]
    assert found["whole"] == manifest["figures"]["curve"][0][kept]
    assert isometry.cut(tiny_space, "1x32", tmp_path / "f")["test"] is None


def test_of_a_kept_base_and_of_other_folders_nothing_is_claimed(
    space: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    record = isometry.cut(tiny_folder, "1x16", tmp_path / "other")
    assert record["trained"] is None and record["test"] is None
    assert "Nobody knows whether" in record["warnings"][0]
    np.testing.assert_allclose(
        TextEncoder.load(tmp_path / "other").encode(SENTENCES), layer(tiny_folder, 1, 16), atol=1e-6
    )
    manifest = json.loads((space / "space.json").read_text())
    manifest["figures"]["verdict"]["kept"] = "base"
    (space / "space.json").write_text(json.dumps(manifest))
    kept = isometry.cut(space, "1x48", tmp_path / "kept")
    # The base may have been trained for sizes itself.
    assert kept["trained"] is None
    assert "Nobody knows whether the base that" in kept["warnings"][0]
    assert kept["test"]["ndcg@10"] == manifest["figures"]["sizes"][0]["base"]


def test_a_model_that_was_put_into_a_space_is_not_the_one_that_was_trained(
    space: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    shutil.rmtree(space / "model")
    shutil.copytree(tiny_folder, space / "model")
    assert isometry.cut(space, "1x16", tmp_path / "small")["trained"] is None


def test_the_command_warns_and_says_how_to_go_on(
    nested_space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "small")
    assert main(["cut", str(nested_space), "--size", "1x48", "--out", out, "-q"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 layers, 48 of 64 dimensions" in said
    assert "isometry migrate SPACE --model" in said and "Note" not in said
    command = ["cut", str(nested_space), "--size", "1x32", "--out", out, "--force", "-q"]
    assert main(command) == 0
    assert "Note: Nothing was trained for 1x32" in " ".join(capsys.readouterr().out.split())
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["out"] == out and printed["dimensions"] == 32


def test_the_card_says_what_there_is_to_know_of_a_size(
    space: Path, tiny_space: Path, tmp_path: Path
) -> None:
    test = isometry.cut(space, "1x48", tmp_path / "trained")["test"]
    card = (tmp_path / "trained" / "README.md").read_text(encoding="utf-8")
    assert f"the whole {100 * test['whole']:.1f}." in card and test["whole"] > test["ndcg@10"]
    (warning,) = isometry.cut(tiny_space, "1x32", tmp_path / "other")["warnings"]
    assert warning.endswith(" was trained for 2x32, 2x64.")
    assert warning in (tmp_path / "other" / "README.md").read_text(encoding="utf-8")


def test_a_model_is_not_replaced_by_its_own_cut(tiny_folder: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    isometry.cut(tiny_folder, "2x16", done)
    with pytest.raises(InputError, match="is the model that is cut"):
        isometry.cut(done, "1x8", done, force=True)
    assert TextEncoder.load(done).dim == 16


@pytest.mark.parametrize(
    ("name", "said"),
    [("done", r"holds notes\.md, which is no part"), ("new", "no cut model; it is left alone")],
)
def test_what_comes_to_the_place_meanwhile_is_not_replaced(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    isometry.cut(tiny_folder, "2x16", tmp_path / "done")
    folder, work = tmp_path / name, cut._smaller

    def meanwhile(*arguments: Any) -> TextEncoder:
        folder.mkdir(exist_ok=True)
        (folder / "notes.md").write_text("days of work")
        return work(*arguments)

    monkeypatch.setattr(cut, "_smaller", meanwhile)
    with pytest.raises(InputError, match=said):
        isometry.cut(tiny_folder, "1x8", folder, force=True)
    assert (folder / "notes.md").read_text() == "days of work"


def test_bad_input(
    space: Path, table: Path, tiny_folder: Path, tmp_path: Path, small_folder: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    done = tmp_path / "done"
    isometry.cut(tiny_folder, "1x16", done)
    before = (done / RECORD).read_bytes()
    for match, model, size, out in (
        ("--size: 'small' is no size", space, "small", "out"),
        ("has 2 layers, so 3 cannot", space, "3x32", "out"),
        ("has 64 dimensions, so 65 cannot", space, "1x65", "out"),
        ("is 2x64: nothing would get smaller", space, "2x64", "out"),
        ("table of token vectors", table, "1x16", "out"),
        ("no model 'nothing'", "nothing", "1x16", "out"),
        ("no cut model; it is left alone", space, "1x48", "precious"),
        ("no cut model; it is left alone", space, "1x48", "a-space"),
        ("exists. Choose another --out, or replace", space, "1x48", "done"),
    ):
        with pytest.raises(InputError, match=match):
            isometry.cut(model, size, tmp_path / out)
    with pytest.raises(InputError, match="left alone"):
        isometry.cut(space, "1x48", precious, force=True)
    # Nor is a model that lies in the folder which would be replaced.
    within = Path(shutil.copytree(tiny_folder, done / "within"))
    with pytest.raises(InputError, match="which lies in it"):
        isometry.cut(within, "1x16", done, force=True)
    assert (within / "config.json").is_file()
    shutil.rmtree(within)
    # Nor is what somebody laid beside the model.
    (done / "notes.md").write_text("days of work")
    with pytest.raises(InputError, match=r"holds notes\.md, which is no part of a model"):
        isometry.cut(tiny_folder, "1x16", done, force=True)
    (done / "notes.md").unlink()
    # A word that no text need have.
    broken = Path(shutil.copytree(tiny_folder, tmp_path / "broken"))
    change_weights(
        broken, lambda state: state["embeddings.word_embeddings.weight"][999].fill_(torch.nan)
    )
    with pytest.raises(InputError, match=r"NaN or infinity in .*word_embeddings"):
        isometry.cut(broken, "1x16", tmp_path / "out")
    shutil.rmtree(broken)
    # What cannot be made leaves what was there.
    with pytest.raises(InputError, match="so 65 cannot"):
        isometry.cut(space, "1x65", done, force=True)
    assert (done / RECORD).read_bytes() == before
    assert (precious / "thesis.txt").read_text() == "years of work"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a-space", "done", "precious"]
    assert isometry.cut(space, "1x48", done, force=True)["dimensions"] == 48


def test_what_ends_in_a_dense_module_is_cut_behind_it(tiny_folder: Path, tmp_path: Path) -> None:
    body = Path(shutil.copytree(tiny_folder, tmp_path / "body"))
    with_dense(body, out_features=8)
    isometry.cut(body, "2x4", tmp_path / "cut")
    whole = TextEncoder.load(body).encode(SENTENCES)
    assert whole.shape == (3, 8)
    expected = whole[:, :4] / np.linalg.norm(whole[:, :4], axis=1, keepdims=True)
    plain = SentenceTransformer(str(tmp_path / "cut"), device="cpu", local_files_only=True)
    np.testing.assert_allclose(plain.encode(SENTENCES), expected, atol=1e-5)


def test_what_keeps_fewer_dimensions_than_it_has_is_cut_to_no_more(
    tiny_folder: Path, tmp_path: Path
) -> None:
    short = Path(shutil.copytree(tiny_folder, tmp_path / "short"))
    change_json(short / "config_sentence_transformers.json", truncate_dim=16)
    for size in ("1x32", "2x32", "1x17"):
        with pytest.raises(InputError, match="has 16 dimensions, so"):
            isometry.cut(short, size, tmp_path / "cut")
    assert isometry.cut(short, "1x16", tmp_path / "cut")["dimensions"] == 16


def test_dimensions_alone_are_cut_where_inner_layers_have_no_vectors(
    tiny_folder: Path, tmp_path: Path
) -> None:
    config = ModernBertConfig(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64, pad_token_id=0, cls_token_id=101,
        sep_token_id=102, bos_token_id=101, eos_token_id=102,
    )  # fmt: skip
    body = tmp_path / "body"
    ModernBertModel(config).save_pretrained(body)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_folder / name, body)
    isometry.cut(body, "2x8", tmp_path / "cut")
    texts = ["a path", "the day of the week"]
    whole = load_sound(body).encode(texts)[:, :8]
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(load_sound(tmp_path / "cut").encode(texts), expected, atol=1e-5)
    # What is wrong with the size is said whatever else is.
    for size, said in (("2x32", "is 2x32: nothing would get smaller"), ("9x8", "so 9 cannot")):
        with pytest.raises(InputError, match=said):
            isometry.cut(body, size, tmp_path / "none")
    with pytest.raises(InputError, match="inner layers"):
        isometry.cut(body, "1x8", tmp_path / "other")
