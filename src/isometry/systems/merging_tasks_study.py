"""Three tasks out of WordNet of very different size: what is trained on, and what judges."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from isometry.corpora.documents import Document
from isometry.corpora.packaged.wordnet import wordnet_synsets
from isometry.corpora.pairs.antonyms import AntonymTriplet, antonym_triplets
from isometry.corpora.pairs.definitions import Definition, definitions, split_definitions
from isometry.corpora.pairs.label_triplets import label_triplets
from isometry.corpora.splits import split
from isometry.encoders.text import Precision, Role, TextEncoder
from isometry.evaluation.neighbor_labels import neighbor_labels
from isometry.evaluation.retrieval import own_ranks
from isometry.learners.two_towers import PairRow
from isometry.systems.system import Scale, Splits

TASKS = {
    "retrieval": "retrieval, mrr@10",
    "clustering": "clustering, 5-nn accuracy",
    "antonyms": "antonyms, triplet accuracy",
}
JOINT = "joint"
_SIDES = {"train": 0.4, "probe": 0.1, "validation": 0.2, "test": 0.3}


@dataclass(frozen=True, kw_only=True)
class MergingScale(Scale):
    """Settings of merging.

    Attributes:
        trained: How many rows each task trains on, by task.
        probed: How many examples of each task a probe has; in no training and no test.
        validated: How many items of each task choose.
        tested: How many others test.
        batch: Rows a step, of trainings and of each task in a probe.
        tokens: Where training cuts texts.
        probe_steps: How many steps learn where to stand.
        scales: What task arithmetic chooses its scale from.
        lengths: What TIES and DARE choose theirs from.
        orders: How many orders SLERP chooses from.
        keeps: The fractions that TIES may keep.
        drops: Those that DARE may drop.
    """

    trained: Mapping[str, int]
    probed: int
    validated: int
    tested: int
    batch: int = 32
    tokens: int = 32
    probe_steps: int = 60
    scales: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
    lengths: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    orders: int = 3
    keeps: tuple[float, ...] = (0.1, 0.2, 0.5)
    drops: tuple[float, ...] = (0.5, 0.8, 0.9)


@dataclass(frozen=True)
class Tasks:
    """What is trained on, and what weights are learned on.

    Attributes:
        rows: By task.
        probe: By task, as many of each.
        known: What an arm has computed that others need too: the experts, and their figures.
    """

    rows: dict[str, list[PairRow]]
    probe: dict[str, list[PairRow]]
    known: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Judged:
    """As many items of each task.

    Attributes:
        definitions: Whose words are to be found.
        files: The lexicographer file of each, which its neighbours shall tell.
        adjectives: Whose similar ones shall be nearer than their antonyms.
    """

    definitions: list[Definition]
    files: list[str]
    adjectives: list[AntonymTriplet]


def data(scale: MergingScale) -> Splits[Tasks, Judged]:
    """Glosses that find their words, glosses of one lexicographer file, and adjectives.

    No synset is on two sides, and no two adjectives that are linked.
    """
    synsets = wordnet_synsets()
    file = {each.key: str(each.file) for each in synsets}
    nouns = (
        Document(each.key, each.gloss, ", ".join(each.lemmas))
        for each in synsets
        if each.key.endswith("-n")
    )
    glosses = split_definitions(definitions(nouns)[0], _SIDES)
    adjectives: dict[str, list[AntonymTriplet]] = {side: [] for side in _SIDES}
    opposed = antonym_triplets(synsets)
    groups = [each.group for each in opposed]
    for each, side in zip(opposed, split(groups, np.arange(len(groups)), _SIDES), strict=True):
        adjectives[side].append(each)

    def rows(side: str, most: Mapping[str, int]) -> dict[str, list[PairRow]]:
        own, first = glosses[side], most["retrieval"]
        # A text that nobody shares its file with makes no triplet: a few more are taken.
        labelled = own[first : first + 2 * most["clustering"]]
        triplets = label_triplets(
            [each.text for each in labelled], [file[each.key] for each in labelled]
        )
        return {
            "retrieval": [PairRow(each.text, each.entry, each.key) for each in own[:first]],
            "clustering": [
                PairRow(
                    each.anchor, each.positive, each.label, each.negatives, each.negative_labels
                )
                for each in triplets[: most["clustering"]]
            ],
            "antonyms": [
                # The antonym's own row may be in the batch: its antonym is this text itself.
                PairRow(
                    each.text, each.similar, each.keys[1], (each.antonym,), (each.keys[2],),
                    frozenset({each.keys[0]}),
                )
                for each in adjectives[side][: most["antonyms"]]
            ],
        }  # fmt: skip

    def judged(side: str, most: int) -> Judged:
        own = glosses[side][:most]
        return Judged(own, [file[each.key] for each in own], adjectives[side][:most])

    return Splits(
        Tasks(rows("train", scale.trained), rows("probe", dict.fromkeys(TASKS, scale.probed))),
        judged("validation", scale.validated),
        judged("test", scale.tested),
    )


def scores(
    encoder: TextEncoder, held: Judged, precision: Precision
) -> dict[str, Float[np.ndarray, " n"]]:
    """What an encoder reaches on every item of every task."""

    def encode(texts: Sequence[str], role: Role = "document") -> Float[np.ndarray, "n d"]:
        return encoder.encode(texts, role, precision=precision)

    glosses = encode([each.text for each in held.definitions], "query")
    entries = [each.entry for each in held.definitions]
    opposed = [
        getattr(each, name) for name in ("text", "similar", "antonym") for each in held.adjectives
    ]
    # All in one go: of few texts, each go takes as long as of many.
    vectors = encode([*entries, *opposed])
    anchors, near, far = np.split(vectors[len(entries) :], 3)
    lead = (anchors * (near - far)).sum(axis=1)
    return {
        "retrieval": own_ranks(glosses, vectors[: len(entries)]),
        "clustering": neighbor_labels(glosses, held.files, 5),
        "antonyms": np.where(lead == 0, 0.5, lead > 0),
    }


FULL = MergingScale(
    model="intfloat/e5-base-unsupervised",
    steps={"retrieval": 1_200, "clustering": 500, "antonyms": 100, JOINT: 1_800},
    rates=(1e-5, 2e-5, 5e-5),
    gpu_gib=24,
    hub=("intfloat/e5-base-unsupervised",),
    trained={"retrieval": 16_000, "clustering": 4_000, "antonyms": 800},
    probed=200,
    validated=450,
    tested=700,
    batch=128,
    tokens=64,
    probe_steps=300,
)
SMALL = MergingScale(
    model="packaged:minilm",
    steps={"retrieval": 120, "clustering": 50, "antonyms": 30, JOINT: 200},
    rates=(5e-5, 1e-4),
    trained={"retrieval": 10_000, "clustering": 1_000, "antonyms": 400},
    probed=100,
    validated=200,
    tested=700,
)
MINIATURE = MergingScale(
    model="packaged:minilm",
    steps={"retrieval": 2, "clustering": 2, "antonyms": 2, JOINT: 2},
    seeds=1,
    trained={"retrieval": 40, "clustering": 20, "antonyms": 8},
    probed=2,
    validated=12,
    tested=12,
    batch=2,
    tokens=12,
    probe_steps=1,
    scales=(0.3,),
    lengths=(1.0,),
    orders=1,
    keeps=(0.2,),
    drops=(0.9,),
)
