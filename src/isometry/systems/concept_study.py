"""What systems about named concepts share: glosses, the concepts they fall under, and pairs."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isometry.core.progress import say
from isometry.corpora.curation.dedup import normalize
from isometry.corpora.hierarchy import Hierarchy
from isometry.corpora.readers.concepts import Concepts, wordnet_concepts
from isometry.corpora.readers.wordnet import open_wordnet
from isometry.encoders.counts import ExplicitSemanticAnalysis, TfIdf
from isometry.evaluation.concept_alignment import concept_alignment, permutation_gap
from isometry.evaluation.retrieval import rank_documents, score_rankings
from isometry.heads.concept_head import Activation, ConceptHead, keep_largest
from isometry.learners.concept_towers import ConceptTowers, TaggedPair
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.multilabel import MultiLabel, positive_weight
from isometry.search.explanation import contributions
from isometry.search.sparse import SparseIndex
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale, Splits
from isometry.training.unique_batches import unique_batches

METRIC = "mrr@10"
_UP = ("is_a", "instance_of")
_DOWN = ("hyponym", "instance")


@dataclass(frozen=True, kw_only=True)
class ConceptScale(Scale):
    """Settings of named concepts.

    Attributes:
        wordnet: The folder of WordNet; the usual places where it is empty.
        trained: How many pairs of glosses are trained on.
        held: How many are validated on, and how many tested on.
        concepts: How many hypernyms are concepts, beside the lexicographer files.
        least: How many glosses of the training pairs a hypernym needs.
        most: The share of them that it may have.
        batch: Pairs a step.
        temperature: Of the contrast.
        kept: How many concepts of a gloss an inverted index would hold.
    """

    wordnet: str = ""
    trained: int
    held: int
    concepts: int = 300
    least: int = 40
    most: float = 0.25
    batch: int = 256
    temperature: float = 0.05
    kept: int = 32


@dataclass(frozen=True)
class Item:
    """A gloss.

    Attributes:
        text: Without examples.
        above: The keys of the synset that it defines, all above it and its lexicographer file; the
            synset itself first.
    """

    text: str
    above: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Glosses of two synsets that are related."""

    query: Item
    document: Item


@dataclass(frozen=True)
class Vocabulary:
    """The concepts.

    Attributes:
        keys: In order of how many training glosses fall under them.
        names: Theirs, all different.
        texts: Names and definition of each.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...]

    def tags(self, item: Item) -> tuple[int, ...]:
        """The numbers of the concepts that an item falls under."""
        own = set(item.above[1:])
        return tuple(number for number, key in enumerate(self.keys) if key in own)

    def marks(self, items: Sequence[Item]) -> Float[np.ndarray, "items k"]:
        """1 where an item falls under a concept."""
        marks = np.zeros((len(items), len(self.keys)), dtype=np.float32)
        for row, item in enumerate(items):
            marks[row, list(self.tags(item))] = 1
        return marks


@dataclass(frozen=True)
class Training:
    """Pairs to train on, and the concepts that occur among them."""

    pairs: list[Pair]
    vocabulary: Vocabulary


@dataclass(frozen=True)
class Held:
    """Pairs of which no synset is trained on, and the same concepts."""

    pairs: list[Pair]
    vocabulary: Vocabulary


ConceptRun = Run[ConceptScale, Training, Held]
# From glosses and their vectors to one value a concept.
Model = Callable[[Sequence[str], Float[np.ndarray, "n m"]], Float[np.ndarray, "n k"]]


def data(scale: ConceptScale) -> Splits[Training, Held]:
    """Pairs of nouns' glosses; every synset stands in one pair, so no two sides share one."""
    concepts = wordnet_concepts(open_wordnet(scale.wordnet, name="wordnet:", limit=None))
    needed = scale.trained + 2 * scale.held
    pairs = related_glosses(concepts, needed)
    if len(pairs) < needed:
        raise ValueError(f"there are {len(pairs)} pairs, not {needed}")
    test, validation = pairs[: scale.held], pairs[scale.held : 2 * scale.held]
    train = pairs[2 * scale.held : needed]
    vocabulary = frequent_concepts(concepts, train, scale)
    return Splits(Training(train, vocabulary), Held(validation, vocabulary), Held(test, vocabulary))


