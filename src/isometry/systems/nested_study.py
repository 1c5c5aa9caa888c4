"""What systems about nested encoders share: words found by their definitions, at every size."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from isometry.corpora.packaged.word_pairs import WordPairs, word_pairs
from isometry.corpora.pairs.definitions import Definition, definitions, split_definitions
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.wordnet import open_wordnet
from isometry.encoders.surgery.layers import truncate
from isometry.encoders.text import TextEncoder
from isometry.evaluation.nested import layer_vectors, reciprocal_ranks
from isometry.evaluation.pair_scores import pair_scores
from isometry.learners.two_towers import PairRow
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka, Plan
from isometry.systems.arms import contrast
from isometry.systems.run import Run
from isometry.systems.system import Arm, Figures, Scale, Splits


@dataclass(frozen=True, kw_only=True)
class NestedScale(Scale):
    """Settings of nested encoders.

    Attributes:
        trained: How many definitions are trained on.
        held: How many are validated on, and how many tested on.
        sizes: (layer, dimensions) that are measured, from the smallest; the last is the whole.
        layers: How many layers the model has.
        widths: The dimensions that nested losses train beside the full width.
        batch: Definitions a step.
        tokens: Where texts are cut.
    """

    trained: int
    held: int
    sizes: tuple[tuple[int, int], ...] = ((1, 32), (2, 64), (3, 96), (4, 128), (5, 256), (6, 384))
    layers: int = 6
    widths: tuple[int, ...] = (16, 32, 64, 96, 128, 192, 256)
    batch: int = 64
    tokens: int = 32

    @property
    def width(self) -> int:
        """The dimensions of a whole vector."""
        return self.sizes[-1][1]


Rows = list[Definition]


@dataclass(frozen=True)
class Held:
    """What nested encoders are judged by.

    Attributes:
        rows: Definitions whose words are to be found.
        pairs: Pairs of words with people's judgements; no choice is made on them.
    """

    rows: Rows
    pairs: WordPairs


NestedRun = Run[NestedScale, Rows, Held]
NestedArm = Arm[NestedScale, Rows, Held, TextEncoder]


def data(scale: NestedScale) -> Splits[Rows, Held]:
    """Glosses and the words that they define, split by synset; and WordSim-353."""
    wordnet = open_wordnet("", name="wordnet:", limit=None)
    rows, _ = definitions(wordnet.documents(ReadingReport()))
    sides = split_definitions(rows)
    if len(sides["train"]) < scale.trained:
        raise ValueError(f"there are {len(sides['train'])} definitions to train on")
    pairs = word_pairs("wordsim-353")
    return Splits(
        sides["train"][: scale.trained],
        Held(sides["validation"][: scale.held], pairs),
        Held(sides["test"][: scale.held], pairs),
    )


def _ranks(run: NestedRun, encoder: TextEncoder, rows: Rows) -> list[Float[np.ndarray, " rows"]]:
    """MRR@10 of the word for its gloss, among all held-out words, at every size."""
    tokens = run.scale.tokens
    glosses = layer_vectors(encoder, [row.text for row in rows], "query", tokens=tokens)
    words = layer_vectors(encoder, [row.entry for row in rows], "document", tokens=tokens)
    return [reciprocal_ranks(glosses, words, *size) for size in run.scale.sizes]


def _by_place(ranks: list[Float[np.ndarray, " rows"]]) -> Figures:
    """MRR@10 by a size's place, so that the same gates stand at every scale."""
    *cut, whole = ranks
    places = {
        f"mrr@10, size {place} of {len(ranks)}": scores for place, scores in enumerate(cut, start=1)
    }
    return {**places, "mrr@10, whole": whole}


