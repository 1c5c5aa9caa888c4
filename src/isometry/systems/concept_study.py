"""What systems about named concepts share: glosses, the concepts they fall under, and pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from isometry.corpora.concept_vocabulary import ConceptVocabulary, frequent_concepts
from isometry.corpora.packaged.wordnet import wordnet
from isometry.corpora.pairs.related_glosses import GlossPair, glosses_of, related_glosses
from isometry.encoders.counts import ExplicitSemanticAnalysis, TfIdf
from isometry.evaluation.concept_alignment import concept_alignment, permutation_gap
from isometry.evaluation.retrieval import own_ranks
from isometry.geometry.standardize import Standardizer
from isometry.heads.concept_head import Activation, ConceptHead, keep_largest
from isometry.learners.concept_towers import ConceptTowers, TaggedPair
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.multilabel import MultiLabel, positive_weight
from isometry.search.explanation import contributions
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale, Splits

METRIC = "mrr@10"
STAGE = "heads"


@dataclass(frozen=True, kw_only=True)
class ConceptScale(Scale):
    """Settings of named concepts.

    Attributes:
        trained: How many pairs of glosses are trained on.
        held: How many are validated on, and how many tested on.
        concepts: How many hypernyms are concepts, beside the lexicographer files.
        least: How many glosses of the training pairs a hypernym needs.
        most: The share of them that it may have.
        batch: Pairs a step.
        temperature: Of the contrast.
        kept: How many concepts of a gloss an inverted index would hold.
    """

    trained: int
    held: int
    concepts: int = 300
    least: int = 40
    most: float = 0.25
    batch: int = 256
    temperature: float = 0.05
    kept: int = 32


@dataclass(frozen=True)
class Pairs:
    """Pairs of related glosses, of one side.

    Attributes:
        pairs: No synset of them stands on another side.
        vocabulary: The concepts that occur among those that are trained on.
    """

    pairs: list[GlossPair]
    vocabulary: ConceptVocabulary

    @property
    def texts(self) -> list[str]:
        """Of both sides of every pair."""
        return [gloss.text for gloss in glosses_of(self.pairs)]

    @property
    def marks(self) -> Float[np.ndarray, "glosses k"]:
        """1 where one of them falls under a concept."""
        return self.vocabulary.marks(glosses_of(self.pairs))


ConceptRun = Run[ConceptScale, Pairs, Pairs]
# From glosses and their vectors to one value a concept.
Model = Callable[[Sequence[str], Float[np.ndarray, "n m"]], Float[np.ndarray, "n k"]]


def data(scale: ConceptScale) -> Splits[Pairs, Pairs]:
    """Pairs of nouns' glosses; every synset stands in one pair, so no two sides share one."""
    concepts = wordnet()
    needed = scale.trained + 2 * scale.held
    pairs = related_glosses(concepts, needed)
    if len(pairs) < needed:
        raise ValueError(f"there are {len(pairs)} pairs, not {needed}")
    test, validation = pairs[: scale.held], pairs[scale.held : 2 * scale.held]
    train = pairs[2 * scale.held :]
    vocabulary = frequent_concepts(
        concepts, train, count=scale.concepts, least=scale.least, most=scale.most
    )
    return Splits(*(Pairs(side, vocabulary) for side in (train, validation, test)))


def counted(run: ConceptRun) -> Model:
    """ESA: concepts by shared words. What stands for a concept's article is chosen on validation.

    Its names and gloss, or also the training glosses below it; counts as they are, or dampened.
    """
    vocabulary, texts = run.train.vocabulary, run.train.texts
    below: dict[int, list[str]] = defaultdict(list)
    for gloss in glosses_of(run.train.pairs):
        for tag in vocabulary.tags(gloss):
            below[tag].append(gloss.text)
    short = list(vocabulary.texts)
    long = [" ".join([text, *below[tag]]) for tag, text in enumerate(short)]
    tried: list[tuple[float, ExplicitSemanticAnalysis]] = []
    for articles in (short, long):
        for sublinear in (False, True):
            words = TfIdf([*texts, *articles], sublinear=sublinear)
            esa = ExplicitSemanticAnalysis(words, articles)
            active = _unit(esa.encode(run.validation.texts).toarray())
            tried.append((float(_found(active).mean()), esa))
    _, best = max(tried, key=lambda one: one[0])
    return lambda own, _: best.encode(own).toarray()