def related_glosses(concepts: Concepts, most: int) -> list[Pair]:
    """Nouns in pairs, in random order: linked by any pointer but up and down, else siblings.

    A gloss that several synsets have is left out.

    Args:
        concepts: WordNet.
        most: How many pairs are returned at most.
    """
    definitions = {
        key: texts[0]
        for key, texts in concepts.by_concept("definition").items()
        if key.endswith("-n")
    }
    said = Counter(normalize(text) for text in definitions.values())
    order = sorted(
        (key for key, text in definitions.items() if said[normalize(text)] == 1),
        # A random order that depends on nothing but the keys.
        key=lambda key: hashlib.sha256(key.encode()).digest(),
    )
    place = {key: number for number, key in enumerate(order)}
    hierarchy = Hierarchy(
        pair for pair in concepts.pairs(*_UP) if pair[0] in definitions and pair[1] in definitions
    )
    linked: dict[str, list[str]] = defaultdict(list)
    category: dict[str, str] = {}
    for edge in concepts.edges:
        if edge.relation == "category":
            category[edge.source] = edge.target
        elif edge.relation not in _UP + _DOWN and edge.source in place and edge.target in place:
            linked[edge.source].append(edge.target)
    siblings: dict[str, list[str]] = defaultdict(list)
    for key in order:
        if key in hierarchy and (parents := hierarchy.parents[key]):
            siblings[parents[0]].append(key)
    partners: dict[str, str] = {}
    for key in order:
        _match(key, sorted(linked[key], key=place.__getitem__), partners)
    for own in siblings.values():
        left = [key for key in own if key not in partners]
        for one, other in zip(left[::2], left[1::2], strict=False):
            _match(one, [other], partners)

    def item(key: str) -> Item:
        above = hierarchy.ancestors(key) if key in hierarchy else {}
        return Item(definitions[key], (key, *above, category[key]))

    first = [key for key in order if key in partners and place[key] < place[partners[key]]]
    return [Pair(item(key), item(partners[key])) for key in first[:most]]


def frequent_concepts(concepts: Concepts, pairs: Sequence[Pair], scale: ConceptScale) -> Vocabulary:
    """Lexicographer files and frequent hypernyms; of those with the same glosses, the nearest one.

    A concept that no training gloss falls under is left out, with a message.
    """
    members: dict[str, set[int]] = defaultdict(set)
    for number, item in enumerate(items_of(pairs)):
        for key in item.above[1:]:
            members[key].add(number)
    files = dict.fromkeys(key for _, key in concepts.pairs("category") if key.startswith("noun."))
    if empty := [key for key in files if key not in members]:
        say(f"No training gloss falls under {', '.join(empty)}: left out.")
    most = scale.most * 2 * len(pairs)
    place = {key: steps for item in items_of(pairs) for steps, key in enumerate(item.above)}
    nearest: dict[frozenset[int], str] = {}
    for key in sorted(members, key=lambda key: (place[key], key)):
        if key not in files and scale.least <= len(members[key]) <= most:
            nearest.setdefault(frozenset(members[key]), key)
    hypernyms = sorted(nearest.values(), key=lambda key: (-len(members[key]), key))
    keys = [key for key in files if key in members] + hypernyms[: scale.concepts]
    words, glosses = concepts.by_concept("name", "synonym"), concepts.by_concept("definition")
    named = Counter(words[key][0] for key in keys)
    return Vocabulary(
        tuple(keys),
        # The same word for several: the key tells them apart.
        tuple(
            words[key][0] if named[words[key][0]] == 1 else f"{words[key][0]} ({key})"
            for key in keys
        ),
        tuple("; ".join([", ".join(words[key]), *glosses.get(key, ())]) for key in keys),
    )


def items_of(pairs: Iterable[Pair]) -> list[Item]:
    """Both sides of every pair."""
    return [item for pair in pairs for item in (pair.query, pair.document)]


def vectors_of(run: ConceptRun, texts: Sequence[str]) -> Float[np.ndarray, "n m"]:
    """The frozen encoder's vectors, computed once for all arms and seeds."""
    return run.cached(run.encoder()).encode(texts)


def counted(run: ConceptRun) -> Model:
    """ESA: concepts by shared words. What stands for a concept's article is chosen on validation.

    Its names and gloss, or also the training glosses below it; counts as they are, or dampened.
    """
    vocabulary = run.train.vocabulary
    glosses: dict[int, list[str]] = defaultdict(list)
    for item in items_of(run.train.pairs):
        for tag in vocabulary.tags(item):
            glosses[tag].append(item.text)
    long = [" ".join([text, *glosses[tag]]) for tag, text in enumerate(vocabulary.texts)]
    texts = [item.text for item in items_of(run.train.pairs)]
    tried: list[tuple[float, Model]] = []
    for articles in (list(vocabulary.texts), long):
        for sublinear in (False, True):
            words = TfIdf([*texts, *articles], sublinear=sublinear)
            esa = ExplicitSemanticAnalysis(words, articles)

            def encode(
                own: Sequence[str], _: object, esa: ExplicitSemanticAnalysis = esa
            ) -> Float[np.ndarray, "n k"]:
                return esa.encode(own).toarray()

            found = _ranks(_unit(encode, run.validation, None))
            tried.append((float(found.mean()), encode))
    return max(tried, key=lambda one: one[0])[1]