def measure(run: NestedRun, encoder: TextEncoder, held: Held) -> Figures:
    """MRR@10 at every size, and how much of it and of word similarity the middle size keeps."""
    ranks, sizes = _ranks(run, encoder, held.rows), run.scale.sizes
    half = len(sizes) // 2 - 1
    first, second = (
        layer_vectors(encoder, side, tokens=run.scale.tokens)
        for side in (held.pairs.first, held.pairs.second)
    )
    cut_pairs, whole_pairs = (
        pair_scores(first[layer - 1, :, :dim], second[layer - 1, :, :dim], held.pairs.gold)
        for layer, dim in (sizes[half], sizes[-1])
    )
    shallow = ranks[: len(sizes) * 2 // 3]
    share = f"share of the whole at size {half + 1} of {len(sizes)}"
    return {
        "mrr@10, shallow": sum(shallow) / len(shallow),
        "mrr@10, all sizes": sum(ranks) / len(ranks),
        **_by_place(ranks),
        share: ranks[half].mean() / ranks[-1].mean(),
        "word pairs, whole": whole_pairs["spearman"],
        f"word pairs, {share}": cut_pairs["spearman"] / whole_pairs["spearman"],
    }


def measure_what_there_is(run: NestedRun, encoder: TextEncoder, held: Held) -> Figures:
    """What `measure` gives; of an encoder with fewer layers, MRR@10 at the sizes that it has."""
    depth, sizes = len(encoder.layers()), run.scale.sizes
    if depth == run.scale.layers:
        return measure(run, encoder, held)
    shallow = copy.copy(run)
    shallow.scale = replace(run.scale, sizes=tuple(size for size in sizes if size[0] <= depth))
    ranks = _ranks(shallow, encoder, held.rows)
    return {
        f"mrr@10, size {place} of {len(sizes)}": scores
        for place, scores in enumerate(ranks, start=1)
    }


def nested_arm(
    about: str, plan: Callable[[NestedScale, int], Plan], *, chosen_on: str = ""
) -> NestedArm:
    """An arm that trains the contrast under a plan, which is made for its scale and seed."""

    def make(run: NestedRun) -> TextEncoder:
        scale = run.scale
        return contrast(
            run,
            [PairRow(row.text, row.entry, row.key) for row in run.train],
            Matryoshka(InfoNCE(0.05), plan(scale, run.seed)),
            batch=scale.batch,
            query_tokens=scale.tokens,
            document_tokens=scale.tokens,
            layers=True,
        )

    return Arm(about, make, ("contrast",), chosen_on=chosen_on)


def alone(about: str, place: int, *, chosen_on: str = "") -> NestedArm:
    """An arm that trains one size and nothing else: the lower layers alone, at its dimensions.

    Args:
        about: What it does.
        place: Which of the scale's sizes, from 1 for the smallest.
        chosen_on: See `Arm`.
    """

    def make(run: NestedRun) -> TextEncoder:
        scale = run.scale
        layer, dim = scale.sizes[place - 1]
        return contrast(
            run,
            [PairRow(row.text, row.entry, row.key) for row in run.train],
            Matryoshka(InfoNCE(0.05), MRL((dim,))),
            batch=scale.batch,
            query_tokens=scale.tokens,
            document_tokens=scale.tokens,
            layers=True,
            encoder=truncate(run.encoder(), layer),
        )

    return Arm(about, make, ("contrast",), chosen_on=chosen_on)


FULL = NestedScale(
    model="google-bert/bert-base-uncased",
    steps={"contrast": 8_700},
    rates=(2e-5, 5e-5, 1e-4),
    gpu_gib=24,
    hub=("google-bert/bert-base-uncased",),
    trained=40_000,
    held=2_000,
    layers=12,
    batch=128,
    tokens=64,
    sizes=((2, 32), (4, 64), (6, 128), (8, 256), (10, 512), (12, 768)),
    widths=(8, 16, 32, 64, 128, 256, 512),
)
SMALL = NestedScale(
    model="packaged:minilm",
    steps={"contrast": 140},
    rates=(5e-5, 1e-4, 2e-4),
    trained=11_000,
    held=800,
)
MINIATURE = NestedScale(
    model="packaged:minilm", steps={"contrast": 2}, seeds=1, trained=64, held=24, batch=8
)
