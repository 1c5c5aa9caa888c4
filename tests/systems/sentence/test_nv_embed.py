from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from isometry.encoders.pooled import as_transformer, pooled
from isometry.encoders.surgery.prompts import Prompt
from isometry.encoders.text import TextEncoder
from isometry.learners.instructed_towers import InstructedRow, InstructedTowers, Task
from isometry.learners.two_towers import PairRow
from isometry.objectives.infonce import InfoNCE
from isometry.pooling.latent_attention import LatentAttention
from isometry.pooling.mean import Mean
from isometry.systems.decoder_study import (
    FIND,
    GROUP,
    DecoderScale,
    Glosses,
    data,
    embedder,
    measure,
    topic_rows,
    word_rows,
)
from isometry.systems.run import Run
from isometry.systems.system import AnySystem, Splits
from isometry.training.next_token import Decoder


@pytest.fixture(scope="module")
def system() -> AnySystem:
    return importlib.import_module("isometry.systems.sentence.nv_embed").system


@pytest.fixture(scope="module")
def scale(tiny_folder: Path) -> DecoderScale:
    return DecoderScale(
        model=str(tiny_folder), steps={"first": 1, "second": 1}, precision="float32", trained=60,
        held=30, teacher=str(tiny_folder), decoder=Decoder(16, 1, 2, steps=2, batch=4), heads=2,
        latents=3, batch=6,
    )  # fmt: skip


@pytest.fixture(scope="module")
def splits(scale: DecoderScale) -> Splits[Glosses, Glosses]:
    return data(scale)


def run_of(
    scale: DecoderScale,
    splits: Splits[Glosses, Glosses],
    folder: Path,
    seed: int = 0,
    own: str = "own",
) -> Run[Any, Any, Any]:
    return Run(
        scale, splits.train, splits.validation,
        seed=seed, rate=1e-3, folder=folder / own, shared=folder,
    )  # fmt: skip


def test_no_synset_stands_on_two_sides(splits: Splits[Glosses, Glosses]) -> None:
    keys = [
        {row.key for row in (*side.words, *side.topics)}
        for side in (splits.train, splits.validation, splits.test)
    ]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    assert [len(side.words) for side in (splits.train, splits.test)] == [60, 30]
    assert {row.key[-1] for row in splits.train.words} == {"n"}
    assert {row.key[-1] for row in splits.train.topics} >= {"n", "v", "a"}


