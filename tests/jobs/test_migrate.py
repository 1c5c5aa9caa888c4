from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from living_spaces import PARCELS, alike, built_anew, change, counted, hits, state
from tuned_folders import change_json

import isometry
from isometry import InputError, Space, TextEncoder
from isometry.cli.main import main
from isometry.jobs import ranking

MODES = ("dense", "lexical", "hybrid")


@pytest.fixture
def pair(few: tuple[Path, Path]) -> tuple[Path, Path]:
    return few


def test_another_dimension_while_somebody_searches(
    space: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    opened = Space.open(space)
    old = {mode: hits(opened, mode) for mode in MODES}
    wrong: list[str] = []
    rounds = 0
    done = threading.Event()

    def search() -> None:
        nonlocal rounds
        while not done.is_set() or rounds == 0:
            for mode in MODES:
                if hits(opened, mode) != old[mode]:
                    wrong.append(mode)
            # Whoever opens it anew sees the one or the other, whole.
            fresh = Space.open(space)
            if fresh.encode(["one"]).shape[1] != fresh.index.dim:
                wrong.append("mixed")
            rounds += 1

    thread = threading.Thread(target=search)
    thread.start()
    try:
        figures = isometry.migrate(space, tiny_folder)
    finally:
        done.set()
        thread.join()
    assert not wrong
    assert figures["dim"] == 32
    after = opened.refresh()
    assert (opened.index.dim, after.index.dim) == (64, 32)
    assert after.verify() == len(after.manifest["files"])
    expected = built_anew(after, tmp_path / "anew")
    assert alike(after, expected)
    for mode in MODES:
        assert hits(opened, mode) == old[mode]


def test_the_manifest_and_info_say_whose_the_figures_are(
    space: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Space.open(space).manifest
    assert main(["migrate", str(space), "--model", str(tiny_folder), "-q"]) == 0
    assert "32 dimensions" in " ".join(capsys.readouterr().out.split())
    after = Space.open(space).manifest
    assert after["figures"] == before["figures"]
    assert after["search"]["dense_weight"] == before["search"]["dense_weight"]
    assert after["search"]["dense_weight_tuned_for"] == before["encoder"]["base"]
    assert after["migrated"]["from"]["fingerprint"] == before["encoder"]["fingerprint"]
    assert after["migrated"]["to"]["fingerprint"] == after["encoder"]["fingerprint"]
    assert main(["info", str(space)]) == 0
    assert "The figures are of the former model" in " ".join(capsys.readouterr().out.split())


def test_back_is_as_it_was_and_back_again_is_the_new_one(
    space: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Space.open(space)
    old = state(first)
    isometry.migrate(space, tiny_folder)
    new = state(Space.open(space))
    texts = counted(monkeypatch)
    assert isometry.migrate(space, back=True)["passages"] == 0
    assert not texts
    back = Space.open(space)
    assert state(back) == old
    for part in ("encoder", "search", "figures"):
        assert back.manifest[part] == first.manifest[part]
    assert "migrated" not in back.manifest
    isometry.migrate(space, back=True)
    assert state(Space.open(space)) == new
    Space.open(space).verify()


def test_back_brings_along_what_was_added_since(
    space: Path, docs: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    isometry.migrate(space, tiny_folder)
    change(docs)
    isometry.add(space, docs)
    isometry.compact(space, keep_hours=0)
    figures = isometry.migrate(space, back=True)
    assert 0 < figures["passages"] < Space.open(space).index.chunks
    back = Space.open(space)
    back.verify()
    assert back.index.dim == 64
    assert back.search("label for a parcel", 1)[0].document.startswith("parcels")
    assert alike(back, built_anew(back, tmp_path / "anew"))


def test_documents_go_on_coming_under_the_new_model(
    space: Path, docs: Path, tiny_folder: Path
) -> None:
    isometry.migrate(space, tiny_folder)
    (docs / "parcels.py").write_text(PARCELS)
    isometry.add(space, docs)
    after = Space.open(space)
    after.verify()
    assert after.index.dim == 32
    assert after.search("label for a parcel", 1, "dense")[0].score <= 1.001


def test_a_stopped_migration_goes_on_without_encoding_anew(
    space: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Space.open(space)
    old = hits(opened)
    with monkeypatch.context() as patch:

        def stopped(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(ranking, "build_index", stopped)
        with pytest.raises(KeyboardInterrupt):
            isometry.migrate(space, tiny_folder)
    assert hits(Space.open(space)) == old
    opened.verify()
    texts = counted(monkeypatch)
    assert isometry.migrate(space, tiny_folder)["passages"] > 0
    assert not texts
    assert not (space / ".writing").exists()
    Space.open(space).verify()


def test_to_the_model_of_another_space_and_to_its_own(
    space: Path, docs: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(space, tmp_path / "other"))
    assert isometry.migrate(space, other)["migrated"] is False
    assert isometry.migrate(space, space / "model")["migrated"] is False
    isometry.migrate(other, tiny_folder)
    # The current model of the other, not the one that lies in its folder `model`.
    assert isometry.migrate(space, other)["dim"] == 32
    assert Space.open(space).encoder.fingerprint() == Space.open(other).encoder.fingerprint()
    # By this way, too, the figures are of the model again that they were measured with.
    isometry.migrate(space, space / "model")
    assert "migrated" not in Space.open(space).manifest
    assert "dense_weight_tuned_for" not in Space.open(space).manifest["search"]


def test_bad_input(space: Path, tmp_path: Path, docs: Path) -> None:
    names = sorted(path.name for path in space.iterdir() if path.name != "lock")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    for match, folder, model, back in (
        ("no model 'nothing'", space, "nothing", False),
        ("has no weights", space, tmp_path / "broken", False),
        ("either --model MODEL, or --back", space, None, False),
        ("either --model MODEL, or --back", space, "packaged:minilm", True),
        ("no earlier generation", space, None, True),
        ("no Space", docs, "packaged:minilm", False),
    ):
        with pytest.raises(InputError, match=match):
            isometry.migrate(folder, model, back=back)
    assert sorted(path.name for path in space.iterdir() if path.name != "lock") == names


def test_a_model_with_nan_leaves_the_old_state(
    space: Path, tiny: TextEncoder, tmp_path: Path
) -> None:
    for parameter in tiny.parameters():
        parameter.data.fill_(float("nan"))
    tiny.save(tmp_path / "nan")
    before = state(Space.open(space))
    with pytest.raises(InputError, match="NaN"):
        isometry.migrate(space, tmp_path / "nan")
    Space.open(space).verify()
    assert state(Space.open(space)) == before


def test_the_new_model_has_the_prompts_that_are_given_and_the_former_keeps_its_own(
    space: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Path(shutil.copytree(tiny_folder, tmp_path / "base"))
    change_json(base / "config_sentence_transformers.json", prompts={"passage": "passage: "})
    bare = TextEncoder.load(tiny_folder)
    names = ("query_prompt", "document_prompt")
    for query, document in (("find: ", "text: "), ("", "")):
        options = ["--query-prompt", query, "--document-prompt", document]
        assert main(["migrate", str(space), "--model", str(base), *options, "--json", "-q"]) == 0
        figures = json.loads(capsys.readouterr().out)
        after = Space.open(space)
        after.verify()
        for said in (figures, after.manifest["encoder"]):
            assert [said[name] for name in names] == [query, document]
        vector = after.encode(["a parcel"])
        np.testing.assert_allclose(vector, bare.encode([f"{query}a parcel"]), atol=1e-6)
        # The passages, too, are encoded behind their prompt.
        (hit,) = after.index.dense(vector[0], 1)
        (found,) = after.index.dense(bare.encode([document + hit.text])[0], 1)
        assert found.text == hit.text and found.score == pytest.approx(1, abs=1e-5)
    assert isometry.migrate(space, back=True)["document_prompt"] == "text: "
    with pytest.raises(InputError, match="a model with its own prompts"):
        isometry.migrate(space, back=True, query_prompt="")
