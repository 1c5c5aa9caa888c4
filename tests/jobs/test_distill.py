from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from small_vocabulary import WORDS
from tuned_folders import change_json, change_weights

from isometry.cli.main import main
from isometry.core.errors import InputError
from isometry.core.progress import progress_shown
from isometry.core.workspace import Workspace
from isometry.corpora.readers import open_source
from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import METRICS
from isometry.jobs import distill as job
from isometry.jobs import distill_plan, distill_proof, distilling
from isometry.jobs.distill import RECORD, DistillSettings, distill
from isometry.jobs.distill_plan import LAYERS, DistillPlan
from isometry.jobs.distilling import Distilling, choose_candidate
from isometry.jobs.places import as_typed
from isometry.jobs.preparation import Prepared
from isometry.learners.distillation import DistillationRow
from isometry.training.length_batches import length_batches

Made = dict[str, tuple[Path, dict[str, Any]]]
SENTENCES = ["Return the path.", "Open a file and read all of it, line by line.", "x"]


def plan(steps: int, rate: float) -> DistillPlan:
    return DistillPlan(
        texts=600,
        pool=200,
        steps=steps,
        batch=32,
        precision="float32",
        learning_rate=rate,
        measured={},
        estimate_seconds={"training": 5.0},
    )


@pytest.fixture(scope="module")
def made(
    tiny_docs: Path,
    tiny_folder: Path,
    small_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    """Two students, each trained for a few steps, with their records.

    The teacher of layers is random, but each layer changes much; the small model's does not.
    """
    found: Made = {}
    shapes: list[tuple[str, Path, int, float, dict[str, Any]]] = [
        ("layers", tiny_folder, 60, 5e-3, {"layers": 1, "dim": 16}),
        ("table", small_folder, 60, 2e-2, {"static": True, "dim": 32}),
    ]
    for name, teacher, steps, rate, options in shapes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Distilling, "_make_plan", lambda _, s=steps, r=rate: plan(s, r))
            out = tmp_path_factory.mktemp(name) / "student"
            found[name] = (out, distill(teacher, tiny_docs, out, **options))
    return found


