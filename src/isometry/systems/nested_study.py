"""What systems about nested encoders share: words found by their definitions, at every size."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from isometry.corpora.pairs.definitions import Definition, definitions, split_definitions
from isometry.corpora.readers import ReadingReport, open_source
from isometry.encoders.text import TextEncoder
from isometry.evaluation.nested import layer_vectors, reciprocal_ranks
from isometry.learners.two_towers import PairRow
from isometry.objectives.matryoshka import Diagonal, Matryoshka
from isometry.systems.arms import contrast
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale, Splits


@dataclass(frozen=True, kw_only=True)
class NestedScale(Scale):
    """Settings of nested encoders.

    Attributes:
        source: Where definitions come from.
        trained: How many definitions are trained on.
        held: How many are validated on, and how many tested on.
        sizes: (layer, dimensions) that are measured, from the smallest; the last is the whole.
        layers: How many layers the model has.
        widths: The dimensions that nested losses train beside the full width.
        batch: Definitions a step.
        tokens: Where texts are cut.
    """

    source: str = "wordnet:"
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


def data(scale: NestedScale) -> Splits[Rows, Rows]:
    """Glosses and the words that they define, split by synset."""
    rows, _ = definitions(open_source(scale.source).documents(ReadingReport()))
    sides = split_definitions(rows)
    return Splits(
        sides["train"][: scale.trained],
        sides["validation"][: scale.held],
        sides["test"][: scale.held],
    )


def measure(run: Run[NestedScale, Rows, Rows], encoder: TextEncoder, held: Rows) -> Figures:
    """MRR@10 of the word for its gloss, among all held-out words, at every size."""
    tokens = run.scale.tokens
    glosses = layer_vectors(encoder, [row.text for row in held], "query", tokens=tokens)
    words = layer_vectors(encoder, [row.entry for row in held], "document", tokens=tokens)
    by_size = [reciprocal_ranks(glosses, words, *size) for size in run.scale.sizes]
    shallow = by_size[: len(by_size) * 2 // 3]
    return {
        "mrr@10, shallow": sum(shallow) / len(shallow),
        "mrr@10, whole": by_size[-1],
        **{
            f"mrr@10 at ({layer}, {dim})": scores
            for (layer, dim), scores in zip(run.scale.sizes[:-1], by_size[:-1], strict=True)
        },
        "share of the whole at half the layers": by_size[len(by_size) // 2 - 1].mean()
        / by_size[-1].mean(),
    }


def measure_by_place(
    run: Run[NestedScale, Rows, Rows], encoder: TextEncoder, held: Rows
) -> Figures:
    """The MRR@10 of `measure` by a size's place, so that the same gates stand at every scale."""
    figures, sizes = measure(run, encoder, held), run.scale.sizes
    return {
        **{
            f"mrr@10, size {place} of {len(sizes)}": figures[f"mrr@10 at ({layer}, {dim})"]
            for place, (layer, dim) in enumerate(sizes[:-1], start=1)
        },
        "mrr@10, whole": figures["mrr@10, whole"],
    }


def trained(
    objective: Callable[[NestedScale, int], Matryoshka],
) -> Callable[[Run[NestedScale, Rows, Rows]], TextEncoder]:
    """An arm that trains under an objective, which is made for its scale and seed."""

    def make(run: Run[NestedScale, Rows, Rows]) -> TextEncoder:
        return contrast(
            run,
            [PairRow(row.text, row.entry, row.key) for row in run.train],
            objective(run.scale, run.seed),
            batch=run.scale.batch,
            query_tokens=run.scale.tokens,
            document_tokens=run.scale.tokens,
            layers=True,
        )

    return make


def alone(base: nn.Module, place: int) -> Callable[[Run[NestedScale, Rows, Rows]], TextEncoder]:
    """An arm that trains one size and nothing else.

    What lies above and beside it gives it no gradient, so it becomes what the encoder that was
    cut to this size before becomes; only its figure at this size means anything.

    Args:
        base: The contrast.
        place: Which of the scale's sizes, from 1 for the smallest.
    """
    make = trained(
        lambda scale, _: Matryoshka(base, Diagonal((scale.sizes[place - 1],), distil=0.0))
    )

    def make_quietly(run: Run[NestedScale, Rows, Rows]) -> TextEncoder:
        with warnings.catch_warnings():
            # That the whole encoder is not trained is the point here.
            warnings.filterwarnings("ignore", message="The last size of the plan")
            return make(run)

    return make_quietly


FULL = NestedScale(
    model="google-bert/bert-base-uncased",
    steps={"contrast": 8_700},
    rates=(2e-5, 5e-5, 1e-4),
    gpu_gib=24,
    hub=("google-bert/bert-base-uncased",),
    trained=70_000,
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
    rates=(2e-5, 5e-5, 1e-4),
    trained=11_000,
    held=800,
)
MINIATURE = NestedScale(
    model="packaged:minilm", steps={"contrast": 2}, seeds=1, trained=64, held=24, batch=8
)
