"""What systems about hierarchies share: terms of medicine, and how far they are apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from isometry.corpora.hierarchy import Hierarchy
from isometry.corpora.packaged.human_phenotypes import phenotypes
from isometry.corpora.pairs.concept_pairs import ConceptPair, concept_names, concept_pairs
from isometry.corpora.pairs.distance_pairs import DistancePairs, distance_pairs
from isometry.corpora.subtree_split import subtree_split
from isometry.encoders.text import TextEncoder
from isometry.evaluation.pair_scores import pair_scores, wins
from isometry.evaluation.probe import draw_examples, probe
from isometry.evaluation.retrieval import rank_documents
from isometry.learners.concept_similarity import ConceptName, ConceptSimilarity
from isometry.objectives.graded_similarity import GradedSimilarity
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale, Splits
from isometry.training.hierarchy_batches import hierarchy_batches

STAGE = "names"
# The signs of disease; what is beside them says when, how often and how strongly.
_ROOT = "HP:0000118"
# Near is at most so many steps; beyond the farthest, terms are unrelated.
_NEAR, _FARTHEST = 2, 6
# A subtree that is held out as a whole has so many terms.
_SUBTREE = (8, 120)
_GROUPS = 20
_LABELS, _DRAWS, _FEWEST = 5, 10, 15


@dataclass(frozen=True, kw_only=True)
class HierarchyScale(Scale):
    """Settings of hierarchies.

    Attributes:
        held: How many terms at least are validated on, and how many tested on.
        compared: Pairs of held-out terms at each distance, and unrelated ones, at most.
        pairs: Pairs of synonyms a step.
        anchors: Groups a step of terms at every distance from one.
        levels: Distances whose cosines are kept apart.
        thresholds: One for each.
        synonyms: The threshold of what every arm learns from synonyms.
        tokens: Where names are cut.
    """

    held: int = 1_500
    compared: int = 400
    pairs: int = 24
    anchors: int = 6
    levels: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    thresholds: tuple[float, ...] = (0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
    synonyms: float = 0.7
    tokens: int = 16

    @property
    def group(self) -> int:
        """Terms of a group: the anchor, one at each distance up to one more level, and another."""
        return 2 + len(self.steps_away)

    @property
    def steps_away(self) -> tuple[int, ...]:
        """Distances that a group has a term for."""
        return tuple(range(1, max(self.levels) + 2))


@dataclass(frozen=True)
class Terms:
    """Terms to train on.

    Attributes:
        names: Of each concept.
        pairs: A name with a synonym.
        edges: Child and parent, of all terms: paths may lead over those that are held out.
    """

    names: dict[str, tuple[str, ...]]
    pairs: list[ConceptPair]
    edges: list[tuple[str, str]]


@dataclass(frozen=True)
class HeldTerms:
    """Terms that are not trained on, in whole subtrees.

    Attributes:
        names: Of each concept, the first one.
        pairs: A name with a synonym.
        compared: Pairs of concepts by row of `names`, near and far.
        systems: The organ system of each concept; empty where it has several.
    """

    names: dict[str, str]
    pairs: list[ConceptPair]
    compared: DistancePairs
    systems: list[str]


TermRun = Run[HierarchyScale, Terms, HeldTerms]


def data(scale: HierarchyScale) -> Splits[Terms, HeldTerms]:
    """Signs of disease of the Human Phenotype Ontology, split by subtree.

    The root is left out: over it any two terms would be near.
    """
    concepts = phenotypes()
    edges = concepts.pairs("is_a")
    terms = Hierarchy(edges).below(_ROOT)
    edges = [pair for pair in edges if pair[0] in terms and pair[1] in terms]
    hierarchy = Hierarchy(edges)
    sides = subtree_split(hierarchy, ("test", "validation"), held=scale.held, sizes=_SUBTREE)
    names = concept_names(concepts, set(hierarchy.nodes))
    held = {concept for side in sides.values() for concept in side}
    train = {concept: own for concept, own in names.items() if concept not in held}
    validation, test = (
        _held(hierarchy, {key: names[key] for key in sides[side] if key in names}, scale)
        for side in ("validation", "test")
    )
    return Splits(Terms(train, concept_pairs(train), edges), validation, test)


def _held(
    hierarchy: Hierarchy, names: dict[str, tuple[str, ...]], scale: HierarchyScale
) -> HeldTerms:
    tops = [hierarchy.tops(concept) for concept in names]
    return HeldTerms(
        {concept: own[0] for concept, own in names.items()},
        concept_pairs(names),
        distance_pairs(hierarchy, list(names), most=_FARTHEST, count=scale.compared),
        [own[0] if len(own) == 1 else "" for own in tops],
    )


def trained(*, graded: bool = False, level: int | None = None) -> Callable[[TermRun], TextEncoder]:
    """An arm that trains the encoder on names.

    Args:
        graded: Whether the graded loss is added, and groups of terms from the hierarchy with it.
            Otherwise further pairs of synonyms take their places: a batch has the same size.
        level: The one level that it has; all when not given.
    """

    def make(run: TermRun) -> TextEncoder:
        scale, terms = run.scale, run.train
        encoder = run.encoder()
        places = scale.anchors * scale.group
        pairs = scale.pairs if graded else scale.pairs + places // 2
        hierarchy = Hierarchy(terms.edges)

        def distances(concepts: Sequence[str]) -> Int[np.ndarray, "n n"]:
            # What is farther than all levels is a negative of each, and not unknown.
            farthest = scale.steps_away[-1]
            return hierarchy.distances(concepts, farthest, beyond=farthest + 1)

        batches: list[list[ConceptName]] = [
            [
                ConceptName(text, terms.pairs[row].concept)
                for row in batch
                for text in (terms.pairs[row].name, terms.pairs[row].synonym)
            ]
            for batch in run.batches(STAGE, [(pair.concept,) for pair in terms.pairs], pairs)
        ]
        if graded:
            random = run.generator("names")
            groups = hierarchy_batches(
                hierarchy, list(terms.names), anchors=scale.anchors, levels=scale.steps_away,
                others=1, steps=len(batches), seed=run.seed,
            )  # fmt: skip
            for batch, group in zip(batches, groups, strict=True):
                batch += [
                    ConceptName(own[int(random.integers(len(own)))], concept, paired=False)
                    for concept in group
                    for own in (terms.names[concept],)
                ]
        threshold = dict(zip(scale.levels, scale.thresholds, strict=True))
        kept = scale.levels if level is None else (level,)
        learner = ConceptSimilarity(
            encoder,
            GradedSimilarity(thresholds=(scale.synonyms,), margin=0.1),
            GradedSimilarity(kept, [threshold[one] for one in kept]) if graded else None,
            distances if graded else None,
            tokens=scale.tokens,
        )
        rows = [row for batch in batches for row in batch]
        ends = np.cumsum([0, *map(len, batches)])
        order = [list(range(start, end)) for start, end in pairwise(ends.tolist())]
        run.fit(STAGE, learner, rows, order)
        return encoder

    return make


def measure(run: TermRun, encoder: TextEncoder, held: HeldTerms) -> Figures:
    """How well cosines follow distances, and what the vectors are good for.

    `spearman with nearness` has a figure for each of twenty groups of pairs. Near is at most two
    steps, far four to six, and what is farther is unrelated. `synonym found` asks which held-out
    name a synonym is nearest to. `organ system` is the accuracy of a logistic regression on five
    names of each.
    """

    def encode(texts: Sequence[str]) -> Float[np.ndarray, "texts d"]:
        return encoder.encode(texts, tokens=run.scale.tokens, precision=run.scale.precision)

    named = encode(list(held.names.values()))
    asked = encode([pair.synonym for pair in held.pairs])
    place = {concept: row for row, concept in enumerate(held.names)}
    right = np.array([place[pair.concept] for pair in held.pairs])
    found, _ = rank_documents(asked, named, np.arange(len(named)), 1)
    first, second, apart = held.compared.first, held.compared.second, held.compared.apart
    cosines = (named[first] * named[second]).sum(axis=1)
    groups = min(_GROUPS, len(apart) // 8)
    near = cosines[apart <= _NEAR]
    return {
        "spearman with nearness": np.array(
            [
                pair_scores(named[first[some]], named[second[some]], -apart[some].astype(float))[
                    "spearman"
                ]
                for some in (slice(group, None, groups) for group in range(groups))
            ]
        ),
        "auc, near from far": wins(near, cosines[(apart >= 4) & (apart <= _FARTHEST)]),
        "auc, near from unrelated": wins(near, cosines[apart > _FARTHEST]),
        "synonym found": (found[:, 0] == right).astype(float),
        "organ system": _organ_systems(named, held.systems),
    }


def _organ_systems(
    named: Float[np.ndarray, "n d"], systems: Sequence[str]
) -> Float[np.ndarray, " draws"]:
    """The accuracy on terms without a label, for each draw of the labelled ones."""
    often = Counter(systems)
    rows = [row for row, name in enumerate(systems) if name and often[name] >= _FEWEST]
    vectors, labels = named[rows], np.array([systems[row] for row in rows])
    scores: list[float] = []
    for draw in range(_DRAWS):
        some = draw_examples(labels.tolist(), _LABELS, np.random.default_rng(draw))
        others = np.setdiff1d(np.arange(len(rows)), some)
        told = probe(vectors[some], labels[some].tolist(), vectors[others], labels[others].tolist())
        scores.append(float(told.mean()))
    return np.array(scores)