@pytest.mark.parametrize("name", ["layers", "table"])
def test_plain_sentence_transformers_loads_the_student(made: Made, name: str) -> None:
    out, record = made[name]
    plain = SentenceTransformer(str(out), device="cpu", local_files_only=True)
    ours = (StaticEncoder if name == "table" else TextEncoder).load(out)
    vectors = plain.encode(SENTENCES)
    assert vectors.shape == (3, record["student"]["dim"])
    np.testing.assert_allclose(vectors, ours.encode(SENTENCES), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert ours.fingerprint() == record["student"]["fingerprint"]
    assert json.loads((out / RECORD).read_text()) == json.loads(json.dumps(record))
    assert not out.with_name("student.partial").exists()
    assert not [file for file in out.rglob("*") if file.suffix in (".bin", ".pt", ".pkl")]


@pytest.mark.parametrize("name", ["layers", "table"])
def test_training_brings_the_student_nearer_on_held_out_texts(made: Made, name: str) -> None:
    _, record = made[name]
    points = {row["alpha"]: row for row in record["validation"]["candidates"]}
    assert list(points) == [0.0, 0.5, 1.0]
    assert points[1.0]["cosine"] > points[0.0]["cosine"] + 0.05
    assert points[1.0]["agreement"] > points[0.0]["agreement"]
    assert record["alpha"] > 0
    assert [row["alpha"] for row in points.values() if row["chosen"]] == [record["alpha"]]
    assert record["training"]["steps"] == record["plan"]["steps"]


@pytest.mark.parametrize("name", ["layers", "table"])
def test_the_record_says_how_good_and_how_big(made: Made, name: str) -> None:
    _, record = made[name]
    test, student, teacher = record["test"], record["student"], record["teacher"]
    assert [row["system"] for row in test["rows"]] == ["teacher", "student", "untrained"]
    by = {row["system"]: row["ndcg@10"] for row in test["rows"]}
    changes = {row["what"]: row for row in test["differences"] if row["metric"] == "ndcg@10"}
    for what, row in changes.items():
        after, before = what.split(" - ")
        assert row["difference"] == pytest.approx(by[after] - by[before])
        assert row["low"] <= row["difference"] <= row["high"]
    assert set(changes) == {"student - teacher", "untrained - teacher", "student - untrained"}
    assert set(METRICS) == {row["metric"] for row in test["differences"]}
    assert test["queries"] >= 10 and test["documents"] >= 200
    sizes = (teacher["layers"], teacher["dim"], student["layers"], student["dim"])
    assert sizes == ((2, 32, 1, 16) if name == "layers" else (2, 64, 0, 32))
    assert student["parameters"] < teacher["parameters"]
    if name == "table":
        assert student["parameters"] == WORDS * 32
    speed = record["speed"]
    assert speed["times_as_fast"] == pytest.approx(
        speed["student_texts_a_cpu_second"] / speed["teacher_texts_a_cpu_second"]
    )
    if name == "table":
        assert speed["times_as_fast"] > 3


def test_nothing_of_the_held_out_sides_is_learnt_from(
    made: Made,
    tiny_docs: Path,
    small_folder: Path,
    tmp_path: Path,
) -> None:
    from isometry.core.workspace import Workspace
    from isometry.corpora.readers import open_source
    from isometry.jobs.distill import DistillSettings

    settings = DistillSettings(str(small_folder), str(tiny_docs), layers=1)
    with Workspace(tmp_path / "w", "test") as work:
        job = Distilling(work, open_source(tiny_docs), settings, TextEncoder.load(small_folder))
        side = dict(zip(job.documents, job.data.sides, strict=True))
        chunks = job.collection.chunks
        sides = [side[name] for name in chunks.column("document").to_pylist()]
        passages = dict(zip(chunks.column("text").to_pylist(), sides, strict=True))
        learnt = {text for text, role in job.all_texts if role == "document"}
        held = {text for text, role in job.held if role == "document"}
        assert {passages[text] for text in learnt} == {"train"}
        assert {passages[text] for text in held} == {"validation"}
        asked = {text for text, role in job.all_texts if role == "query"}
        assert asked == {pair.query for pair in job.data.pairs}
        for questions in job.data.questions.values():
            assert not asked & set(questions.queries)


def test_a_killed_run_goes_on_to_the_same_student(
    tiny_docs: Path, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(10, 1e-3))
    options: dict[str, Any] = {"layers": 1, "dim": 16, "limit": 400}
    whole = distill(small_folder, tiny_docs, tmp_path / "whole", **options)

    from isometry.training.trainer import Trainer

    def killed(place: Any, name: str, at: int) -> None:
        real, calls = getattr(place, name), [0]

        def failing(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == at:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(place, name, failing)
            distill(small_folder, tiny_docs, tmp_path / "killed", **options)
        assert not (tmp_path / "killed").exists()

    killed(Distilling, "targets", 1)
    killed(Trainer, "compute_loss", 7)
    killed(Distilling, "_candidate", 2)
    killed(distill_proof, "prove", 1)
    again = distill(small_folder, tiny_docs, tmp_path / "killed", **options)
    assert again["student"]["fingerprint"] == whole["student"]["fingerprint"]
    for name in ("validation", "test", "alpha", "plan"):
        assert again[name] == whole[name]
    assert not (tmp_path / "killed.partial").exists()


def test_the_best_agreement_among_those_no_farther_from_the_teacher() -> None:
    def row(alpha: float, cosine: float, agreed: float) -> dict[str, float]:
        return {"alpha": alpha, "cosine": cosine, "agreement": agreed}

    untrained = row(0.0, 0.5, 0.4)
    better, best = row(0.5, 0.6, 0.5), row(1.0, 0.7, 0.6)
    assert choose_candidate([untrained, better, best]) is best
    assert choose_candidate([untrained, better, row(1.0, 0.4, 0.9)]) is better
    assert choose_candidate([untrained, row(0.5, 0.6, 0.3), row(1.0, 0.7, 0.2)]) is untrained
    assert choose_candidate([row(1.0, 0.6, 0.5), better, untrained])["alpha"] == 0.5


# -- the command -------------------------------------------------------------------------------


def test_the_contract_for_scripts(
    tiny_docs: Path,
    small_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    made: Made,
) -> None:
    out = tmp_path / "student"
    arguments = ["distill", str(small_folder), "--source", str(tiny_docs), "--out", str(out)]
    # Measured on this machine, for next to no time: the fewest steps.
    options = ["--layers", "1", "--limit", "300", "--minutes", "0.001", "--json", "-q"]
    assert main([*arguments, *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    record = json.loads(captured.out)
    assert set(record) == {"out", *made["layers"][1]}
    assert record["out"] == str(out) and record["student"]["dim"] == 64
    assert record["plan"]["steps"] == 10 and record["plan"]["texts"] >= 32
    assert record["plan"]["measured"]["seconds_a_step"] > 0
    # The same again is done; anything else would replace it.
    assert main([*arguments, *options]) == 0
    assert json.loads(capsys.readouterr().out) == record
    assert main([*arguments, *options, "--seed", "1"]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["layers", "table"])
def test_the_table_for_people(made: Made, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from isometry.cli.output import print_rich
    from isometry.report.tables import render_distillation

    _, record = made[name]
    print_rich(render_distillation(record))
    shown = capsys.readouterr().out
    by = {row["system"]: f"{100 * row['ndcg@10']:.1f}" for row in record["test"]["rows"]}
    lines = shown.splitlines()
    for label, system in (("teacher", "teacher"), ("student", "student")):
        line = next(line for line in lines if line.split()[:1] == [label])
        assert by[system] in line.split()
    assert any(line.startswith("student, untrained") and by["untrained"] in line for line in lines)
    assert f"{record['alpha']:.0%}" in shown
    print_rich(render_distillation({**record, "test": None}))
    assert "Too few queries" in capsys.readouterr().out


def test_with_too_few_queries_there_is_a_student_but_no_proof(
    small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(2, 1e-3))
    docs = tmp_path / "docs"
    docs.mkdir()
    for number, text in enumerate(texts[:40]):
        (docs / f"{number}.txt").write_text(text, encoding="utf-8")
    record = distill(small_folder, docs, tmp_path / "student", static=True)
    assert record["test"] is None and record["student"]["dim"] == 64
    assert "nDCG" not in (tmp_path / "student" / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": 3}, "has 2 layers, so 3 cannot be kept"),
        ({"layers": 1, "dim": 65}, "has 64 dimensions, so a student cannot have 65"),
        ({"static": True, "dim": 65}, "has 64 dimensions, so a student cannot have 65"),
        ({"layers": 0}, "--layers must be at least 1"),
        ({"dim": 0}, "--dim must be at least 1"),
        ({"layers": 2}, "nothing would get smaller"),
        ({"layers": 2, "dim": 64}, "nothing would get smaller"),
        ({}, "Nothing would get smaller"),
        ({"static": True, "layers": 1}, "A static student has no layers"),
        ({"layers": 1, "minutes": 0.0}, "--minutes must be more than 0"),
        ({"layers": 1, "minutes": float("inf")}, "--minutes must be more than 0 and finite"),
        ({"layers": 1, "seed": -1}, "--seed must be at least 0"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_read(
    small_folder: Path,
    tiny_docs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setattr(Distilling, "__init__", lambda *_: pytest.fail("it went to work"))
    with pytest.raises(InputError, match=said):
        distill(small_folder, tiny_docs, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_what_is_found_wrong_with_the_texts_leaves_nothing(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(2, 1e-3))
    docs = tmp_path / "docs"
    docs.mkdir()
    for number, text in enumerate(texts[:24]):
        (docs / f"{number}.txt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="texts are too few for 31 dimensions"):
        distill(tiny_folder, docs, tmp_path / "student", dim=31)
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]
    # So the command can be given with another dimension.
    assert distill(tiny_folder, docs, tmp_path / "student", dim=4)["student"]["dim"] == 4


def test_a_plan_has_as_many_texts_as_the_axes_take(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short the time is: with fewer texts than dimensions there are no axes."""
    monkeypatch.setattr(distilling, "LAYERS", replace(distilling.LAYERS, batch=2))
    record = distill(tiny_folder, tiny_docs, tmp_path / "student", dim=31, minutes=1e-6)
    assert record["plan"]["texts"] == record["data"]["learnt_from"] == 31
    assert record["student"]["dim"] == 31


def test_of_a_training_that_diverged_the_untrained_student_is_kept(
    tiny_folder: Path, small_folder: Path, tiny_docs: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    train = Distilling.train

    def diverging(job: Distilling) -> dict[str, Any]:
        result = train(job)
        path = job.work.path / "trained" / "model.safetensors"
        state = load_file(path)
        next(iter(state.values()))[0] = torch.nan
        save_file(state, path)
        return result

    monkeypatch.setattr(Distilling, "train", diverging)
    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(2, 1e-3))
    for teacher, options in ((tiny_folder, {"layers": 1}), (small_folder, {"static": True})):
        out = tmp_path / next(iter(options))
        with progress_shown(True):
            record = distill(teacher, tiny_docs, out, limit=300, **options)
        assert "Training diverged" in capsys.readouterr().err
        assert record["alpha"] == 0.0
        assert [row["alpha"] for row in record["validation"]["candidates"]] == [0.0]
        plain = SentenceTransformer(str(out), device="cpu", local_files_only=True)
        assert np.isfinite(plain.encode(SENTENCES)).all()


def test_one_that_was_stopped_while_it_cleaned_up_is_finished(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(2, 1e-3))
    out = tmp_path / "student"
    with monkeypatch.context() as patch:
        patch.setattr(job, "discard_finished_work", stopped)
        with pytest.raises(KeyboardInterrupt):
            distill(tiny_folder, tiny_docs, out, layers=1, limit=300)
    assert out.with_name("student.partial").exists()
    record = json.loads((out / RECORD).read_text())
    # However the paths are typed.
    again = distill(f"{tiny_folder}/", f"{tiny_docs}/", out, layers=1, limit=300, minutes=10)
    assert again == record
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
    with pytest.raises(InputError, match=r"student exists"):
        distill(tiny_folder, tiny_docs, out, layers=1, limit=301)


def test_a_broken_teacher_is_told_before_anything_is_read(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Distilling, "__init__", lambda *_: pytest.fail("it went to work"))
    broken = Path(shutil.copytree(tiny_folder, tmp_path / "broken"))
    change_weights(broken, lambda state: state["pooler.dense.bias"].fill_(torch.inf))
    with pytest.raises(InputError, match=r"NaN or infinity in .*pooler"):
        distill(broken, tiny_docs, tmp_path / "out", layers=1)


def test_a_static_teacher(made: Made, tiny_docs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="static already"):
        distill(made["table"][0], tiny_docs, tmp_path / "out", static=True)
    model2vec = tmp_path / "model2vec"
    model2vec.mkdir()
    (model2vec / "config.json").write_text('{"model_type": "model2vec"}')
    with pytest.raises(InputError, match="static already"):
        distill(model2vec, tiny_docs, tmp_path / "out", dim=8)
    assert [path.name for path in tmp_path.iterdir()] == ["model2vec"]


def test_an_empty_source_and_an_occupied_folder(
    small_folder: Path, tiny_docs: Path, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    with pytest.raises(InputError, match="empty"):
        distill(small_folder, tmp_path / "docs", tmp_path / "out", layers=1)
    for number in range(3):
        (tmp_path / "docs" / f"{number}.txt").write_text(f"Text number {number}.")
    with pytest.raises(InputError, match="Too little text"):
        distill(small_folder, tmp_path / "docs", tmp_path / "out", layers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]
    # Somebody's folder is not replaced, whatever is asked for.
    for force in (False, True):
        with pytest.raises(InputError, match="it is left alone"):
            distill(small_folder, tiny_docs, tmp_path / "docs", layers=1, force=force)
    assert len(list((tmp_path / "docs").iterdir())) == 3


def test_what_is_published_tells_no_place_and_no_password(
    small_folder: Path,
    tiny_docs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(2, 1e-3))
    shown = replace(open_source(tiny_docs, limit=300), name="postgresql://me@host/db#mails")
    monkeypatch.setattr("isometry.jobs.distill.open_source", lambda *_, **__: shown)
    out = tmp_path / "student"
    record = distill(
        small_folder, "postgresql://me:s3cret@host/db#mails", out, static=True, limit=300
    )
    assert record["settings"]["source"] == shown.name
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.rglob("*.*"))
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"Distilled from {small_folder.name} by" in card
    assert str(small_folder.parent) not in card
    assert f"{record['speed']['times_as_fast']:,.1f} times as fast" in card


@pytest.mark.parametrize("name", ["0_Transformer/model.safetensors", "tokenizer.json", "vocab.txt"])
def test_another_teacher_is_other_work(
    small_folder: Path,
    tiny_docs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Distilling, "__init__", stop)
    teacher = Path(shutil.copytree(small_folder, tmp_path / "teacher"))
    (teacher / name).parent.mkdir(exist_ok=True)
    (teacher / name).write_text(" ", encoding="utf-8")
    loaded = TextEncoder.load(small_folder)
    monkeypatch.setattr("isometry.jobs.distill.load_teacher", lambda _: loaded)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            distill(teacher, tiny_docs, tmp_path / "out", layers=1)
    (teacher / name).write_text("  ", encoding="utf-8")
    with pytest.raises(InputError, match="other settings"):
        distill(teacher, tiny_docs, tmp_path / "out", layers=1)


def test_what_comes_to_the_place_meanwhile_is_not_replaced(
    small_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(2, 1e-3))
    out, describe = tmp_path / "student", distill_proof.describe

    def meanwhile(*arguments: Any) -> dict[str, Any]:
        out.mkdir()
        (out / "thesis.txt").write_text("years of work")
        return describe(*arguments)

    monkeypatch.setattr(distill_proof, "describe", meanwhile)
    with pytest.raises(InputError, match="no distilled model; it is left alone"):
        distill(small_folder, tiny_docs, out, static=True, limit=300)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {"student", "student.partial"}


def test_force_replaces_a_student(
    small_folder: Path,
    tiny_docs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made: Made,
) -> None:
    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(2, 1e-3))
    out = tmp_path / "student"
    shutil.copytree(made["table"][0], out)
    (tmp_path / "student.partial").mkdir()
    (tmp_path / "student.partial" / "run.json").write_text('{"fingerprint": "another"}')
    with pytest.raises(InputError, match="exists"):
        distill(small_folder, tiny_docs, out, layers=1, limit=300)
    record = distill(small_folder, tiny_docs, out, layers=1, limit=300, force=True)
    assert record["student"]["layers"] == 1 and [path.name for path in tmp_path.iterdir()] == [
        "student"
    ]
    assert TextEncoder.load(out).fingerprint() == record["student"]["fingerprint"]
    assert not any("embedding.weight" in name for name in load_file(out / "model.safetensors"))


def test_a_teacher_whose_pooling_leaves_prompts_out_has_vectors_of_tokens(
    small_folder: Path, tiny_docs: Path, tmp_path: Path
) -> None:
    found: list[np.ndarray] = []
    for prompt in ("", "passage: "):
        teacher = TextEncoder.load(small_folder, document_prompt=prompt)
        pooling: Any = teacher.model[1]
        pooling.include_prompt = False
        with Workspace(tmp_path / f"w{len(found)}", "x") as work:
            settings = DistillSettings("t", str(tiny_docs), static=True)
            found.append(Distilling(work, open_source(tiny_docs), settings, teacher)._vocabulary)
        assert teacher.prompts["document"] == prompt
    np.testing.assert_array_equal(*found)
    assert found[0].any()


@pytest.mark.parametrize("options", [{"layers": 1}, {"static": True, "dim": 32}])
def test_the_teacher_reads_and_the_student_keeps_the_prompts_that_are_given(
    small_folder: Path,
    tiny_docs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
) -> None:
    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(2, 1e-3))
    taught: dict[tuple[str, str], np.ndarray] = {}
    whole = Distilling.by_teacher

    def noted(self: Distilling, texts: Any) -> np.ndarray:
        vectors = whole(self, texts)
        taught.update(zip(texts, vectors, strict=True))
        return vectors

    monkeypatch.setattr(Distilling, "by_teacher", noted)
    teacher = Path(shutil.copytree(small_folder, tmp_path / "teacher"))
    change_json(teacher / "config_sentence_transformers.json", prompts={"passage": "passage: "})
    prompts = {"query": "find: ", "document": ""}
    given: dict[str, Any] = {f"{role}_prompt": prompt for role, prompt in prompts.items()}
    out = tmp_path / "student"
    record = distill(teacher, tiny_docs, out, limit=300, **options, **given)
    assert {name: record["settings"][name] for name in given} == given
    # Texts that are too short to be cut.
    for role, prompt in prompts.items():
        texts = [text for text, own in taught if own == role and len(text) < 120][:5]
        expected = TextEncoder.load(small_folder).encode([prompt + text for text in texts])
        found = [taught[text, role] for text in texts]
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert len(texts) == 5
    if "layers" in options:
        assert TextEncoder.load(out).prompts == prompts
        assert TextEncoder.load(out).fingerprint() == record["student"]["fingerprint"]


def test_a_teacher_with_one_tensor_under_two_names(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of T5, the word vectors are the encoder's too."""
    from transformers import T5Config, T5EncoderModel

    teacher = Path(shutil.copytree(tiny_folder, tmp_path / "t5"))
    config = T5Config(
        vocab_size=WORDS, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2, pad_token_id=0
    )
    T5EncoderModel(config).save_pretrained(teacher)
    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(2, 1e-3))
    record = distill(teacher, tiny_docs, tmp_path / "student", dim=8)
    assert record["training"]["steps"] == 2 and record["student"]["dim"] == 8
    assert TextEncoder.load(tmp_path / "student").fingerprint() == record["student"]["fingerprint"]


def test_queries_of_one_page_say_nothing_of_others(
    made: Made,
    tiny_docs: Path,
    small_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from isometry.cli.output import print_rich
    from isometry.report.tables import render_distillation

    several = made["table"][1]["test"]
    assert several["groups"] > 1 and all(row["low"] is not None for row in several["differences"])
    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(2, 1e-3))
    monkeypatch.setattr(Prepared, "parts_of", lambda _, asked: [7] * len(asked.queries))
    test = distill(small_folder, tiny_docs, tmp_path / "student", static=True, dim=32)["test"]
    assert test["groups"] == 1
    assert {(row["low"], row["high"]) for row in test["differences"]} == {(None, None)}
    print_rich(render_distillation({**made["table"][1], "test": test}))
    shown = " ".join(capsys.readouterr().out.split())
    assert "pages that belong together, which says nothing of others." in shown
    assert "[" not in shown


def test_a_step_has_no_more_tokens_than_fit(
    tiny_docs: Path, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = distilling.Distillation.loss

    def counted(self: Any, batch: Any) -> Any:
        roles = [role for role in ("query", "document") if role in batch]
        read.append(sum(batch[role]["input_ids"].numel() for role in roles))
        return whole(self, batch)

    monkeypatch.setattr(distilling.Distillation, "loss", counted)
    monkeypatch.setattr(distilling, "LAYERS", replace(distilling.LAYERS, tokens=512))
    record = distill(small_folder, tiny_docs, tmp_path / "student", layers=1, minutes=0.2)
    assert record["plan"]["batch"] == 32 and len(read) > 10
    # Of 32 texts as long as the model reads, there would be 2,048.
    assert 256 < max(read) <= 512


def test_a_file_is_one_source_however_its_path_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "en.csv").write_text("a")
    assert as_typed("./src/en.csv") == as_typed("src/en.csv") == as_typed("src//en.csv")
    assert as_typed("./src/") == as_typed("src")
    assert as_typed("sqlite:a//b.db") == "sqlite:a//b.db" and as_typed("owner/name") == "owner/name"


@pytest.mark.parametrize("words", [(14, 14), (3, 60), (60, 60), (1, 9)])
def test_a_plan_knows_how_long_steps_of_any_texts_take(
    small_folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[int, int]
) -> None:
    """A step takes what its tokens take, padding included: a few long texts are a whole one."""
    teacher, random = TextEncoder.load(small_folder), np.random.default_rng(0)
    texts = ["word " * int(count) for count in random.integers(words[0], words[1] + 1, 900)]
    rows = [DistillationRow(text, number) for number, text in enumerate(texts)]
    read = distill_plan.tokens_read(teacher, texts)

    def cost(batch: list[int]) -> float:
        return 1e-4 * len(batch) * max(read[row] for row in batch)

    def timed(_: Any, batches: Any, *__: Any, **___: Any) -> float:
        # As `step_seconds` does, the best but the first.
        return min(cost([row.target for row in batch]) for batch in batches[1:])

    monkeypatch.setattr(distill_plan, "step_seconds", timed)
    speeds = {"float32": 50_000.0, "bfloat16": 1.0}
    monkeypatch.setattr(distill_plan, "encode_speeds", lambda *_: speeds)
    for seconds in (20.0, 2000.0):
        made = distill_plan.make_distill_plan(
            teacher, lambda _: None, rows, texts, documents=900,
            kind=replace(LAYERS, tokens=512), cost=0.5, candidates=3, fewest=1, seconds=seconds,
        )  # fmt: skip
        assert made.texts == 900 and made.tokens == 512
        order = length_batches(read, made.batch, made.steps, 1, most=made.tokens)
        taken = sum(map(cost, order))
        assert made.estimate_seconds["training"] == pytest.approx(taken, rel=0.15)
        passes = sum(map(len, order)) / 900
        assert passes <= LAYERS.most_epochs + 0.5
        assert seconds == 20.0 or passes > LAYERS.most_epochs - 0.5


def test_the_axes_are_the_principal_components_of_what_the_teacher_makes_of_the_texts(
    tiny_docs: Path, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.decomposition import PCA

    monkeypatch.setattr(Distilling, "_make_plan", lambda _: plan(2, 1e-3))
    settings = DistillSettings(str(small_folder), str(tiny_docs), layers=1, dim=16)
    with Workspace(tmp_path / "w", "test") as work:
        job = Distilling(work, open_source(tiny_docs), settings, TextEncoder.load(small_folder))
        assert job.axes is not None
        vectors = job.by_teacher(job.texts)
        found = np.abs(job.axes @ PCA(16, svd_solver="full").fit(vectors).components_.T)
        np.testing.assert_allclose(found, np.eye(16), atol=1e-3)
        # A teacher's vectors are cut to them, and of length 1 again.
        targets = job.targets(job.texts[:9])
        expected = vectors[:9] @ job.axes.T
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(targets, expected, atol=1e-5)


def shares(
    teacher: TextEncoder, monkeypatch: pytest.MonkeyPatch, texts: list[str], **options: Any
) -> tuple[DistillPlan, dict[str, Any]]:
    """A plan for a machine of known speeds, on which every step takes a hundredth of a second."""
    said: dict[str, Any] = {}
    monkeypatch.setattr(distill_plan, "step_seconds", lambda *_, **own: said.update(own) or 0.01)
    speeds = {"float32": 50_000.0, "bfloat16": options.pop("half", 1.0)}
    monkeypatch.setattr(distill_plan, "encode_speeds", lambda *_: speeds)
    rows = [DistillationRow(text, number) for number, text in enumerate(texts)]
    usual: dict[str, Any] = {"documents": len(texts) // 2, "kind": LAYERS, "cost": 0.5,
                             "candidates": 3, "fewest": 1, "seconds": 1.0}  # fmt: skip
    made = distill_plan.make_distill_plan(
        teacher, lambda _: cast(Any, None), rows, texts, **(usual | options)
    )
    return made, said


def test_the_time_is_shared_by_what_the_teacher_and_the_students_encode(
    small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, texts = TextEncoder.load(small_folder), ["word " * 8] * 3000
    (length,) = set(teacher.lengths(texts[:2], "document"))
    a_second = 50_000 / length
    made, _ = shares(teacher, monkeypatch, texts)
    # A document has two passages; teacher, untrained and trained student rank them.
    assert made.pool == int(0.3 * a_second / 2 / (1 + 2 * 0.5))
    # Three students are chosen from, which encode what the teacher does.
    assert made.texts == int(0.35 * a_second / (1 + 3 * 0.5))
    spent = {name: made.estimate_seconds[name] for name in ("evaluation", "targets")}
    assert spent == pytest.approx({"evaluation": 0.3, "targets": 0.35}, abs=0.06)
    # What is left: 0.35 seconds.
    assert 34 <= made.steps <= 36
    assert shares(teacher, monkeypatch, texts, fewest=2500)[0].texts == 2500
    assert shares(teacher, monkeypatch, texts, seconds=1e4)[0].pool == 1500
    assert shares(teacher, monkeypatch, texts[:40])[0].batch == 20


def test_a_table_is_not_trained_in_half_precision(
    small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, texts = TextEncoder.load(small_folder), ["word " * 8] * 300
    for kind, expected in ((LAYERS, True), (distill_plan.TABLE, False)):
        made, said = shares(teacher, monkeypatch, texts, half=1e6, kind=kind)
        assert made.precision == "bfloat16" and said["bfloat16"] is expected


def test_a_few_long_texts_make_the_mean_step_longer_than_the_middle_one(
    small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = TextEncoder.load(small_folder)
    texts = ["word " * (60 if number % 10 == 0 else 3) for number in range(960)]
    even, _ = shares(teacher, monkeypatch, ["word " * 3] * 960)
    uneven, _ = shares(teacher, monkeypatch, texts)
    assert even.measured["seconds_a_step"] == 0.01
    # Timed are steps of short texts alone.
    assert uneven.measured["seconds_a_step"] > 0.015
