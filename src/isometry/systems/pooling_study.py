"""What poolers over a frozen encoder's layers stand on: tasks for high layers, and for low ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from isometry.corpora.documents import Document
from isometry.corpora.packaged.word_pairs import WordPairs, word_pairs
from isometry.corpora.packaged.wordnet import wordnet_synsets
from isometry.corpora.pairs.definitions import Definition, definitions, split_definitions
from isometry.corpora.pairs.lexicographer_files import lexicographer_files
from isometry.encoders.text import TextEncoder
from isometry.evaluation.all_layers import AllLayers
from isometry.evaluation.nested import reciprocal_ranks
from isometry.evaluation.pair_scores import pair_scores
from isometry.learners.layer_pooling import (
    LabelledLayers,
    LayerPair,
    PooledClasses,
    PooledPairs,
)
from isometry.learners.learner import Learner
from isometry.objectives.infonce import InfoNCE
from isometry.systems.run import Run
from isometry.systems.system import Arm, Figures, Scale, Splits

# Where each task is named as its stage; the last two are what low layers tell.
WORDS, FILE, PART, LENGTH = "words", "file", "part of speech", "length"
CLASSES: tuple[str, ...] = (FILE, PART, LENGTH)
TASKS: tuple[str, ...] = (WORDS, *CLASSES)
# Their figures' mean, and the figure of the words.
BOTH, MRR = "part of speech and length", "mrr@10"
_PARTS = "nvar"
_BUCKETS = 4


@dataclass(frozen=True, kw_only=True)
class LayerScale(Scale):
    """Settings of poolers over layers.

    Attributes:
        trained: How many texts each task is trained on.
        held: How many are validated on, and how many tested on.
        pairs: How many word pairs of each collection; all of them when `None`.
        latents: Of the pooler.
        heads: Of its attention.
        head_dim: The width of each.
        batch: Texts a step.
        tokens: Where texts are cut.
    """

    trained: int
    held: int
    pairs: int | None = None
    latents: int = 8
    heads: int = 4
    head_dim: int = 32
    batch: int = 128
    tokens: int = 32


@dataclass(frozen=True)
class Texts:
    """One side of the split.

    Attributes:
        words: Glosses of nouns, with their lemmas.
        files: The lexicographer file of each of these.
        glosses: Glosses of as many nouns, verbs, adjectives and adverbs.
        pairs: Pairs of words with people's judgements, by collection; for the test alone.
        known: The files of the training texts.
        bounds: Between the buckets of length, in words of the training texts.
    """

    words: list[Definition]
    files: list[str]
    glosses: list[Definition]
    pairs: dict[str, WordPairs]
    known: tuple[str, ...]
    bounds: tuple[float, ...]

    def texts(self, task: str) -> list[str]:
        """What a task that has classes is about."""
        return [row.text for row in (self.words if task == FILE else self.glosses)]

    def labels(self) -> dict[str, list[int]]:
        """The class of each text in the tasks that have classes."""
        lengths = [len(row.text.split()) for row in self.glosses]
        return {
            FILE: [self.known.index(file) for file in self.files],
            PART: [_PARTS.index(row.key[-1]) for row in self.glosses],
            LENGTH: np.searchsorted(self.bounds, lengths).tolist(),
        }


LayerRun = Run[LayerScale, Texts, Texts]
Select = Callable[[Float[np.ndarray, "n layers d"]], Float[np.ndarray, "n layers d"]]


@dataclass(frozen=True)
class Poolers:
    """One pooler a task.

    Attributes:
        select: What of the layers they see.
        words: The one that finds words; None where none was trained.
        classes: Those that tell classes, by task.
    """

    select: Select
    words: PooledPairs | None
    classes: dict[str, PooledClasses]


LayerArm = Arm[LayerScale, Texts, Texts, Poolers]


def data(scale: LayerScale) -> Splits[Texts, Texts]:
    """Glosses with their words, files, parts of speech and lengths, split by synset."""
    synsets = wordnet_synsets()
    nouns = (Document(each.key, each.gloss, ", ".join(each.lemmas)) for each in synsets)
    file = {each.key: str(each.file) for each in synsets}
    words = split_definitions(definitions(nouns)[0])
    glosses = split_definitions(lexicographer_files(synsets))

    def alike(side: str, most: int) -> list[Definition]:
        """A quarter of each part of speech: of all synsets, seven in ten are nouns."""
        parts = ([row for row in glosses[side] if row.key[-1] == part] for part in _PARTS)
        return [row for part in parts for row in part[: most // len(_PARTS)]]

    trained = alike("train", scale.trained)
    known = tuple(sorted({file[row.key] for row in words["train"][: scale.trained]}))
    lengths = [len(row.text.split()) for row in trained]
    bounds = tuple(np.quantile(lengths, np.arange(1, _BUCKETS) / _BUCKETS).tolist())

    def texts(side: str, most: int, pairs: dict[str, WordPairs]) -> Texts:
        own = [row for row in words[side][:most] if file[row.key] in known]
        files = [file[row.key] for row in own]
        return Texts(own, files, alike(side, most), pairs, known, bounds)

    named = {name: _first(word_pairs(name), scale.pairs) for name in ("simlex-999", "wordsim-353")}
    return Splits(
        texts("train", scale.trained, {}),
        texts("validation", scale.held, {}),
        texts("test", scale.held, named),
    )


def _first(pairs: WordPairs, most: int | None) -> WordPairs:
    return WordPairs(pairs.first[:most], pairs.second[:most], pairs.gold[:most])


def layers_of(run: LayerRun, texts: Sequence[str]) -> Float[np.ndarray, "n layers d"]:
    """The mean-pooled vectors of every layer, kept on the disk for all arms and seeds."""
    encoder = _encoder(run.scale.model, run.scale.tokens)
    found = run.cached(encoder).encode(texts)
    return found.reshape(len(texts), len(encoder.layers()), -1)


@lru_cache(maxsize=1)
def _encoder(model: str, cut: int) -> AllLayers:
    return AllLayers(TextEncoder.load(model), cut)


def arm(
    about: str,
    make_pooler: Callable[[LayerScale, int, int], nn.Module],
    select: Select = lambda states: states,
    *,
    words: bool = False,
) -> LayerArm:
    """An arm that trains a pooler for each task, on batches that depend on the seed alone.

    Args:
        about: What it does.
        make_pooler: Makes it for a scale, a number of layers and a width.
        select: What of the layers it sees; all by default.
        words: Whether it finds words, rather than tells classes. No rate is best for both.
    """

    def make(run: LayerRun) -> Poolers:
        asked = select(layers_of(run, [row.text for row in run.train.words]))
        layers, d = asked.shape[1:]

        def begin(task: str) -> None:
            torch.manual_seed(len(TASKS) * run.seed + TASKS.index(task))

        def fit(task: str, learner: Learner, rows: Sequence[LayerPair | LabelledLayers]) -> None:
            keys = [(row,) for row in range(len(rows))]
            run.fit(task, learner, rows, run.batches(task, keys, run.scale.batch))

        if words:
            entries = select(layers_of(run, [row.entry for row in run.train.words]))
            begin(WORDS)
            pairs = PooledPairs(make_pooler(run.scale, layers, d), InfoNCE(0.05, a_to_b=1.0))
            fit(WORDS, pairs, [LayerPair(*pair) for pair in zip(asked, entries, strict=True)])
            return Poolers(select, pairs, {})
        glosses = select(layers_of(run, [row.text for row in run.train.glosses]))
        count = {FILE: len(run.train.known), PART: len(_PARTS), LENGTH: _BUCKETS}
        classes: dict[str, PooledClasses] = {}
        for task, labels in run.train.labels().items():
            begin(task)
            # Before the pooler, which every arm has another of: so heads begin alike.
            head = nn.Linear(d, count[task])
            classes[task] = PooledClasses(make_pooler(run.scale, layers, d), head)
            states = asked if task == FILE else glosses
            rows = [LabelledLayers(*row) for row in zip(states, labels, strict=True)]
            fit(task, classes[task], rows)
        return Poolers(select, None, classes)

    return Arm(about, make, (WORDS,) if words else CLASSES, chosen_on=MRR if words else "")


def measure(run: LayerRun, model: Poolers, held: Texts) -> Figures:
    """What was trained: every task of classes, and the two that low layers tell together; or words.

    Word similarity is that of the poolers that find words.
    """
    figures: dict[str, Any] = {}
    for task, labels in held.labels().items() if model.classes else ():
        told = model.classes[task].told(model.select(layers_of(run, held.texts(task))))
        figures[task] = (told == np.array(labels)).astype(np.float64)
    if model.classes:
        figures[BOTH] = (figures[PART] + figures[LENGTH]) / 2
    if (words := model.words) is None:
        return figures

    def vectors(texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        return words.vectors(model.select(layers_of(run, texts)))

    asked = vectors([row.text for row in held.words])
    entries = vectors([row.entry for row in held.words])
    figures[MRR] = reciprocal_ranks(asked[None], entries[None], 1, asked.shape[1])
    for name, pairs in held.pairs.items():
        figures[name] = pair_scores(vectors(pairs.first), vectors(pairs.second), pairs.gold)[
            "spearman"
        ]
    return figures
