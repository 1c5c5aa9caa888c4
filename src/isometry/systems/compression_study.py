"""What the ways of compressing a table share: a log of words in definitions, and its forecast."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isometry.compression.codec import Codec, FloatTable, TrainedTable
from isometry.compression.deeplight import DeepLight
from isometry.compression.integer_table import IntegerTraining
from isometry.compression.mgqe import MGQE
from isometry.compression.optembed import OptEmbed, evolve
from isometry.corpora.curation.dedup import words
from isometry.corpora.documents import Document
from isometry.corpora.readers import ReadingReport, open_source
from isometry.evaluation.pair_scores import wins
from isometry.learners.factorization_machine import FactorizationMachine, pair_products
from isometry.systems.run import Run
from isometry.systems.system import Arm, Figures, Scale, Splits

WHOLE, FIRST, SECOND = "training", "search", "second training"
# Over its budget by more than this, a table is not what it says it is.
_OVER = 1.02
_PLACES = 16
_RARE, _EDGE = "", " "  # stand for words that are too rare, and for the ends of a definition
_GROUPS = 100  # of held-out events, for the interval
_LOOKUPS = 1000


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


@dataclass(frozen=True)
class Log:
    """Events of the definitions that are trained on.

    An event is a word between two others, with the word that the definition begins from (the first
    lemma of the hypernym), the part of speech, and the place in the definition.

    Attributes:
        fields: How many ids each of these six fields has; ids are numbered through.
        ids: Of each event.
        happened: Whether it stands in a definition, or its word was exchanged for another.
    """

    fields: tuple[int, ...]
    ids: Int[np.ndarray, "events fields"]
    happened: Bool[np.ndarray, " events"]

    @property
    def n(self) -> int:
        """How many ids there are."""
        return sum(self.fields)

    @property
    def counts(self) -> Int[Tensor, " n"]:
        """How often each id occurs."""
        return torch.from_numpy(np.bincount(self.ids.ravel(), minlength=self.n))


@dataclass(frozen=True)
class HeldEvents:
    """Events of other definitions.

    Attributes:
        stand: Those that stand in a definition.
        exchanged: The same, each with another word.
    """

    stand: Int[np.ndarray, "events fields"]
    exchanged: Int[np.ndarray, "events fields"]


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
    genus = {one.id: one.title.partition(", ")[0] for one in documents}
    glosses = _distinct(documents)
    random = np.random.default_rng(0)
    glosses = [glosses[place] for place in random.permutation(len(glosses))][: scale.definitions]
    ends = (0, len(glosses) * 8 // 10, len(glosses) * 9 // 10, len(glosses))
    sides = [glosses[start:end] for start, end in pairwise(ends)]
    events = [[event for one in side for event in _events(one, genus)] for side in sides]

    often = Counter(event[0] for event in events[0])
    known = [_RARE, _EDGE, *sorted(word for word, count in often.items() if count >= scale.least)]
    begins = Counter(event[3] for event in events[0])
    origins = [_RARE, *sorted(word for word, count in begins.items() if count >= scale.least)]
    values: list[Sequence[str | int]] = [
        known, known, known, origins, sorted({event[4] for event in events[0]}), range(_PLACES)
    ]  # fmt: skip
    fields = tuple(len(column) for column in values)
    maps = [{value: place for place, value in enumerate(column)} for column in values]
    starts = np.cumsum((0, *fields[:-1]))

    def numbered(side: list[tuple[str | int, ...]]) -> Int[np.ndarray, "events fields"]:
        rows = [
            [places.get(value, 0) for places, value in zip(maps, event, strict=True)]
            for event in side
            if event[0] in maps[0]
        ]
        return (np.array(rows) + starts).astype(np.int32)

    train, *others = map(numbered, events)
    drawn_from = train[:, 0]

    def exchange(rows: Int[np.ndarray, "events fields"]) -> Int[np.ndarray, "events fields"]:
        """Other words, as often as they occur."""
        other = rows.copy()
        while len(same := np.flatnonzero(other[:, 0] == rows[:, 0])):
            other[same, 0] = random.choice(drawn_from, len(same))
        return other

    needed = scale.steps[WHOLE] * scale.batch // 2
    stand = train[random.permutation(len(train))[:needed]]
    log = Log(
        fields,
        np.concatenate([stand, exchange(stand)]),
        np.arange(2 * len(stand)) < len(stand),
    )
    held = [side[: scale.held] for side in others]
    validation, test = (HeldEvents(rows, exchange(rows)) for rows in held)
    return Splits(log, validation, test)


def _distinct(documents: Sequence[Document]) -> list[tuple[list[str], Document]]:
    """The words of each definition, without examples, once."""
    found: dict[tuple[str, ...], Document] = {}
    for one in documents:
        found.setdefault(tuple(words(one.text.partition('; "')[0].casefold())), one)
    return [(list(key), one) for key, one in found.items() if key]


def _events(
    definition: tuple[list[str], Document], genus: dict[str, str]
) -> list[tuple[str | int, ...]]:
    gloss, document = definition
    origin = genus.get(document.links[0], _RARE) if document.links else _RARE
    around = [_EDGE, *gloss, _EDGE]
    part = document.id.rpartition("-")[2]
    return [
        (word, around[place], around[place + 2], origin, part, min(place, _PLACES - 1))
        for place, word in enumerate(gloss)
    ]


def measure(run: AnyRun, model: Forecast, held: HeldEvents) -> Figures:
    """How well events that stand are told from exchanged ones, and what the table costs.

    `auc` is the chance that a standing event has a higher score than an exchanged one, in groups of
    neighbouring events: their mean is the area under the curve of all. The time is that of a
    thousand lookups at once, by the millisecond, and depends on the machine.

    Raises:
        ValueError: When the table takes more than its budget.
    """
    whole = 4 * run.train.n * run.scale.dim
    if model.codec.nbytes > _OVER * model.budget:
        raise ValueError(f"{model.codec.nbytes} bytes are more than the budget of {model.budget}")
    won = wins(model.scores(held.stand), model.scores(held.exchanged))
    return {
        "auc": np.array([part.mean() for part in np.array_split(won, min(_GROUPS, len(won)))]),
        "share of the bytes": model.codec.nbytes / whole,
        "times its budget": model.codec.nbytes / model.budget,
        "share of the bytes in training": model.training_bytes / whole,
        "milliseconds for 1000 lookups": _milliseconds(model.codec, held),
    }


def _milliseconds(codec: Codec, held: HeldEvents) -> float:
    ids = torch.from_numpy(held.stand.ravel()[:_LOOKUPS].astype(np.int64))
    times: list[float] = []
    for _ in range(5):
        started = time.perf_counter()
        codec.lookup(ids)
        times.append(time.perf_counter() - started)
    return 1000 * min(times)


def budget_of(run: AnyRun, over: int) -> int:
    """So many bytes that the whole table is `over` times them."""
    return 4 * run.train.n * run.scale.dim // min(over, run.scale.smallest)


def fit(run: AnyRun, stage: str, table: TrainedTable) -> TrainedTable:
    """Trains a table for a stage; the search and what comes after it share the events of one."""
    scale, log = run.scale, run.train
    steps = scale.steps[stage]
    order = np.random.default_rng(run.seed).permutation(len(log.ids))
    start = scale.steps[FIRST] * scale.batch if stage == SECOND else 0
    order = np.take(order, range(start, start + steps * scale.batch), mode="wrap")
    rows = list(zip(log.ids, log.happened.tolist(), strict=True))
    learner = FactorizationMachine(table)
    run.fit(stage, learner, rows, order.reshape(steps, scale.batch).tolist())
    return table.eval()


Make = Callable[[AnyRun, int], TrainedTable]
Made = Callable[[AnyRun], Forecast]


@dataclass(frozen=True)
class Way:
    """A way of compressing a table, at any budget.

    Attributes:
        about: What it does, in a phrase.
        over: How many times each of its budgets the whole table takes.
        make: The arm of such a number.
        stages: In which it trains.
    """

    about: str
    over: tuple[int, ...]
    make: Callable[[int], Made]
    stages: tuple[str, ...] = (WHOLE,)


def arms_of(ways: Mapping[str, Way]) -> dict[str, Arm[CompressionScale, Log, HeldEvents, Forecast]]:
    """An arm for each way and budget, as `NAME 1/10`."""
    return {
        f"{name} 1/{over}": Arm(way.about, way.make(over), way.stages)
        for name, way in ways.items()
        for over in way.over
    }


def trained(make: Make) -> Callable[[int], Made]:
    """Arms that train a table made for a budget.

    Args:
        make: Takes the run and the budget in bytes.
    """

    def at(over: int) -> Made:
        def arm(run: AnyRun) -> Forecast:
            budget = budget_of(run, over)
            table = fit(run, WHOLE, make(run, budget))
            codec = (
                table.freeze() if isinstance(table, MGQE | IntegerTraining | DeepLight) else table
            )
            if not isinstance(codec, Codec):
                raise TypeError(f"a {type(codec).__name__} is not served")
            return Forecast(codec, budget, table.training_bytes)

        return arm

    return at


def stored(store: Callable[[AnyRun, Tensor, int], Codec]) -> Callable[[int], Made]:
    """Arms that train the whole table, and then store it in a budget.

    Args:
        store: Takes the run, the table and the budget in bytes.
    """

    def at(over: int) -> Made:
        def arm(run: AnyRun) -> Forecast:
            table = FloatTable(run.train.n, run.scale.dim)
            fit(run, WHOLE, table)
            budget = budget_of(run, over)
            return Forecast(store(run, table.rows.detach(), budget), budget, table.training_bytes)

        return arm

    return at


def searched(
    search: Callable[[AnyRun], AnyTable], found: Callable[[AnyRun, AnyTable, int], Codec]
) -> Callable[[int], Made]:
    """Arms that search in the first half of their steps, and train what is found in the second.

    Args:
        search: What is trained in the first half.
        found: Takes the run, the same after that, and the budget in bytes.
    """

    def at(over: int) -> Made:
        def arm(run: AnyRun) -> Forecast:
            table = search(run)
            fit(run, FIRST, table)
            budget = budget_of(run, over)
            codec = found(run, table, budget)
            fit(run, SECOND, codec)
            return Forecast(codec, budget, table.training_bytes)

        return arm

    return at


def evolved(run: AnyRun, table: OptEmbed, budget: int) -> Codec:
    """What OptEmbed keeps, with the widths that are best on validation."""
    table.raise_thresholds(budget)
    held = [torch.from_numpy(side.astype(np.int64)) for side in vars(run.validation).values()]

    @torch.no_grad()
    def score(widths: Sequence[int]) -> float:
        stand, exchanged = (pair_products(table.cut(ids, widths)).numpy() for ids in held)
        return float(wins(stand, exchanged).mean())

    generations = run.scale.generations
    fits = table.fitting(budget)
    widths = evolve(
        len(table.fields), table.dim, score, fits, generations=generations, seed=run.seed
    )
    return table.frozen(widths)


FULL = CompressionScale(
    model="none", steps={WHOLE: 4_000, FIRST: 2_000, SECOND: 2_000}, rates=(1e-3, 3e-3, 1e-2),
    precision="float32", gpu_gib=4, least=2, held=20_000, hashes=1_024,
)  # fmt: skip
SMALL = CompressionScale(
    model="none", steps={WHOLE: 500, FIRST: 250, SECOND: 250}, rates=(1e-2, 3e-2),
    precision="float32",
)  # fmt: skip
MINIATURE = CompressionScale(
    model="none", steps={WHOLE: 2, FIRST: 1, SECOND: 1}, rates=(1e-2,), seeds=1,
    precision="float32", definitions=4_000, least=2, held=200, batch=64, codes=16, hashes=8,
    block=16, generations=2, smallest=20,
)  # fmt: skip