def named_vectors(run: ConceptRun) -> Model:
    """ESA by the encoder: the cosine of a gloss and of a concept's text, untrained."""
    concepts = run.pretrained.encode(run.train.vocabulary.texts)
    return lambda _, vectors: vectors @ concepts.T


def trained(
    activation: Activation, *, ranking: bool = True, tag_weight: float | None = None
) -> Callable[[ConceptRun], Model]:
    """An arm that trains a head over the frozen encoder, by pairs, by tags or by both.

    Args:
        activation: Of the head.
        ranking: Whether it learns from the pairs.
        tag_weight: How much the tags count; without one they do not.
    """

    def make(run: ConceptRun) -> Model:
        vocabulary, scale, pairs = run.train.vocabulary, run.scale, run.train.pairs
        vectors = run.pretrained.encode(run.train.texts)
        standard = Standardizer.fit(vectors)
        inputs = standard.apply(vectors)
        tags = [vocabulary.tags(gloss) for gloss in glosses_of(pairs)]
        rows = [
            TaggedPair(*inputs[at : at + 2], *tags[at : at + 2]) for at in range(0, len(inputs), 2)
        ]
        share = torch.from_numpy(run.train.marks.mean(axis=0))
        head = ConceptHead(vocabulary.names, inputs.shape[1], activation=activation)
        learner = ConceptTowers(
            head,
            InfoNCE(scale.temperature) if ranking else None,
            None if tag_weight is None else MultiLabel(positive_weight(share, 0.5)),
            tag_weight=tag_weight or 0.0,
        )
        # Siblings in a batch would be negatives of each other.
        parents = [(pair.query.above[1], pair.document.above[1]) for pair in pairs]
        run.fit(STAGE, learner, rows, run.batches(STAGE, parents, scale.batch))

        def encode(_: object, own: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n k"]:
            values = torch.from_numpy(standard.apply(own)).float().to(head.bias.device)
            with torch.no_grad():
                return head(values).cpu().numpy()

        return encode

    return make


def measure(run: ConceptRun, model: Model, held: Pairs) -> Figures:
    """The related gloss found, the concepts told, and the scores explained.

    `mrr@10` looks for the second gloss of a pair among all second ones, by the cosine of concepts.
    `auc` has a figure for every concept that some held-out glosses have. `error of explanations` is
    the largest difference of a pair's score and its contributions, of which ten are named.
    """
    vectors = run.pretrained.encode(held.texts)
    active = _unit(model(held.texts, vectors))
    found = _found(active)
    kept = keep_largest(torch.from_numpy(active), run.scale.kept).numpy()
    marks = held.marks > 0
    alignment = concept_alignment(active, marks)
    auc = alignment[~np.isnan(alignment)]
    names = held.vocabulary.names
    errors = [
        abs(
            sum(value for _, value in contributions(query, document, names, top=10))
            - float(query @ document)
        )
        for query, document in zip(active[::2], active[1::2], strict=True)
    ]
    return {
        METRIC: found,
        "auc": auc,
        "distance of auc from 0.5": abs(float(auc.mean()) - 0.5),
        "auc over shuffled names": permutation_gap(active, marks, run.seed),
        "error of explanations": max(errors),
        "mrr@10, largest concepts alone": _found(kept),
        "mrr@10 over the encoder's own": found - _found(vectors),
    }


def _unit(active: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Activations of unit length; a gloss without any stays zero."""
    active = active.astype(np.float32)
    lengths = np.linalg.norm(active, axis=1, keepdims=True)
    return active / np.where(lengths == 0, 1, lengths)


def _found(vectors: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " pairs"]:
    """MRR@10 of every pair; one that has nothing in common is not found, whatever its place."""
    asked, answers = vectors[::2], vectors[1::2]
    return own_ranks(asked, answers) * ((asked * answers).sum(axis=1) != 0)
