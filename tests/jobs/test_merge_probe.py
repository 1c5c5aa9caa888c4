from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from beir_folders import write_beir
from safetensors.torch import load_file
from tuned_folders import WEIGHTS, change_json, change_weights, tuned, with_dense

from isometry.core.errors import InputError
from isometry.core.files import hash_folder
from isometry.core.workspace import Workspace
from isometry.encoders.text import TextEncoder
from isometry.jobs import merge as job
from isometry.jobs import merge_evaluation, merge_probe, merge_tasks
from isometry.jobs.batching import passage
from isometry.jobs.merge_tasks import Task, open_tasks
from isometry.jobs.preparation import Prepared
from isometry.learners.two_towers import PairRow
from isometry.merging.average import average
from isometry.merging.checkpoints import open_checkpoint
from isometry.merging.self_positioning import Position, self_positioning

STEPS = 12
PROMPTS = "config_sentence_transformers.json"


@pytest.fixture(scope="module")
def task(tiny_docs: Path) -> Task:
    return open_tasks([tiny_docs])[0]


@pytest.fixture(scope="module")
def prepared(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    with Workspace(tmp_path_factory.mktemp("work") / "w", "x") as work:
        return task.prepared(work, 0)


@pytest.fixture
def fewer_docs(tiny_docs: Path, tmp_path: Path) -> Path:
    """Fewer of the same modules."""
    folder = tmp_path / "fewer"
    folder.mkdir()
    for file in sorted(tiny_docs.glob("*.py"))[:7]:
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def learned(
    small_folder: Path, tiny_docs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A merge of the small model, moved a little, and of a copy that noise made useless."""
    folder = tmp_path_factory.mktemp("learned")
    near = tuned(small_folder, folder / "near", 1, size=0.003)
    noisy = tuned(small_folder, folder / "noisy", 2, size=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_probe, "_STEPS", STEPS)
        figures = job.merge(
            [noisy, near],
            folder / "out",
            method="self-positioning",
            base=small_folder,
            probe=[tiny_docs],
        )
    return folder, figures


def test_the_model_that_is_good_on_the_probe_gets_the_weight(
    learned: tuple[Path, dict[str, Any]], small_folder: Path
) -> None:
    folder, figures = learned
    weights, scale = figures["recipe"]["weights"], figures["recipe"]["scale"]
    assert weights[1] > weights[0] >= 0 and sum(weights) == pytest.approx(1)
    facts = figures["learned"]
    assert facts["loss"] < facts["start_loss"] and 0 <= scale <= 2
    assert facts["norms"][0] > 50 * facts["norms"][1] and facts["sign_conflict"] > 0.4
    states = [load_file(folder / name / WEIGHTS) for name in ("noisy", "near")]
    own = {
        one["pattern"]: Position(tuple(one["weights"]), one["scale"])
        for one in figures["recipe"]["tensors"]
    }
    assert len(set(own.values())) == len(own) > 30 and facts["per"] == "tensor"
    rest = Position(tuple(weights), scale)
    assert rest.distance == pytest.approx(
        sum(position.distance for position in own.values()) / len(own)
    )
    expected = dict(
        self_positioning(
            load_file(small_folder / WEIGHTS), states, lambda name: own.get(name, rest)
        )
    )
    ours = load_file(folder / "out" / WEIGHTS)
    assert all(torch.equal(ours[name], tensor) for name, tensor in expected.items())
    # What no vector depends on has no position of its own.
    assert set(expected) - set(own) <= {
        "pooler.dense.weight",
        "pooler.dense.bias",
        "embeddings.position_ids",
    }


def test_losses_of_the_whole_probe_are_told(
    learned: tuple[Path, dict[str, Any]], tiny_docs: Path
) -> None:
    _, figures = learned
    facts = figures["learned"]
    ((name, (base, noisy, near)),) = facts["losses"].items()
    assert name == str(tiny_docs) and noisy > near and abs(base - near) < 0.1 * base
    # Nobody is better than the base by more than chance: the loss is over the base's own.
    assert facts["without_gain"] == [name]
    assert facts["loss"] < facts["start_loss"] <= noisy / base
    assert [warning for warning in figures["warnings"] if "No model takes 5%" in warning]


def test_a_gain_is_what_counts_and_hardly_any_is_none(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Any
) -> None:
    models = [tuned(tiny_folder, tmp_path / name, seed) for seed, name in enumerate("ab")]
    rows = [PairRow(words, code, row) for row, (words, code) in enumerate(pairs[:12])]
    monkeypatch.setattr(merge_probe, "probe_rows", lambda *_: ({"a": rows, "b": rows[::-1]}, []))
    monkeypatch.setattr(merge_probe, "_STEPS", 1)
    # Of the base, then of each model, on one task and then on the other.
    told = iter([[2.0, 1.0, 3.0], [2.0, 2.5, 1.95]])
    monkeypatch.setattr(merge_probe, "_losses", lambda *_: next(told))
    shared: list[int] = []
    shares = merge_probe.over_gains

    def watch(base: Any, models: Any, probe: Any) -> Any:
        shared.append(len(models))
        return shares(base, models, probe)

    monkeypatch.setattr(merge_probe, "over_gains", watch)
    figures = job.merge(
        models, tmp_path / "out", method="self-positioning", base=tiny_folder, probe=[tiny_docs]
    )
    assert figures["learned"]["without_gain"] == ["b"]
    # Of the other one the base itself is all that there is to compare with.
    assert shared == [2, 1]
    (said,) = [warning for warning in figures["warnings"] if "No model takes" in warning]
    assert "probe b (2.000; the best has 1.950)" in said


def test_a_parameter_is_found_under_what_its_file_calls_it(
    tiny_folder: Path, tmp_path: Path
) -> None:
    dense = with_dense(tuned(tiny_folder, tmp_path / "dense", 1))
    headed = tuned(tiny_folder, tmp_path / "headed", 1)
    change_weights(headed, lambda state: [
        state.update({f"bert.{name}": state.pop(name)}) for name in list(state)])  # fmt: skip
    for folder, head in ((dense, ""), (headed, "bert.")):
        encoder, checkpoint = TextEncoder.load(folder), open_checkpoint(folder)
        own = {name: part for name, part in encoder.named_parameters() if ".pooler." not in name}
        stored = merge_probe._stored_names(own, checkpoint)
        assert stored.keys() == own.keys()
        assert len(set(stored.values())) == len(stored)
        assert all(torch.equal(checkpoint[name], own[one]) for one, name in stored.items())
        assert f"{head}embeddings.LayerNorm.bias" in stored.values()
        assert ("2_Dense/linear.bias" in stored.values()) == (folder == dense)
    assert merge_probe._stored_names(["model.0.model.other", "model.9.w"], checkpoint) == {}


def test_where_files_name_tensors_otherwise_all_have_one_position(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Any
) -> None:
    models = [tuned(tiny_folder, tmp_path / name, seed) for seed, name in enumerate("ab")]
    rows = [PairRow(words, code, row) for row, (words, code) in enumerate(pairs[:12])]
    monkeypatch.setattr(merge_probe, "probe_rows", lambda *_: ({"a": rows}, []))
    monkeypatch.setattr(merge_probe, "_STEPS", 2)
    monkeypatch.setattr(merge_probe, "_stored_names", lambda *_: {})
    figures = job.merge(
        models, tmp_path / "out", method="self-positioning", base=tiny_folder, probe=[tiny_docs]
    )
    assert figures["learned"]["per"] == "model" and "tensors" not in figures["recipe"]


def test_its_recipe_makes_the_same_bytes_and_learns_nothing_again(
    learned: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, figures = learned

    def fail(*_: Any) -> None:
        pytest.fail("it learned again")

    monkeypatch.setattr(merge_probe, "learn", fail)
    monkeypatch.setattr(merge_tasks, "open_tasks", fail)
    again = job.merge_by_recipe(folder / "out", tmp_path / "again")
    assert again["recipe"] == figures["recipe"] and again["learned"] is None
    assert hash_folder(tmp_path / "again") == hash_folder(folder / "out")


def test_a_recipe_by_hand_is_learned_and_ends_as_the_other(
    learned: tuple[Path, dict[str, Any]],
    small_folder: Path,
    tiny_docs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, figures = learned
    monkeypatch.setattr(merge_probe, "_STEPS", STEPS)
    change_json(
        tmp_path / "mine.json",
        method="self-positioning",
        models=[str(folder / "noisy"), str(folder / "near")],
        base=str(small_folder),
        probe=[str(tiny_docs)],
    )
    made = job.merge_by_recipe(tmp_path / "mine.json", tmp_path / "out")
    assert made["recipe"] == figures["recipe"] and made["learned"] == figures["learned"]


def test_a_probe_is_what_fit_validates_on(task: Task, prepared: Prepared, tmp_path: Path) -> None:
    (rows,) = merge_probe.probe_rows([task], 0, tmp_path)[0].values()
    asked = {text: next(iter(relevant)) for text, relevant in zip(
        prepared.questions["validation"].queries,
        prepared.questions["validation"].relevance, strict=True)}  # fmt: skip
    assert {row.query for row in rows} <= set(asked) and len(rows) > 20
    for row in rows:
        document = asked[row.query]
        assert prepared.sides[document] == "validation"
        assert row.document == passage(*prepared.views[document])
        assert row.key == prepared.clusters[document] and row.query not in row.document
    assert len({row.key for row in rows}) == len(rows)
    trained = {pair.query for pair in prepared.pairs}
    assert not trained & {row.query for row in rows}
    assert not set(prepared.questions["test"].queries) & {row.query for row in rows}


def test_near_duplicates_are_one_example(
    task: Task, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rows,) = merge_probe.probe_rows([task], 0, tmp_path / "a")[0].values()
    clusters = prepared.clusters.copy()
    clusters[clusters == rows[0].key] = rows[1].key
    twins = replace(prepared, clusters=clusters)
    monkeypatch.setattr(Task, "prepared", lambda *_: twins)
    (fewer,) = merge_probe.probe_rows([task], 0, tmp_path / "b")[0].values()
    assert len(fewer) == len(rows) - 1 == len({row.key for row in fewer})


def test_all_that_answers_a_query_is_known_and_the_best_is_learned_on(
    task: Task, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a batch the others would count as wrong answers."""
    asked = prepared.questions["validation"]
    answers = [next(iter(relevant)) for relevant in asked.relevance]
    # Each query is answered somewhat by what answers the next one.
    graded = [{after: 1, own: 2} for own, after in pairwise(answers)]
    questions = replace(asked, queries=asked.queries[:-1], relevance=graded)
    judged = replace(prepared, questions={**prepared.questions, "validation": questions})
    monkeypatch.setattr(Task, "prepared", lambda *_: judged)
    (rows,) = merge_probe.probe_rows([task], 0, tmp_path)[0].values()
    known = dict(zip(questions.queries, graded, strict=True))
    assert len(rows) > 20
    for row in rows:
        documents = known[row.query]
        best = max(documents, key=lambda document: documents[document])
        assert row.key == prepared.clusters[best]
        assert row.answers >= {prepared.clusters[document] for document in documents}


def test_people_s_queries_are_the_probe_but_for_those_that_were_trained_on_or_an_evaluation_asks(
    tmp_path: Path, pairs: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_probe, "_BATCH", 16)
    (task,) = open_tasks([write_beir(tmp_path / "asked", pairs)])
    found, warnings = merge_probe.probe_rows([task], 0, tmp_path / "probe")
    (rows,) = found.values()
    with Workspace(tmp_path / "w", "x") as work:
        held = merge_evaluation.held_out(work, task, 0)
    answer = {query.strip(): code.strip() for query, code in pairs}
    assert all(row.document == answer[row.query] for row in rows)
    chosen, asked = (set(held.questions[side].queries) for side in ("validation", "test"))
    assert len(rows) >= 16 and {row.query for row in rows} <= chosen
    assert len(asked) >= 16 and not asked & chosen and not warnings

    # Few of them are not enough to learn on: then it is said what they may be.
    (task,) = open_tasks([write_beir(tmp_path / "few", pairs[::6])])
    found, warnings = merge_probe.probe_rows([task], 0, tmp_path / "other")
    (rows,) = found.values()
    with Workspace(tmp_path / "v", "x") as work:
        held = task.prepared(work, 0)
    chosen, asked = (set(held.questions[side].queries) for side in ("validation", "test"))
    assert len(chosen) < 16 and not asked & {row.query for row in rows}
    assert len(rows) > 2 * len(chosen) > 0
    assert "would train on" in warnings[0]
    assert (len(warnings) == 2) == (len(rows) < 16)


def test_every_source_has_as_many(task: Task, fewer_docs: Path, tmp_path: Path) -> None:
    (few,) = open_tasks([fewer_docs])
    names = [task.source.name, few.source.name]
    alone = merge_probe.probe_rows([few], 0, tmp_path / "a")[0][names[1]]
    both, _ = merge_probe.probe_rows([task, few], 0, tmp_path / "b")
    assert list(both) == names
    assert {len(rows) for rows in both.values()} == {len(alone)}
    assert both[names[1]] == alone


def test_of_very_many_pairs_a_sample_is_taken_and_not_the_first(
    task: Task, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Task, "prepared", lambda *_: prepared)
    monkeypatch.setattr(merge_probe, "_MOST_PAIRS", 10)
    taken: list[set[str]] = []
    for seed in (0, 1):
        (rows,) = merge_probe.probe_rows([task], seed, tmp_path / str(seed))[0].values()
        assert len(rows) == 10
        taken.append({row.query for row in rows})
    first = set(prepared.questions["validation"].queries[:10])
    assert taken[0] != taken[1] and first not in taken


def test_two_tasks_are_learned_on_at_once(
    tiny_folder: Path,
    tiny_docs: Path,
    fewer_docs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merge_probe, "_STEPS", 2)
    models = [tuned(tiny_folder, tmp_path / name, seed) for seed, name in enumerate("ab")]
    figures = job.merge(
        models, tmp_path / "out", method="self-positioning", base=tiny_folder,
        probe=[tiny_docs, fewer_docs],
    )  # fmt: skip
    pairs = figures["learned"]["pairs"]
    assert list(pairs) == [str(tiny_docs), str(fewer_docs)] and len(set(pairs.values())) == 1
    assert figures["recipe"]["probe"] == [str(tiny_docs), str(fewer_docs)]


def test_the_prompts_that_the_merge_will_have_are_put_before_the_probe(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Any
) -> None:
    models = [tuned(tiny_folder, tmp_path / name, seed) for seed, name in enumerate("ab")]
    change_json(models[1] / PROMPTS, prompts={"query": "ask: ", "document": "read: "})
    rows = [PairRow(words, code, row) for row, (words, code) in enumerate(pairs[:12])]
    monkeypatch.setattr(merge_probe, "probe_rows", lambda *_: ({"a": rows}, []))
    monkeypatch.setattr(merge_probe, "_STEPS", 1)
    seen: list[str] = []
    collate = TextEncoder.collate

    def watch(self: TextEncoder, texts: Any, role: Any, **more: Any) -> Any:
        seen.append(self.prompts[role])
        return collate(self, texts, role, **more)

    monkeypatch.setattr(TextEncoder, "collate", watch)
    job.merge(models, tmp_path / "out", method="self-positioning", base=tiny_folder,
              probe=[tiny_docs], prompts_from=models[1])  # fmt: skip
    assert set(seen) == {"ask: ", "read: "}


BASED = {"method": "self-positioning", "base": "b"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "self-positioning", "probe": ["p"]}, "needs --base"),
        (BASED, "needs --probe"),
        ({**BASED, "probe": ["p"], "weights": [0.5, 0.5]}, "learns the weights"),
        ({**BASED, "probe": ["p"], "scale": 1.0}, "learns weights and scale"),
        ({**BASED, "probe": ["p", "p"]}, "given twice"),
        ({**BASED, "probe": ["nowhere"]}, "nowhere"),
        ({"method": "ties", "base": "b", "probe": ["p"]}, "ties takes no --probe"),
        ({"probe": ["p"]}, "average takes no --probe"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        job.merge(["a", "c"], tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_base_may_have_a_head_that_its_models_lack(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_probe, "_STEPS", 1)
    models = [tuned(tiny_folder, tmp_path / name, seed) for seed, name in enumerate("ab")]
    base = Path(shutil.copytree(tiny_folder, tmp_path / "base"))
    with_dense(base)
    result = job.merge(models, tmp_path / "out", method="self-positioning", base=base,
                       probe=[tiny_docs])  # fmt: skip
    assert result["learned"]["per"] == "tensor"
    assert TextEncoder.load(tmp_path / "out").dim == 32


def test_what_has_no_vectors_is_refused_before_documents_are_read(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_probe, "probe_rows", lambda *_: pytest.fail("documents were read"))
    folders = [tuned(tiny_folder, tmp_path / name, seed) for seed, name in enumerate("abc")]
    for folder in folders:
        (folder / "modules.json").unlink()
        change_json(folder / "config.json", architectures=["BertForSequenceClassification"])
        change_weights(folder, add_classifier)
    with pytest.raises(InputError, match="is a cross-encoder"):
        job.merge(folders[:2], tmp_path / "out", method="self-positioning", base=folders[2],
                  probe=[tiny_docs])  # fmt: skip


def add_classifier(state: dict[str, torch.Tensor]) -> None:
    """Names and head of a model that scores pairs."""
    for name in list(state):
        state[f"bert.{name}"] = state.pop(name)
    state["classifier.weight"], state["classifier.bias"] = torch.zeros(1, 32), torch.zeros(1)


def test_an_empty_probe_is_named_and_leaves_nothing(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path
) -> None:
    models = [tuned(tiny_folder, tmp_path / name, seed) for seed, name in enumerate("ab")]
    little = tmp_path / "little"
    little.mkdir()
    # One page, again and again: enough text, and nothing of it can be held out.
    for number in range(25):
        (little / f"{number}.md").write_text("# On cats\n\nCats sleep for most of the day.\n")
    before = sorted(tmp_path.iterdir())
    for probe in ([little], [tiny_docs, little]):
        with pytest.raises(InputError, match=r"Too little text in the probe .*little") as caught:
            job.merge(models, tmp_path / "out", method="self-positioning", base=tiny_folder,
                      probe=probe)  # fmt: skip
        assert "gives 0 pairs" in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_scale_by_tensor_is_of_self_positioning_alone(tmp_path: Path) -> None:
    tensors = [{"pattern": "*", "weights": [0.5, 0.5], "scale": 0.5}]
    change_json(tmp_path / "r.json", models=["a", "b"], base="c", method="ties", tensors=tensors)
    with pytest.raises(InputError, match="ties takes no scale by tensor"):
        job.merge_by_recipe(tmp_path / "r.json", tmp_path / "out")
    tensors[0]["scale"] = float("nan")
    change_json(tmp_path / "s.json", models=["a", "b"], base="c", method="self-positioning",
                weights=[0.5, 0.5], tensors=tensors)  # fmt: skip
    with pytest.raises(InputError, match="must be finite"):
        job.merge_by_recipe(tmp_path / "s.json", tmp_path / "out")


def test_weights_below_0_in_a_recipe_are_refused(tmp_path: Path) -> None:
    change_json(tmp_path / "r.json", models=["a", "b"], base="c", method="self-positioning",
                weights=[-0.5, 1.5])  # fmt: skip
    with pytest.raises(InputError, match="0 and more"):
        job.merge_by_recipe(tmp_path / "r.json", tmp_path / "out")
    change_json(tmp_path / "s.json", models=["a", "b"], base="c", method="self-positioning",
                probe="docs")  # fmt: skip
    with pytest.raises(InputError, match="probe is no list"):
        job.merge_by_recipe(tmp_path / "s.json", tmp_path / "out")


def test_models_that_are_the_base_come_back(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Any
) -> None:
    rows = [PairRow(words, code, row) for row, (words, code) in enumerate(pairs[:12])]
    monkeypatch.setattr(merge_probe, "probe_rows", lambda *_: ({"a": rows}, []))
    job.merge([tiny_folder] * 2, tmp_path / "out", method="self-positioning", base=tiny_folder,
              probe=[tiny_docs])  # fmt: skip
    ours, base = load_file(tmp_path / "out" / WEIGHTS), load_file(tiny_folder / WEIGHTS)
    assert all(torch.equal(ours[name], tensor) for name, tensor in base.items())


def test_a_password_stays_here(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Any
) -> None:
    shown = "postgresql://me@host/db#mails"
    rows = [PairRow(words, code, row) for row, (words, code) in enumerate(pairs[:12])]
    monkeypatch.setattr(merge_probe, "probe_rows", lambda *_: ({shown: rows}, []))
    monkeypatch.setattr(merge_probe, "_STEPS", 1)
    monkeypatch.setattr(merge_tasks, "open_source", lambda *_, **__: SimpleNamespace(name=shown))
    figures = job.merge(
        [tiny_folder] * 2, tmp_path / "out", method="self-positioning", base=tiny_folder,
        probe=["postgresql://me:s3cret@host/db#mails"],
    )  # fmt: skip
    assert figures["recipe"]["probe"] == [shown]
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.rglob("*.*"))


def test_half_models_are_merged_in_their_own_type(
    tiny_folder: Path, tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Any
) -> None:
    models = [tuned(tiny_folder, tmp_path / name, seed) for seed, name in enumerate("ab")]
    for model in models:
        change_weights(model, lambda state: state.update(
            {name: tensor.half() for name, tensor in state.items()}))  # fmt: skip
    rows = [PairRow(words, code, row) for row, (words, code) in enumerate(pairs[:12])]
    monkeypatch.setattr(merge_probe, "probe_rows", lambda *_: ({"a": rows}, []))
    monkeypatch.setattr(merge_probe, "_STEPS", 2)
    job.merge(models, tmp_path / "out", method="self-positioning", base=tiny_folder,
              probe=[tiny_docs])  # fmt: skip
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["weights"] and recipe["seed"] == 0
    ours = load_file(tmp_path / "out" / WEIGHTS)
    mean = dict(average([load_file(model / WEIGHTS) for model in models]))
    assert all(tensor.dtype == torch.float16 for tensor in ours.values())
    assert all(ours[name].shape == tensor.shape for name, tensor in mean.items())