def named_vectors(run: ConceptRun) -> Model:
    """ESA by the encoder: the cosine of a gloss and of a concept's text, untrained."""
    concepts = vectors_of(run, run.train.vocabulary.texts)
    return lambda _, vectors: vectors @ concepts.T


def trained(
    activation: Activation, *, ranking: bool = True, tag_weight: float = 0.0
) -> Callable[[ConceptRun], Model]:
    """An arm that trains a head over the frozen encoder, by pairs, by tags or by both.

    Args:
        activation: Of the head.
        ranking: Whether it learns from the pairs.
        tag_weight: How much the tags count; without the ranking they count alone.
    """

    def make(run: ConceptRun) -> Model:
        vocabulary, scale = run.train.vocabulary, run.scale
        pairs = run.train.pairs
        vectors = vectors_of(run, [item.text for item in items_of(pairs)])
        mean, spread = vectors.mean(axis=0), vectors.std(axis=0)
        # Some dimensions of a pretrained encoder never change: they would become noise.
        spread = np.maximum(spread, 0.01 * np.median(spread))

        def standard(some: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
            return (some - mean) / spread

        tags = [vocabulary.tags(item) for item in items_of(pairs)]
        share = torch.from_numpy(vocabulary.marks(items_of(pairs)).mean(axis=0))
        inputs = standard(vectors)
        rows = [
            TaggedPair(*inputs[at : at + 2], *tags[at : at + 2]) for at in range(0, len(inputs), 2)
        ]
        head = ConceptHead(vocabulary.names, inputs.shape[1], activation=activation)
        learner = ConceptTowers(
            head,
            InfoNCE(scale.temperature) if ranking else None,
            MultiLabel(positive_weight(share, 0.5)) if tag_weight or not ranking else None,
            tag_weight=tag_weight,
        )
        # Siblings in a batch would be negatives of each other.
        parents = [(pair.query.above[1], pair.document.above[1]) for pair in pairs]
        order = list(unique_batches(parents, scale.batch, scale.steps["heads"], run.seed))
        run.fit("heads", learner, rows, order)

        def encode(_: object, own: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n k"]:
            with torch.no_grad():
                return head(torch.from_numpy(standard(own)).float()).cpu().numpy()

        return encode

    return make


def measure(run: ConceptRun, model: Model, held: Held) -> Figures:
    """The related gloss found, the concepts told, and the scores explained.

    `mrr@10` looks for the second gloss of a pair among all second ones, by the cosine of concepts.
    `auc` has a figure for every concept that some held-out glosses have. `error of explanations` is
    the largest difference of a pair's score and its contributions, of which ten are named.
    """
    texts = [item.text for item in items_of(held.pairs)]
    vectors = vectors_of(run, texts)
    active = _unit(model, held, vectors)
    found = _ranks(active)
    own = _ranks(vectors)
    kept = keep_largest(torch.from_numpy(active), run.scale.kept)
    marks = held.vocabulary.marks(items_of(held.pairs)) > 0
    alignment = concept_alignment(active, marks)
    auc = alignment[~np.isnan(alignment)]
    names = [str(number) for number in range(active.shape[1])]
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
        "mrr@10, largest concepts alone": _sparse_ranks(kept),
        "mrr@10 over the encoder's own": found - own,
    }


def _unit(
    model: Model, held: Held, vectors: Float[np.ndarray, "n m"] | None
) -> Float[np.ndarray, "n k"]:
    """Activations of unit length; a gloss without any stays zero, and finds nothing."""
    texts = [item.text for item in items_of(held.pairs)]
    active = model(texts, np.empty((len(texts), 0)) if vectors is None else vectors)
    active = active.astype(np.float32)
    lengths = np.linalg.norm(active, axis=1, keepdims=True)
    return active / np.where(lengths == 0, 1, lengths)


def _ranks(vectors: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " pairs"]:
    asked, answers = vectors[::2], vectors[1::2]
    order, _ = rank_documents(asked, answers, np.arange(len(answers)), 10)
    return score_rankings(order, [{row: 1} for row in range(len(asked))], (METRIC,))[METRIC]


def _sparse_ranks(kept: Float[Tensor, "n k"]) -> Float[np.ndarray, " pairs"]:
    from scipy.sparse import csr_array

    asked, answers = (csr_array(side.numpy()) for side in (kept[::2], kept[1::2]))
    _, order = SparseIndex(answers).search(asked, 10)
    return score_rankings(order, [{row: 1} for row in range(len(order))], (METRIC,))[METRIC]


def _match(key: str, candidates: Sequence[str], partners: dict[str, str]) -> None:
    """Pairs a key with the first candidate that is free, if both are."""
    if key in partners:
        return
    for other in candidates:
        if other != key and other not in partners:
            partners[key], partners[other] = other, key
            return
