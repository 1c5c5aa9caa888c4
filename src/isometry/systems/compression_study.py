"""What the ways of compressing a table share: a forecast of words in definitions, and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from isometry.compression.codec import (
    Codec,
    FloatTable,
    FreezableTable,
    TrainedTable,
    lookup_milliseconds,
)
from isometry.compression.optembed import OptEmbed
from isometry.core.errors import InputError
from isometry.corpora.pairs.word_events import HeldEvents, Log, word_events
from isometry.corpora.readers import ReadingReport, open_source
from isometry.evaluation.pair_scores import wins
from isometry.learners.factorization_machine import FactorizationMachine, pair_products
from isometry.systems.run import Run
from isometry.systems.system import Arm, Figures, Scale, Splits

WHOLE, FIRST, SECOND = "training", "search", "second training"
# Over its budget by more than this, a table is not what it says it is.
_OVER = 1.02
# What tables may take of it: for want of a few bytes of what goes with them, some would be a third
# smaller, since ranks, widths and divisors are whole numbers.
_ALLOWED = 1.01
_GROUPS = 100  # of held-out events, for the interval
_LOOKUPS = 1000
# Of validation, by which widths evolve: they are scored hundreds of times.
_EVOLVED_ON = 4_000


@dataclass(frozen=True, kw_only=True)
class CompressionScale(Scale):
    """Settings of compressed tables.

    Attributes:
        source: Where definitions come from.
        definitions: How many are read; all of them when `None`.
        least: How often a word must occur in training to have an id of its own.
        held: How many events are validated on, and how many tested on.
        batch: Events a step, half of which did not happen.
        dim: The length of a vector.
        codes: The centroids of a part of product-quantized vectors.
        hashes: Hashes of an id that DHE reads.
        block: Rows of a block that may be dropped.
        generations: Of widths, in OptEmbed's evolution.
        smallest: No budget is smaller than the whole table over this: a small vocabulary has ways
            that cannot keep one.
    """

    source: str = "wordnet:"
    definitions: int | None = None
    least: int = 5
    held: int = 4_000
    batch: int = 1_024
    dim: int = 16
    codes: int = 256
    hashes: int = 128
    block: int = 32
    generations: int = 30
    smallest: int = 50


AnyRun = Run[CompressionScale, Log, HeldEvents]
AnyTable = TypeVar("AnyTable", bound=TrainedTable)


@dataclass(frozen=True)
class Forecast:
    """A factorisation machine whose vectors come from a codec.

    Attributes:
        codec: The vectors.
        budget: What it may take, in bytes.
        training_bytes: What the vectors took while they were trained, at the most.
    """

    codec: Codec
    budget: int
    training_bytes: int

    def scores(self, ids: Int[np.ndarray, "events fields"]) -> Float[np.ndarray, " events"]:
        """The higher, the more probable."""
        parts = torch.from_numpy(ids.astype(np.int64)).split(4096)
        return torch.cat([pair_products(self.codec.lookup(part)) for part in parts]).numpy()


def data(scale: CompressionScale) -> Splits[Log, HeldEvents]:
    """Every word of WordNet's definitions, and as many that were exchanged, split by definition."""
    documents = list(open_source(scale.source).documents(ReadingReport()))
    return Splits(
        *word_events(
            documents,
            definitions=scale.definitions,
            least=scale.least,
            # Half of what is seen did not happen.
            trained=scale.steps[WHOLE] * scale.batch // 2,
            held=scale.held,
        )
    )


def measure(run: AnyRun, model: Forecast, held: HeldEvents) -> Figures:
    """How well events that stand are told from exchanged ones, and what the table costs.

    `auc` is the chance that a standing event has a higher score than an exchanged one, in groups of
    neighbouring events: their mean is the area under the curve of all. The time is that of a
    thousand lookups at once, by the millisecond, and depends on the machine.

    Raises:
        InputError: When scores are NaN or infinite.
        ValueError: When the table takes more than its budget.
    """
    whole = 4 * run.train.n * run.scale.dim
    if model.codec.nbytes > _OVER * model.budget:
        raise ValueError(f"{model.codec.nbytes} bytes are more than the budget of {model.budget}")
    stand, exchanged = model.scores(held.stand), model.scores(held.exchanged)
    if not (np.isfinite(stand).all() and np.isfinite(exchanged).all()):
        raise InputError("Scores are NaN or infinite.", "Take a lower learning rate.")
    won = wins(stand, exchanged)
    some = torch.from_numpy(held.stand.ravel()[:_LOOKUPS].astype(np.int64))
    return {
        "auc": np.array([part.mean() for part in np.array_split(won, min(_GROUPS, len(won)))]),
        "share of the bytes": model.codec.nbytes / whole,
        "times its budget": model.codec.nbytes / model.budget,
        "share of the bytes in training": model.training_bytes / whole,
        "milliseconds for 1000 lookups": lookup_milliseconds(model.codec, some),
    }


def budget_of(run: AnyRun, over: int) -> int:
    """So many bytes that the whole table is `over` times them."""
    return 4 * run.train.n * run.scale.dim // min(over, run.scale.smallest)


def _allowed(budget: int) -> int:
    return int(_ALLOWED * budget)


