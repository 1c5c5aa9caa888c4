from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from isometry.encoders.surgery.prompts import prompt_tokens
from isometry.encoders.text import TextEncoder
from isometry.learners.learner import Losses
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Diagonal, Matryoshka
from isometry.training import budget
from isometry.training.budget import (
    HALF_OR_ALL,
    Workload,
    make_plan,
    nested_dims,
    suitable_temperature,
)
from isometry.training.plan import Plan, make_learner, speed_key


class Machine:
    """A machine on which work takes as long as it is told; a clock shows what it took.

    Attributes:
        encoding: Seconds of each call of an encoder, by precision; the last is repeated.
        steps: Seconds of each training step, by the number of frozen layers, or "long" where
            passages are cut later than at first.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.encoding: dict[str, Sequence[float]] = {}
        self.steps: dict[Any, Sequence[float]] = {}
        self.calls: Counter[Any] = Counter()
        loss = TwoTowers.loss

        def slow_encode(encoder: TextEncoder, texts: Sequence[str], **options: Any) -> np.ndarray:
            self.pass_time(self.encoding, options["precision"])
            return np.zeros((len(texts), encoder.dim))

        def slow_loss(learner: TwoTowers, batch: dict[str, Any]) -> Losses:
            layers = learner.encoder.layers()
            frozen = sum(not next(layer.parameters()).requires_grad for layer in layers)
            first = budget._FIRST_PASSAGE_TOKENS
            self.pass_time(self.steps, frozen if learner.document_tokens <= first else "long")
            return loss(learner, batch)

        monkeypatch.setattr(TextEncoder, "encode", slow_encode)
        monkeypatch.setattr(TwoTowers, "loss", slow_loss)

    def pass_time(self, seconds: Mapping[Any, Sequence[float]], kind: Any) -> None:
        self.now += seconds[kind][min(self.calls[kind], len(seconds[kind]) - 1)]
        self.calls[kind] += 1

    def plan(
        self,
        encoder: TextEncoder,
        work: Workload,
        *,
        encoding: float | Sequence[float] = 0.1,
        bfloat16: float | Sequence[float] | None = None,
        step: float | Sequence[float] = 0.1,
        half: float | Sequence[float] | None = None,
        long: float | Sequence[float] | None = None,
        minutes: float = 10,
        **options: Any,
    ) -> Plan:
        """The plan that this machine gets when it is so fast."""

        def listed(seconds: float | Sequence[float]) -> Sequence[float]:
            return seconds if isinstance(seconds, Sequence) else [seconds]

        self.calls.clear()
        self.encoding = {
            "float32": listed(encoding),
            "bfloat16": listed(encoding if bfloat16 is None else bfloat16),
        }
        self.steps = {
            0: listed(step),
            1: listed(step if half is None else half),
            "long": listed(step if long is None else long),
        }
        return make_plan(encoder, work, minutes=minutes, seed=1, clock=lambda: self.now, **options)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def work(tiny: TextEncoder, pairs: list[tuple[str, str]]) -> Workload:
    rows = [PairRow(query, code, i) for i, (query, code) in enumerate(pairs)]
    passages = tiny.lengths([code for _, code in pairs], "document")
    return Workload(
        rows=rows,
        passage_tokens=passages,
        first_tokens=passages,
        queries=40,
        query_lengths=tiny.lengths([query for query, _ in pairs], "query"),
        served_tokens=sum(passages),
        probe_tokens=1000,
        documents=len(rows),
        spent=0.0,
    )


def sample_tokens(work: Workload) -> int:
    """What the speed of encoding is measured on."""
    return sum(min(64, tokens) for tokens in work.passage_tokens[:24])


def test_the_same_measurement_gives_the_same_plan(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    plan = machine.plan(tiny, work)
    assert machine.plan(tiny, work) == plan
    assert plan.measured["seconds_a_step"] == 0.1
    assert plan.measured["encode_tokens_per_second_float32"] == round(sample_tokens(work) / 0.1)
    assert plan.pairs_to_be_seen == plan.steps * plan.batch
    assert plan.epochs == round(plan.pairs_to_be_seen / len(work.rows), 2)
    assert plan.layers == 2 and plan.seed == 1 and plan.minutes == 10
    assert plan.dims == nested_dims(32) and plan.threads == torch.get_num_threads()


def test_the_encoder_is_left_as_it_was(machine: Machine, tiny: TextEncoder, work: Workload) -> None:
    before = tiny.fingerprint()
    machine.plan(tiny, work)
    assert tiny.fingerprint() == before
    assert all(part.requires_grad and part.grad is None for part in tiny.parameters())
    assert not tiny.training


def test_more_minutes_buy_more_steps_up_to_four_epochs(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    plans = [
        machine.plan(tiny, work, step=3.0, minutes=minutes)
        for minutes in (1, 1.2, 1.4, 100, 10_000)
    ]
    steps = [plan.steps for plan in plans]
    assert 10 < steps[0] < steps[1] < steps[2] < steps[3] == steps[4]
    assert steps[4] == math.ceil(4 * len(work.rows) / plans[4].batch)
    # The estimate fills the minutes, but for what planning took and the final index.
    for plan in plans[:3]:
        spent = sum(plan.estimate_seconds.values()) - plan.estimate_seconds["index"]
        assert 60 * plan.minutes - 20 < spent <= 60 * plan.minutes
    late = machine.plan(tiny, replace(work, spent=9.0), step=3.0, minutes=1.4)
    assert late.steps == steps[2] - 3


def test_a_slow_machine_freezes_the_lower_half(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    assert machine.plan(tiny, work).frozen_layers == 0
    slow = machine.plan(tiny, work, step=70.0, half=30.0, minutes=11)
    assert slow.frozen_layers == 1 and slow.steps > 10
    assert slow.measured["seconds_a_step"] == 70
    assert slow.measured["seconds_a_step_upper_half"] == 30
    assert slow.estimate_seconds["training"] == slow.steps * 30
    hopeless = machine.plan(tiny, work, encoding=1000.0, step=1000.0)
    assert hopeless.steps == 10 and hopeless.frozen_layers == 1


def test_time_that_two_passes_leave_reads_passages_further(
    machine: Machine, tiny: TextEncoder, work: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tiny model reads 64 tokens at most.
    monkeypatch.setattr(budget, "_FIRST_PASSAGE_TOKENS", 32)
    two_passes = math.ceil(2 * len(work.rows) / 32)

    def plan(minutes: float, long: float, lengths: Sequence[int] = (40, 40, 40, 64)) -> Plan:
        texts = replace(work, passage_tokens=[*lengths] * 50, probe_tokens=0)
        return machine.plan(tiny, texts, step=10.0, long=long, minutes=minutes)

    short = plan(2 * two_passes * 10 / 60 * 0.8, 20.0)
    assert short.passage_tokens == 32 and short.measured["seconds_a_step"] == 10
    # Time for more than two passes: length comes before the third and fourth.
    enough = plan(100, 20.0)
    assert enough.passage_tokens == 64 and enough.measured["seconds_a_step_longest"] == 20
    assert enough.steps == math.ceil(4 * len(work.rows) / 32)
    assert enough.estimate_seconds["training"] == enough.steps * 20
    # So long that two passes of it are not to be had: it stays as it was.
    never = plan(2 * two_passes * 10 / 60 * 1.5, 5000.0)
    assert never.passage_tokens == 32 and never.steps > two_passes
    # No passage is longer than that.
    assert plan(100, 20.0, lengths=[20, 20, 30, 30]).passage_tokens == 32


def test_a_length_between_two_is_what_can_be_afforded() -> None:
    longer = budget._longer
    assert longer((128, 2.0), (512, 8.0), 8.0) == (512, 8.0)
    assert longer((128, 2.0), (512, 8.0), 5.0) == (320, 5.0)
    assert longer((128, 2.0), (512, 8.0), 4.9) == (288, 4.5)
    assert longer((128, 2.0), (512, 8.0), 2.1) == (128, 2.0)


def test_what_may_be_chosen_is_what_the_plan_ranks(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    one, two = (machine.plan(tiny, work, **more) for more in ({}, {"alphas": HALF_OR_ALL}))
    assert one.alphas == (0.5,) and two.alphas == (0.5, 1.0)
    assert two.estimate_seconds["selection"] == pytest.approx(
        2 * one.estimate_seconds["selection"], abs=0.2
    )
    assert machine.plan(tiny, work, alphas=HALF_OR_ALL, nested=[(1, 16)]).alphas == (1.0,)


def test_the_first_step_warms_up_and_the_best_measurement_counts(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    encoding, step, half = [9.0, 0.2, 5.0], [0.01, 3.0, 0.5], [0.01, 0.7, 2.0]
    plan = machine.plan(tiny, work, encoding=encoding, step=step, half=half, minutes=0.1)
    speed = round(sample_tokens(work) / 0.2)
    assert plan.measured["encode_tokens_per_second_float32"] == speed
    assert plan.measured["seconds_a_step"] == 0.5
    assert plan.measured["seconds_a_step_upper_half"] == 0.7


@pytest.mark.parametrize(("seconds", "chosen"), [(0.79, "bfloat16"), (0.81, "float32")])
def test_bfloat16_must_be_clearly_faster(
    machine: Machine, tiny: TextEncoder, work: Workload, seconds: float, chosen: str
) -> None:
    plan = machine.plan(tiny, work, encoding=1.0, bfloat16=seconds)
    assert plan.precision == chosen
    base = sum(work.passage_tokens) + 40 * plan.query_tokens + 2 * work.probe_tokens
    speed = plan.measured[f"encode_tokens_per_second_{chosen}"]
    assert plan.estimate_seconds["base"] == pytest.approx(base / speed, abs=0.1)


def test_lengths_are_rounded_up_and_batches_fit_the_data(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    plan = machine.plan(tiny, replace(work, passage_tokens=[10] * 200, query_lengths=[3] * 200))
    # The tiny model reads 64 tokens at most.
    assert (plan.query_tokens, plan.passage_tokens) == (16, 64)
    assert machine.plan(tiny, replace(work, query_lengths=[33] * 200)).query_tokens == 40
    assert machine.plan(tiny, replace(work, query_lengths=[500] * 200)).query_tokens == 64
    assert machine.plan(tiny, work, batch=16).batch == 16
    few = replace(work, rows=[replace(row, key=i // 20) for i, row in enumerate(work.rows)])
    assert machine.plan(tiny, few, batch=32).batch == 5
    pair = replace(work, rows=[replace(row, key=i // 100) for i, row in enumerate(work.rows)])
    assert machine.plan(tiny, pair).batch == 2


def test_a_prompt_takes_no_room_of_the_text(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    prompted = copy.copy(tiny)
    prompted.prompts = {"query": "find what answers this: ", "document": "one text: "}
    asking, answering = (prompt_tokens(prompted, role) for role in ("query", "document"))
    assert asking > answering > 0
    prompted.model = copy.deepcopy(tiny.model)
    prompted.model.max_seq_length = 128
    long = replace(work, passage_tokens=[500] * 200, query_lengths=[500] * 200)
    plan, plain = machine.plan(prompted, long), machine.plan(tiny, long)
    assert plan.query_tokens == 64 + asking and plain.query_tokens == 64
    short = replace(work, passage_tokens=[10] * 200)
    assert machine.plan(prompted, short).passage_tokens == 64 + answering


def test_what_would_take_too_long_to_rank_is_sampled(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    many = replace(work, passage_tokens=[*work.passage_tokens] * 50, documents=10_000, queries=900)
    whole = machine.plan(tiny, many, encoding=0.001)
    assert (whole.pool, whole.queries, whole.pairs) == (10_000, 900, 200)
    some = machine.plan(tiny, many, encoding=0.3)
    assert 200 < some.pool < 10_000
    # The base and what is trained together take two fifths of the time.
    speed = some.measured["encode_tokens_per_second_float32"]
    rest = 2 * some.queries * some.query_tokens + 3 * work.probe_tokens
    encoding = some.estimate_seconds["base"] + some.estimate_seconds["selection"] - rest / speed
    assert encoding == pytest.approx(0.4 * 600, rel=0.01)
    assert 3 * some.estimate_seconds["base"] < 600
    assert some.queries == min(900, some.pool // 4)
    least = machine.plan(tiny, many, encoding=1000.0)
    assert (least.pool, least.queries) == (200, 50)
    assert machine.plan(tiny, work, encoding=1000.0).pool == len(work.rows)


def test_very_many_pairs_are_drawn_from_not_all_compared(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    many = replace(
        work,
        rows=work.rows * 500,
        passage_tokens=[*work.passage_tokens] * 500,
        first_tokens=[*work.first_tokens] * 500,
        documents=100_000,
    )
    plan = machine.plan(tiny, many, encoding=0.3)
    assert plan.pairs < len(many.rows)
    assert plan.epochs == pytest.approx(0.5, abs=0.02)
    assert plan.epochs == round(plan.pairs_to_be_seen / plan.pairs, 2)
    total = sum(plan.estimate_seconds.values()) - plan.estimate_seconds["index"]
    assert 0.95 * 600 < total <= 600
    assert machine.plan(tiny, many, encoding=1000.0).pairs == 10 * plan.batch


def test_the_widths_are_halves_down_to_an_eighth() -> None:
    assert nested_dims(384) == (384, 192, 96, 48)
    assert nested_dims(128) == (128, 64, 32)
    assert nested_dims(16) == (16,)


def test_a_learner_is_made_as_planned(machine: Machine, tiny: TextEncoder, work: Workload) -> None:
    plan = machine.plan(tiny, work)
    learner = make_learner(tiny, replace(plan, frozen_layers=1, temperature=0.2))
    assert learner.query_tokens == plan.query_tokens
    assert learner.document_tokens == plan.passage_tokens
    trained = [name for name, part in learner.named_parameters() if part.requires_grad]
    assert len(trained) == 16 and all(".layer.1." in name for name in trained)
    one, other = torch.randn(2, 1, 6, 32, generator=torch.Generator().manual_seed(0))
    expected = Matryoshka(InfoNCE(0.2, a_to_b=1.0), MRL(plan.dims))
    torch.testing.assert_close(learner.objective(one, other), expected(one, other))


def test_a_plan_for_nested_sizes_trains_each_and_freezes_nothing(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    plan = machine.plan(tiny, work, step=70.0, half=30.0, minutes=11, nested=[(1, 16)])
    # So slow that half the layers were frozen without them.
    assert machine.plan(tiny, work, step=70.0, half=30.0, minutes=11).frozen_layers == 1
    assert (plan.nested, plan.dims, plan.alphas) == (((1, 16),), (32,), (1.0,))
    assert plan.frozen_layers == 0 and "seconds_a_step_upper_half" not in plan.measured
    # The time of a step is that of this objective: every layer is asked for its vectors.
    learner = make_learner(tiny, plan)
    batch = learner.collate([PairRow("sort a list", "def sort(): ...", row) for row in range(3)])
    vectors = learner.vectors(batch["document"])
    torch.testing.assert_close(vectors, tiny.pooled_layers(batch["document"]))
    other = learner.vectors(batch["query"]) + torch.randn_like(vectors)
    contrast = InfoNCE(plan.temperature, a_to_b=1.0)
    expected = Matryoshka(contrast, Diagonal(((1, 16), (2, 32))))(vectors, other)
    torch.testing.assert_close(learner.objective(vectors, other), expected)
    trained = [name for name, part in learner.named_parameters() if part.requires_grad]
    assert any(".layer.0." in name for name in trained)


def test_the_step_that_is_timed_is_that_of_the_nested_sizes(
    machine: Machine, tiny: TextEncoder, work: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooled: list[int] = []
    layers = TextEncoder.pooled_layers

    def counted(encoder: TextEncoder, batch: Any) -> torch.Tensor:
        pooled.append(len(encoder.layers()))
        return layers(encoder, batch)

    monkeypatch.setattr(TextEncoder, "pooled_layers", counted)
    machine.plan(tiny, work)
    assert pooled == []
    machine.plan(tiny, work, nested=[(1, 16)])
    assert len(pooled) >= 6


def test_encoding_at_the_sizes_is_measured_and_counted(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    many = replace(work, passage_tokens=[*work.passage_tokens] * 50, documents=10_000, queries=900)
    # Three of the whole, then three of the size, which takes a fifth.
    encoding = [0.3, 0.3, 0.3, 0.06]
    plain = machine.plan(tiny, many, encoding=encoding)
    plan = machine.plan(tiny, many, encoding=encoding, nested=[(1, 16)])
    whole = plan.measured["encode_tokens_per_second_float32"]
    assert plan.measured[speed_key((1, 16))] == pytest.approx(5 * whole, rel=1e-3)
    # What is ranked has its share of the time, and is encoded at each size by base and tuned.
    cost = 1 + 1 / 5
    assert plan.pool == pytest.approx(plain.pool / cost, rel=1e-3)
    once = plan.estimate_seconds["base"] - 2 * work.probe_tokens / whole
    selection = (2 * cost - 1) * once + work.probe_tokens / whole
    assert plan.estimate_seconds["selection"] == pytest.approx(selection, rel=1e-2)
    asked = plan.queries * plan.query_tokens / whole
    test = 2 * cost * asked + work.probe_tokens / whole
    assert plan.estimate_seconds["test"] == pytest.approx(test, abs=0.1)


def test_the_temperature_follows_the_spread_of_the_base(
    minilm: TextEncoder, texts: list[str]
) -> None:
    """MiniLM was trained at 0.05; squeezed into a narrow cone as E5 is, it wants as much less."""
    documents = minilm.encode(texts[:100], tokens=64)
    queries = minilm.encode([text.split("\n")[0] for text in texts[100:160]])
    assert 0.035 <= suitable_temperature(queries, documents) <= 0.065
    cone = np.eye(1, minilm.dim, dtype=np.float32)

    def squeezed(vectors: np.ndarray) -> np.ndarray:
        moved = vectors + 2 * cone
        return moved / np.linalg.norm(moved, axis=1, keepdims=True)

    narrow = suitable_temperature(squeezed(queries), squeezed(documents))
    assert narrow < 0.5 * suitable_temperature(queries, documents)
    assert suitable_temperature(cone, np.tile(cone, (5, 1))) == 0.005
    assert suitable_temperature(cone, np.concatenate([cone, -cone])) == 0.1


def test_the_spread_is_that_of_each_querys_own_scores() -> None:
    # The first query is near to all documents, the second to none of them.
    angles = np.arange(9) / 100
    documents = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    queries = np.eye(2)
    spreads = [(documents @ query).std() for query in queries]
    assert suitable_temperature(queries, documents) == pytest.approx(np.mean(spreads) / 2, rel=0.05)


def test_nearly_all_queries_are_read_to_their_end(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    lengths = [3] * 180 + [40] * 20
    assert machine.plan(tiny, replace(work, query_lengths=lengths)).query_tokens == 40


def test_first_passages_are_encoded_for_batches_where_only_a_sample_was_ranked(
    machine: Machine, tiny: TextEncoder, work: Workload
) -> None:
    many = replace(work, passage_tokens=[*work.passage_tokens] * 50, documents=10_000)
    for asked, first in ((work, 0.0), (many, float(np.mean(work.first_tokens)))):
        plan = machine.plan(tiny, asked, encoding=0.3)
        assert (plan.pool < asked.documents) == (first > 0)
        speed = plan.measured["encode_tokens_per_second_float32"]
        expected = plan.pairs * (plan.query_tokens + first) / speed
        assert plan.estimate_seconds["batches"] == pytest.approx(expected, abs=0.1)
