from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers.base.modules import Normalize
from small_vocabulary import WORDS

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import normalize
from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import TextEncoder
from isometry.evaluation.isotropy import isotropy
from isometry.evaluation.word_tests import DefinedWords
from isometry.learners.classification import Classification, LabelledText
from isometry.learners.learner import Learner
from isometry.systems import naming_study
from isometry.systems.catalogue import find
from isometry.systems.dictionary_study import (
    PENALTIES,
    Asked,
    Dictionary,
    DictionaryRun,
    DictionaryScale,
    data,
    entries_by,
)
from isometry.systems.naming_study import HALVES, WHOLE, Defined, head_over, measure, untouched
from isometry.systems.run import Run
from isometry.systems.sentence.defsent_plus import (
    definition_classes,
    independent_classes,
    progressive_classes,
    system,
    word_classes,
)
from isometry.systems.system import Splits
from isometry.training.stages import Stage, Weights, run_stages
from isometry.training.trainer import Batches
from isometry.training.unique_batches import unique_batches

STEPS = {"whole": 4, "first": 2, "second": 2}
# Enough for synonyms with a definition in common to be among them.
WIDE = replace(system.scales["miniature"], entries=1_500, validated=300, tested=300)


@pytest.fixture(scope="module")
def splits() -> Splits[Dictionary, Asked]:
    return data(WIDE)


def first_entries(whole: Dictionary, count: int) -> Dictionary:
    rows = np.flatnonzero(whole.owner < count)
    return Dictionary(
        whole.entries[:count],
        whole.token[:count],
        [whole.definitions[row] for row in rows],
        whole.owner[rows],
        [whole.files[row] for row in rows],
    )


@pytest.fixture
def run(splits: Splits[Dictionary, Asked], tiny_folder: Path, tmp_path: Path) -> DictionaryRun:
    """Sixty entries of the real dictionary, for the tiny model of 32 dimensions."""
    few = first_entries(splits.train, 60)
    # Of the real model's words, the tiny one has the first.
    few = replace(few, token=np.where(few.token < WORDS, few.token, -1))
    scale = DictionaryScale(
        model=str(tiny_folder), steps=STEPS, rates=(1e-2,), precision="float32",
        entries=60, validated=8, tested=8, batch=8, tokens=16, iterations=3,
    )  # fmt: skip
    folders = {"folder": tmp_path / "run", "shared": tmp_path / "shared"}
    return Run(scale, few, splits.validation, seed=3, rate=1e-2, **folders)