def fit(run: AnyRun, stage: str, table: AnyTable) -> AnyTable:
    """Trains a table for a stage; the search and what comes after it share the events of one."""
    scale, log = run.scale, run.train
    steps = scale.steps[stage]
    order = np.random.default_rng(run.seed).permutation(len(log.ids))
    start = scale.steps[FIRST] * scale.batch if stage == SECOND else 0
    order = np.take(order, range(start, start + steps * scale.batch), mode="wrap")
    rows = list(zip(log.ids, log.happened.tolist(), strict=True))
    learner = FactorizationMachine(table)
    run.fit(stage, learner, rows, order.reshape(steps, scale.batch).tolist())
    # The trainer leaves it on its device, and tables are searched, stored and served on this one.
    return table.cpu().eval()


def fit_once(run: AnyRun, stage: str, table: AnyTable) -> AnyTable:
    """Trains a table as `fit` does, or reads what the same training made for another budget.

    Args:
        run: The run of an arm.
        stage: Which stage of the budget.
        table: Of its kind, rate and seed the only one in this stage, whatever the budget.
    """
    from safetensors.torch import load_file, save_file

    def make(folder: Path) -> None:
        save_file(fit(run, stage, table).state_dict(), folder / "table.safetensors")

    name = f"{type(table).__name__}-{stage}-{run.rate:g}-{run.seed}"
    path = run.once(name, make) / "table.safetensors"
    table.load_state_dict(load_file(path))
    # The table has had these steps, whichever arm took them.
    run.steps[stage] = run.scale.steps[stage]
    run.rows[stage] = run.scale.steps[stage] * run.scale.batch
    # What is drawn next is the same whether it was trained just now or read.
    torch.manual_seed(run.seed)
    return table.eval()


Make = Callable[[AnyRun, int], Forecast]


@dataclass(frozen=True)
class Way:
    """A way of compressing a table, at any budget.

    Attributes:
        about: What it does, in a phrase.
        over: How many times each of its budgets the whole table takes.
        make: Takes the run and a budget in bytes.
        stages: In which it trains.
    """

    about: str
    over: tuple[int, ...]
    make: Make
    stages: tuple[str, ...] = (WHOLE,)


def arms_of(ways: Mapping[str, Way]) -> dict[str, Arm[CompressionScale, Log, HeldEvents, Forecast]]:
    """An arm for each way and budget, as `NAME 1/10`."""

    def within(make: Make, over: int) -> Callable[[AnyRun], Forecast]:
        return lambda run: make(run, budget_of(run, over))

    return {
        f"{name} 1/{over}": Arm(way.about, within(way.make, over), way.stages)
        for name, way in ways.items()
        for over in way.over
    }


def trained(table_of: Callable[[AnyRun, int], FreezableTable]) -> Make:
    """Trains a table that is made for a budget.

    Args:
        table_of: Takes the run and the budget in bytes.
    """

    def make(run: AnyRun, budget: int) -> Forecast:
        table = fit(run, WHOLE, table_of(run, _allowed(budget)))
        return Forecast(table.freeze(), budget, table.training_bytes)

    return make


def stored(store: Callable[[AnyRun, Float[Tensor, "n dim"], int], Codec]) -> Make:
    """Trains the whole table, once for all budgets, and then stores it in one.

    Args:
        store: Takes the run, the table and the budget in bytes.
    """

    def make(run: AnyRun, budget: int) -> Forecast:
        table = fit_once(run, WHOLE, FloatTable(run.train.n, run.scale.dim))
        codec = store(run, table.rows.detach(), _allowed(budget))
        return Forecast(codec, budget, table.training_bytes)

    return make


def searched(
    search: Callable[[AnyRun], AnyTable], found: Callable[[AnyRun, AnyTable, int], Codec]
) -> Make:
    """Searches in the first half of the steps, once for all budgets, and trains in the second.

    Args:
        search: What is trained in the first half.
        found: Takes the run, the same after that, and the budget in bytes.
    """

    def make(run: AnyRun, budget: int) -> Forecast:
        table = fit_once(run, FIRST, search(run))
        codec = fit(run, SECOND, found(run, table, _allowed(budget)))
        return Forecast(codec, budget, table.training_bytes)

    return make


def evolved(run: AnyRun, table: OptEmbed, budget: int) -> Codec:
    """What OptEmbed keeps, with the widths that are best on validation."""
    sides = (run.validation.stand, run.validation.exchanged)
    held = [torch.from_numpy(side[:_EVOLVED_ON].astype(np.int64)) for side in sides]

    @cache
    @torch.no_grad()
    def score(*widths: int) -> float:
        stand, exchanged = (pair_products(table.cut(ids, widths)).numpy() for ids in held)
        return float(wins(stand, exchanged).mean())

    return table.best_within(
        budget, lambda widths: score(*widths), generations=run.scale.generations, seed=run.seed
    )


FULL = CompressionScale(
    model="none", steps={WHOLE: 4_000, FIRST: 2_000, SECOND: 2_000}, rates=(1e-3, 3e-3, 1e-2),
    precision="float32", gpu_gib=4, least=2, held=20_000, hashes=1_024,
)  # fmt: skip
SMALL = CompressionScale(
    model="none", steps={WHOLE: 500, FIRST: 250, SECOND: 250}, rates=(3e-3, 1e-2, 3e-2),
    precision="float32", held=20_000,
)  # fmt: skip
MINIATURE = CompressionScale(
    model="none", steps={WHOLE: 2, FIRST: 1, SECOND: 1}, rates=(1e-2,), seeds=1,
    precision="float32", definitions=4_000, least=2, held=200, batch=64, codes=16, hashes=8,
    block=16, generations=2, smallest=20,
)  # fmt: skip