def test_arms_differ_in_mask_pooler_and_rows_alone(
    system: AnySystem, scale: DecoderScale, splits: Splits[Glosses, Glosses], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fitted: dict[str, list[Any]] = {}
    starts: dict[str, dict[str, torch.Tensor]] = {}
    current = ""

    def fit(_: Any, stage: str, learner: Any, rows: Any, order: Any) -> None:
        body = learner.encoder.model[0].model
        starts.setdefault(current, {k: v.clone() for k, v in body.state_dict().items()})
        assert len(order) == scale.steps[stage]
        assert all(len(batch) == scale.batch for batch in order)
        words = body.get_input_embeddings().weight
        assert not words.requires_grad
        pooler = learner.encoder.model[1].pooler
        assert all(part.requires_grad for part in pooler.parameters())
        causal = getattr(body.config, "is_causal", True)
        fitted.setdefault(current, []).append((stage, type(pooler).__name__, causal, rows, order))

    monkeypatch.setattr(Run, "fit", fit)
    for current in system.arms:
        # In a folder of its own, each arm trains all of its stages itself.
        system.arms[current].make(run_of(scale, splits, tmp_path / current))
    stages = {name: [stage for stage, *_ in own] for name, own in fitted.items()}
    assert stages == {name: list(arm.stages) for name, arm in system.arms.items()}
    cells = list(system.arms)[:7]
    for name, own in stages.items():
        assert own == (["first"] if name in cells else ["first", "second"])
    kinds = {name: {(kind, causal) for _, kind, causal, *_ in own} for name, own in fitted.items()}
    names = {"eos": "Last", "mean": "Mean", "self-attention": "SelfAttention"}
    for short, kind in (names | {"latent": "LatentAttention"}).items():
        if short != "self-attention":
            assert kinds[f"{short}, causal"] == {(kind, True)}
        assert kinds[f"{short}, bidirectional"] == {(kind, False)}
    for name in ("retrieval alone", "one stage, for topics", "topics in batch", "nv-embed"):
        assert kinds[name] == {("LatentAttention", False)}
    first, *others = starts.values()
    assert all(torch.equal(own[key], value) for own in others for key, value in first.items())

    def rows(name: str, stage: int) -> Any:
        return fitted[name][stage][3]

    def tasks(name: str, stage: int) -> set[tuple[str, bool]]:
        return {(row.task.prompt.query, row.task.in_batch) for row in rows(name, stage)}

    retrieval = {(FIND.query, True)}
    blended = {(FIND.query, False), (GROUP.query, False)}
    assert [tasks("nv-embed", stage) for stage in (0, 1)] == [retrieval, blended]
    assert [tasks("one stage, for topics", stage) for stage in (0, 1)] == [blended, blended]
    assert tasks("topics in batch", 0) == retrieval
    assert tasks("topics in batch", 1) == {(FIND.query, False), (GROUP.query, True)}
    assert [tasks("retrieval alone", stage) for stage in (0, 1)] == [retrieval, retrieval]
    for name in (*cells, "retrieval alone", "nv-embed"):
        assert tasks(name, 0) == retrieval
        assert fitted[name][0][4] == fitted["eos, causal"][0][4]
    pairs = [[row.pair for row in rows(name, 1)] for name in ("nv-embed", "topics in batch")]
    assert pairs[0] == pairs[1]
    assert fitted["nv-embed"][1][4] == fitted["topics in batch"][1][4]


def test_arms_that_begin_alike_train_their_first_stage_together(
    system: AnySystem, scale: DecoderScale, splits: Splits[Glosses, Glosses], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # One step is warm-up alone, and learns nothing.
    scale = replace(scale, steps={"first": 2, "second": 2})
    made = {}
    runs = []
    fitted: list[tuple[str, str]] = []
    train = Run.fit

    def fit(self: Any, stage: str, *rest: Any) -> None:
        fitted.append((name, stage))
        train(self, stage, *rest)

    monkeypatch.setattr(Run, "fit", fit)
    # The last one finds what the first has trained, the one before trains it itself.
    for name, folder in (
        ("latent, bidirectional", "one"),
        ("nv-embed", "two"),
        ("nv-embed", "one"),
    ):
        run = run_of(scale, splits, tmp_path / folder, own=name)
        made[name, folder] = system.arms[name].make(run).model.state_dict()
        runs.append(run)
    latent, own, shared = made.values()
    assert fitted == [
        ("latent, bidirectional", "first"),
        ("nv-embed", "first"),
        ("nv-embed", "second"),
        ("nv-embed", "second"),
    ]
    assert all(torch.equal(shared[part], value) for part, value in own.items())
    assert any(not torch.equal(latent[part], value) for part, value in own.items())
    assert runs[1].steps == runs[2].steps == scale.steps
    assert runs[1].rows == runs[2].rows
    # Another seed, mask or pooler begins anew.
    fitted.clear()
    for name, seed in (("latent, causal", 0), ("mean, bidirectional", 0), ("nv-embed", 1)):
        system.arms[name].make(run_of(scale, splits, tmp_path / "one", seed, f"{name} {seed}"))
    assert [stage for _, stage in fitted] == ["first", "first", "first", "second"]


def test_rows_have_negatives_that_are_none_of_their_answers(
    scale: DecoderScale, splits: Splits[Glosses, Glosses], tmp_path: Path
) -> None:
    run = run_of(scale, splits, tmp_path)
    words = word_rows(run, in_batch=True)
    assert [row.pair.query for row in words] == [row.text for row in splits.train.words]
    for row in words:
        assert len(row.pair.negatives) == scale.negatives
        assert row.pair.document not in row.pair.negatives
        assert row.pair.key not in row.pair.negative_keys
    file = {row.text: row.entry for row in splits.train.topics}
    for row in topic_rows(run, in_batch=False):
        assert file[row.pair.query] == file[row.pair.document]
        assert all(file[text] != file[row.pair.query] for text in row.pair.negatives)


def test_attention_poolers_have_as_many_weights(
    scale: DecoderScale, splits: Splits[Glosses, Glosses], tmp_path: Path
) -> None:
    run = run_of(scale, splits, tmp_path)
    latent, plain = (
        embedder(run, pooling, causal=False).model[1] for pooling in ("latent", "self-attention")
    )
    sizes = [sum(part.numel() for part in pooler.parameters()) for pooler in (latent, plain)]
    assert isinstance(latent.pooler, LatentAttention)
    # Biases and norms aside.
    assert abs(sizes[0] - latent.pooler.latents.numel() - sizes[1]) < 12 * 16


def test_the_seed_decides_decoder_and_pooler(
    scale: DecoderScale, splits: Splits[Glosses, Glosses], tmp_path: Path
) -> None:
    states = []
    for seed in (0, 1, 0):
        run = run_of(scale, splits, tmp_path, seed)
        torch.randn(seed + 3)
        states.append(embedder(run, "latent", causal=True).model.state_dict())
    one, other, same = states
    assert all(torch.equal(same[name], value) for name, value in one.items())
    changed = [name for name, value in one.items() if not torch.equal(other[name], value)]
    assert any("pooler.latents" in name for name in changed)
    assert any("mlp" in name for name in changed)


def test_figures_of_an_encoder_that_knows(
    scale: DecoderScale, splits: Splits[Glosses, Glosses], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run, held = run_of(scale, splits, tmp_path), splits.test
    encoder = embedder(run, "mean", causal=True)
    place = {text: row for row, each in enumerate(held.words) for text in (each.text, each.entry)}
    files = sorted({row.entry for row in held.topics})
    file = {row.text: row.entry for row in held.topics}
    asked: list[tuple[str, int]] = []

    def encode(self: TextEncoder, texts: list[str], role: Any, **_: Any) -> np.ndarray:
        asked.append((self.prompts[role], len(texts)))
        if self.prompts[role] == GROUP.query:
            return np.eye(len(files))[[files.index(file[text]) for text in texts]]
        return np.eye(len(held.words))[[place[text] for text in texts]]

    monkeypatch.setattr(TextEncoder, "encode", encode)
    found = measure(run, encoder, held)
    assert np.asarray(found["mrr@10"]).tolist() == [1.0] * 30
    # An item whose file no other has cannot be told.
    alone = [sum(other == own for other in file.values()) == 1 for own in file.values()]
    told = np.asarray(found["5-nn accuracy"])
    assert told[~np.array(alone)].mean() > 0.6 and not told[alone].any()
    assert asked == [(FIND.query, 30), ("", 30), (GROUP.query, 30)]


def byte_level(family: str) -> Any:
    """A tokenizer of bytes, whose words have the space before them."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if family == "qwen":
        words = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(words), "isolated"),  # pyright: ignore[reportArgumentType]
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "<end>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    prompts = [FIND.query, GROUP.query]
    tokenizer.train_from_iterator([*prompts * 9, *GLOSSES * 9], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", padding_side="right"
    )


GLOSSES = ["small animal", "to run away from something", "(music) a low voice", "3 of a kind"]


@pytest.mark.parametrize("family", ["gpt-2", "qwen"])
@pytest.mark.parametrize("prompt", [FIND, GROUP])
def test_the_same_tokens_are_pooled_in_training_and_afterwards(family: str, prompt: Prompt) -> None:
    """Also by a tokenizer that would make one token of a space and the word behind it."""
    from transformers import MistralConfig, MistralModel

    torch.manual_seed(0)
    tokenizer = byte_level(family)
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, head_dim=8, max_position_embeddings=64,
        pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    encoder = pooled(as_transformer(MistralModel(config).eval(), tokenizer, 64), Mean())
    learner = InstructedTowers(encoder, InfoNCE(), query_tokens=64, document_tokens=64)
    rows = [InstructedRow(PairRow(text, text, text), Task(prompt)) for text in GLOSSES]
    with torch.no_grad():
        trained = encoder(learner.collate(rows)["query"]).vector
    served = TextEncoder(encoder.model, query_prompt=prompt.query, document_prompt="")
    found = torch.from_numpy(served.encode(GLOSSES, "query"))
    torch.testing.assert_close(found, nn.functional.normalize(trained), atol=1e-5, rtol=0)
    # It is the texts that were pooled, and not the prompt with them.
    bare = TextEncoder(encoder.model, query_prompt="", document_prompt="").encode(GLOSSES, "query")
    assert np.abs(found.numpy() - bare).max() > 1e-3


def test_the_gates_are_those_of_the_page(system: AnySystem) -> None:
    decide = [gate for gate in system.gates if not gate.report_only]
    assert [
        (gate.metric, system.arm_of(gate), gate.at_least, gate.versus) for gate in decide
    ] == [
        ("5-nn accuracy", "nv-embed, for topics", 0.05, "retrieval alone, for topics"),
        ("mrr@10", "nv-embed", -0.005, "retrieval alone"),
        ("mrr@10", "mean, causal", 0.02, "eos, causal"),
        ("mrr@10", "eos, bidirectional", 0.01, "eos, causal"),
        ("5-nn accuracy", "nv-embed, for topics", 0.0, "topics in batch, for topics"),
    ]  # fmt: skip
    latent = [gate for gate in system.gates if gate.versus == "mean, bidirectional"]
    assert [gate.report_only for gate in latent] == [True]
    small = system.scales["small"]
    assert (small.seeds, small.decoder) == (3, Decoder(128, 4, 4))
    assert (small.latents, small.held) == (32, 800)
    for gate in system.gates:
        for name in filter(None, (system.arm_of(gate), gate.versus)):
            assert system.chooser(name).metric == gate.metric, name
    for name, arm in system.arms.items():
        twin = system.arms.get(f"{name}, for topics")
        assert twin is None or twin.make is arm.make


def test_a_word_is_sought_by_its_definition_and_not_the_other_way_round(
    scale: DecoderScale, splits: Splits[Glosses, Glosses], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run, held = run_of(scale, splits, tmp_path), splits.test
    held = replace(held, words=held.words[:3])
    asked = np.eye(3)
    answers = np.array([[2.0, 0, 0], [3, 1, 0], [0, 0, 1]])
    row = {each.text: asked[place] for place, each in enumerate(held.words)}
    row |= {each.entry: answers[place] for place, each in enumerate(held.words)}
    monkeypatch.setattr(
        TextEncoder,
        "encode",
        lambda self, texts, role, **_: np.stack([row.get(text, np.ones(3)) for text in texts]),
    )
    found = measure(run, embedder(run, "mean", causal=True), held)
    # The first definition finds the second word before its own.
    assert np.asarray(found["mrr@10"]).tolist() == [0.5, 1.0, 1.0]