@pytest.fixture
def begun(run: DictionaryRun, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """By stage: the learner as its training began, and its rows."""
    seen: dict[str, Any] = {}
    fit = run.fit

    def look(stage: str, learner: Learner, rows: Any, order: Any) -> None:
        seen[stage] = (copy.deepcopy(learner), list(rows))
        fit(stage, learner, rows, order)

    monkeypatch.setattr(run, "fit", look)
    return seen


def test_what_is_asked_was_never_told(splits: Splits[Dictionary, Asked]) -> None:
    train, validation, test = splits.train, splits.validation, splits.test
    assert len(validation.definitions) == WIDE.validated
    assert len(test.definitions) == WIDE.tested
    told = {normalize(text) for text in train.definitions}
    sides = [{normalize(text) for text in side.definitions} for side in (validation, test)]
    assert told.isdisjoint(sides[0] | sides[1]) and sides[0].isdisjoint(sides[1])
    for side in (validation, test):
        for text, answers in zip(side.definitions, side.answers, strict=True):
            assert answers
            for answer in answers:
                assert f" {train.entries[answer]} " not in f" {text.lower()} "
    # Every entry can be learned from another of its senses.
    assert set(train.owner) == set(range(len(train.entries)))
    assert len(set(train.entries)) == len(train.entries) <= WIDE.entries
    assert validation.words is None and isinstance(test.words, DefinedWords)
    assert {file.split(".")[0] for file in (*train.files, *test.files)} == {"noun"}


def test_synonyms_share_a_definition_and_all_answer_it(
    splits: Splits[Dictionary, Asked],
) -> None:
    train = splits.train
    repeated = len(train.definitions) - len(set(train.definitions))
    assert repeated > 0  # one row for each
    pairs = list(zip(train.definitions, train.owner.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    several = [own for own in (*splits.validation.answers, *splits.test.answers) if len(own) > 1]
    assert several and all(len(set(own)) == len(own) for own in several)


def test_tokens_are_those_that_spell_an_entry_alone(splits: Splits[Dictionary, Asked]) -> None:
    tokenizer = TextEncoder.load(WIDE.model).tokenizer
    train = splits.train
    single = {
        entry for entry in train.entries
        if tokenizer.token_to_id(entry) is not None and entry.isalpha()
    }  # fmt: skip
    found = {entry for entry, token in zip(train.entries, train.token, strict=True) if token >= 0}
    assert found == single
    assert all(
        tokenizer.id_to_token(int(token)) == entry
        for entry, token in zip(train.entries, train.token, strict=True)
        if token >= 0
    )
    assert not any(" " in entry for entry in found)


def test_a_second_stage_has_better_targets_and_the_first_weights(
    run: DictionaryRun, begun: dict[str, Any], tiny_original: TextEncoder
) -> None:
    original = untouched(run)
    model = progressive_classes(run)
    assert list(begun) == list(HALVES) and run.steps == {"first": 2, "second": 2}
    classes: dict[str, np.ndarray] = {}
    for stage, (learner, rows) in begun.items():
        for name, tensor in tiny_original.state_dict().items():
            assert torch.equal(learner.encoder.state_dict()[name], tensor), (stage, name)
        classes[stage] = learner.head[1].classes.numpy()
        assert [row.label for row in rows] == run.train.owner.tolist()
        assert [row.text for row in rows] == run.train.definitions
    np.testing.assert_array_equal(classes["first"], original.classes)
    np.testing.assert_array_equal(classes["second"], model.classes)
    assert np.abs(classes["second"] - classes["first"]).max() > 0.01
    assert np.abs(model.encode(["a dog"]) - original.encode(["a dog"])).max() > 0.01


def test_two_stages_are_what_run_stages_makes_of_them(
    run: DictionaryRun, tiny_folder: Path, tmp_path: Path
) -> None:
    train, scale = run.train, run.scale
    rows = [
        LabelledText(text, owner)
        for text, owner in zip(train.definitions, train.owner.tolist(), strict=True)
    ]
    keys = [(row.label, row.text) for row in rows]
    # Of the seed 3; a stage sees other rows than the one before.
    orders = [list(unique_batches(keys, scale.batch, 2, seed)) for seed in (6, 7)]
    assert orders[0] != orders[1]

    def learner(weights: Weights | None) -> Learner:
        """Takes the entries of the learner before, and nothing else of it."""
        encoder = TextEncoder.load(tiny_folder)
        if weights is not None:
            own = {name.removeprefix("encoder."): tensor for name, tensor in weights.items()}
            encoder.load_state_dict({name: own[name] for name in encoder.state_dict()})
        head = head_over(run, entries_by(encoder.encode, train))
        fresh = TextEncoder.load(tiny_folder)
        fresh.model.append(Normalize())
        freeze_below(fresh, 0)
        return Classification(fresh, head, tokens=scale.tokens)

    stages = [
        Stage(name, learner, Batches(rows, order), run.rate)
        for name, order in zip(HALVES, orders, strict=True)
    ]
    files = run_stages(stages, tmp_path / "stages")
    model = progressive_classes(run)
    found = load_file(files["second"])
    np.testing.assert_allclose(found["head.1.classes"].numpy(), model.classes, atol=1e-5)
    for name, tensor in model.head.state_dict().items():
        torch.testing.assert_close(found[f"head.{name}"], tensor, atol=1e-5, rtol=1e-4)


def test_defsent_knows_entries_of_one_token_by_their_word_embeddings(
    run: DictionaryRun, begun: dict[str, Any], tiny_original: TextEncoder
) -> None:
    model = word_classes(run)
    train = run.train
    body: Any = tiny_original.model[0].model
    embeddings = body.get_input_embeddings().weight.detach().numpy()
    covered = [entry for entry in range(60) if train.token[entry] >= 0]
    assert 5 < len(covered) < 50 and model.entries.tolist() == covered
    learner, rows = begun["whole"]
    wanted = embeddings[train.token[covered]]
    np.testing.assert_allclose(model.classes, wanted - wanted.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(learner.head[1].classes.numpy(), model.classes)
    expected = [
        (text, covered.index(owner))
        for text, owner in zip(train.definitions, train.owner.tolist(), strict=True)
        if owner in covered
    ]
    assert [(row.text, row.label) for row in rows] == expected
    head: Any = model.head
    assert torch.equal(head[1].classes, learner.head[1].classes)
    assert not torch.equal(head[0].weight, learner.head[0].weight)


def test_defsent_starts_as_the_least_squares_from_definitions_to_words(
    run: DictionaryRun, begun: dict[str, Any]
) -> None:
    vectors_of = run.pretrained.encode
    model = word_classes(run)
    learner, rows = begun["whole"]
    vectors = vectors_of([row.text for row in rows])
    targets = model.classes[[row.label for row in rows]]
    with torch.no_grad():
        mapped = learner.head[0](torch.from_numpy(vectors)).numpy()
    centred = vectors - vectors.mean(axis=0)
    found = [
        centred @ np.linalg.solve(centred.T @ centred + penalty * np.eye(32), centred.T @ targets)
        for penalty in PENALTIES
    ]
    assert min(np.abs(mapped - one).max() for one in found) < 1e-3
    # Nearer to the words than the vectors themselves are.
    cosines = [
        torch.nn.functional.cosine_similarity(torch.from_numpy(one), torch.from_numpy(targets))
        for one in (mapped, vectors)
    ]
    assert cosines[0].mean() > cosines[1].mean() + 0.1


def test_training_starts_as_nearest_entry(run: DictionaryRun, begun: dict[str, Any]) -> None:
    """Before its first step, the head says what cosines with the entries say."""
    definition_classes(run)
    learner, _ = begun["whole"]
    vectors = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = learner.head(vectors)
    classes = learner.head[1].classes
    expected = torch.nn.functional.cosine_similarity(vectors[:, None], classes[None], dim=-1)
    torch.testing.assert_close(found, expected / run.scale.temperature, atol=1e-4, rtol=1e-4)


def test_ica_is_in_the_classes_and_in_the_head_before_them(
    run: DictionaryRun, begun: dict[str, Any]
) -> None:
    before = untouched(run).classes
    model = independent_classes(run)
    shape = isotropy(model.classes)
    assert abs(shape["mean_cosine"]) < 0.05
    assert shape["effective_rank"] > isotropy(before)["effective_rank"] + 1
    # The tiny model's last norm keeps the sum of its dimensions at 0.
    np.testing.assert_allclose(np.cov(model.classes.T, bias=True), np.eye(31), atol=1e-3)
    learner, _ = begun["whole"]
    with torch.no_grad():
        mapped = learner.head[0](torch.from_numpy(before)).numpy()
    np.testing.assert_allclose(mapped, model.classes, atol=5e-4)


def test_fewer_entries_than_dimensions_cannot_be_made_isotropic(run: DictionaryRun) -> None:
    run.train = first_entries(run.train, 20)
    with pytest.raises(InputError, match="20 vectors are too few to whiten 32 dimensions"):
        independent_classes(run)
    assert run.steps == {}


def test_figures_are_about_vectors_and_about_what_they_were_trained_towards(
    run: DictionaryRun, splits: Splits[Dictionary, Asked]
) -> None:
    """Vectors that point to the right entries, under a head that points to the wrong ones."""
    asked, train = splits.test, run.train
    answers = [(row % 60,) for row in range(len(asked.definitions))]
    asked = Asked(asked.definitions, answers, asked.files, asked.words)
    generator = np.random.default_rng(0)
    places = dict(zip(train.definitions, train.owner.tolist(), strict=True))
    places |= {text: own[0] for text, own in zip(asked.definitions, answers, strict=True)}
    axes = np.eye(61, dtype=np.float32)

    def encode(texts: Any) -> np.ndarray:
        return np.stack([axes[places.get(text, 60)] for text in texts])

    covered = np.flatnonzero(train.token >= 0)
    classes = np.roll(axes[covered], 1, axis=0)
    model = Defined(encode, head_over(run, classes), classes, covered)
    # Where a synonym has the same definition, the later entry has it here: both are right then.
    words = asked.words
    assert words is not None
    flat = DefinedWords(words.pairs, {word: [word] for word in words.senses})
    random = {word: generator.normal(size=61).astype(np.float32) for word in words.senses}
    plain = encode

    def with_words(texts: Any) -> np.ndarray:
        return np.stack([random.get(text, plain([text])[0]) for text in texts])

    asked = Asked(asked.definitions, answers, asked.files, flat)
    found = measure(run, model._replace(encode=with_words), asked)
    shared = [own[0] for own in answers if own[0] in covered]
    assert np.shape(found["mrr@100"]) == (len(shared),)
    assert np.shape(found["mrr@100, all entries"]) == (len(answers),)
    assert np.mean(found["mrr@100"]) > 0.9 > 0.5 > np.mean(found["mrr@100, trained classes"])
    assert found["share of entries covered"] == len(covered) / 60
    original = untouched(run)
    base = measure(run, original, asked)
    for name in ("mrr@100", "wordsim-353", "simlex-999"):
        assert np.isfinite(np.mean(base[name]))
    change = {name: np.mean(found[name]) - np.mean(base[name]) for name in base}
    assert found["change of simlex-999"] == pytest.approx(change["simlex-999"])
    better = max(change["wordsim-353"], change["mrr@100"])
    assert found["change of wordsim-353 or mrr@100, the better"] == pytest.approx(better)
    assert found["change of effective rank"] == pytest.approx(change["effective rank of classes"])
    for name in ("simlex-999", "wordsim-353 or mrr@100, the better", "effective rank"):
        assert base[f"change of {name}"] == 0
    # Validation has no words, and no figure about them.
    figures = measure(run, original, Asked(asked.definitions, answers, asked.files, None))
    assert not any("simlex" in name or "file" in name for name in figures)
    np.testing.assert_array_equal(figures["mrr@100"], figures["mrr@100, trained classes"])


def test_what_the_pretrained_encoder_reaches_is_computed_once(
    run: DictionaryRun, splits: Splits[Dictionary, Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    few, words = splits.test, splits.test.words
    assert words is not None
    asked = Asked(few.definitions[:8], [(row,) for row in range(8)], few.files[:8], words)
    model = untouched(run)
    calls: list[str] = []

    def count(name: str) -> None:
        made = getattr(naming_study, name)
        monkeypatch.setattr(
            naming_study, name, lambda *own, **named: (calls.append(name), made(*own, **named))[1]
        )

    for name in ("untouched", "word_similarity", "probe"):
        count(name)
    first = measure(run, model, asked)
    assert sorted(calls) == ["probe", "untouched", "word_similarity", "word_similarity"]
    again = Run(
        run.scale, run.train, run.validation, seed=4, rate=1e-2, folder=run._folder,
        shared=run._shared,
    )  # fmt: skip
    calls.clear()
    second = measure(again, model, asked)
    assert sorted(calls) == ["probe", "word_similarity"]
    for name in ("simlex-999", "wordsim-353 or mrr@100, the better", "effective rank"):
        assert first[f"change of {name}"] == second[f"change of {name}"] == 0
    # Other definitions are another question.
    calls.clear()
    measure(again, model, replace(asked, definitions=few.definitions[8:16]))
    assert "untouched" in calls


def test_the_lexicographer_file_is_told_by_vectors(
    run: DictionaryRun, splits: Splits[Dictionary, Asked], minilm: TextEncoder
) -> None:
    """Better than by always naming the most frequent one."""
    run.train = first_entries(splits.train, 100)
    asked, words = splits.test, splits.test.words
    assert words is not None
    few = Asked(
        asked.definitions[:80],
        [(row,) for row in range(80)],
        asked.files[:80],
        DefinedWords(words.pairs, {word: [word] for word in words.senses}),
    )
    classes = entries_by(minilm.encode, run.train)
    model = Defined(minilm.encode, head_over(run, classes), classes, np.arange(100))
    told = measure(run, model, few)["lexicographer file"]
    assert isinstance(told, np.ndarray) and set(told) <= {0.0, 1.0} and len(told) == 80
    files = np.array(few.files)
    most = max((files == file).mean() for file in set(few.files))
    assert told.mean() > most + 0.1


@pytest.mark.parametrize("scale", system.scales.values(), ids=list(system.scales))
def test_every_training_has_as_many_steps(scale: DictionaryScale) -> None:
    assert sum(scale.steps[stage] for stage in HALVES) == scale.steps[WHOLE[0]]
    assert len({scale.steps[stage] for stage in HALVES}) == 1
    (entry,) = find("defsent-plus")
    trained = [arm for arm in entry.load().arms.values() if arm.stages]
    assert {sum(scale.steps[stage] for stage in arm.stages) for arm in trained} == {
        scale.steps["whole"]
    }
