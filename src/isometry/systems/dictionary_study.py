"""What training on a dictionary stands on: entries with their definitions, and what they serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from isometry.core.errors import InputError
from isometry.core.files import hash_value
from isometry.core.progress import say
from isometry.corpora.curation.dedup import normalize, words
from isometry.corpora.packaged.word_pairs import WordPairs, word_pairs
from isometry.corpora.readers.concepts import wordnet_concepts
from isometry.corpora.readers.wordnet import open_wordnet
from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import TextEncoder
from isometry.evaluation.isotropy import isotropy
from isometry.evaluation.pair_scores import pair_scores
from isometry.evaluation.retrieval import score_rankings
from isometry.geometry.group_mean import group_mean
from isometry.geometry.whitening import Whitening
from isometry.heads.cosine_classifier import CosineClassifier
from isometry.learners.classification import Classification, LabelledText
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale, Splits
from isometry.training.unique_batches import unique_batches

# A training in one go, or the two of progressive separate training, with as many steps together.
WHOLE, HALVES = ("whole",), ("first", "second")
_EXAMPLES = 10


@dataclass(frozen=True, kw_only=True)
class DictionaryScale(Scale):
    """Settings of training on a dictionary.

    Attributes:
        entries: How many entries, of those with several senses.
        validated: How many held-out definitions choose.
        tested: How many others test.
        pairs: How many word pairs of each collection; all of them when `None`.
        batch: Definitions a step.
        tokens: Where training cuts definitions.
        temperature: Divides the cosines with the entries.
        iterations: How many FastICA takes at most.
    """

    entries: int
    validated: int
    tested: int
    pairs: int | None = None
    batch: int = 32
    tokens: int = 24
    temperature: float = 0.05
    iterations: int = 100


@dataclass(frozen=True)
class Dictionary:
    """What is trained on: entries, and one row for each definition of an entry.

    Attributes:
        entries: What is defined.
        token: The vocabulary's number of an entry that is one token, -1 of another one.
        definitions: The texts; one that has several entries has as many rows.
        owner: The number of each definition's entry.
        files: The lexicographer file of each definition, such as "noun.animal".
    """

    entries: list[str]
    token: Int[np.ndarray, " entries"]
    definitions: list[str]
    owner: Int[np.ndarray, " definitions"]
    files: list[str]


@dataclass(frozen=True)
class Words:
    """Word similarity, where a word is what its definitions say.

    Attributes:
        pairs: Pairs of words that have definitions, by the name of their collection.
        senses: The definitions of each of these words, of all parts of speech.
    """

    pairs: dict[str, WordPairs]
    senses: dict[str, list[str]]


@dataclass(frozen=True)
class Asked:
    """Definitions that are in no training, whose entries are to be found.

    Attributes:
        definitions: The texts.
        answers: The numbers of the entries that each defines.
        files: The lexicographer file of each.
        words: What only the test asks, since no choice is made on it.
    """

    definitions: list[str]
    answers: list[tuple[int, ...]]
    files: list[str]
    words: Words | None


DictionaryRun = Run[DictionaryScale, Dictionary, Asked]
Encode = Callable[[Sequence[str]], Float[np.ndarray, "n d"]]


class Defined(NamedTuple):
    """A model that has learned, or not, to name what a definition defines.

    Attributes:
        encode: Texts -> unit vectors.
        head: Vectors -> logits over the entries that were trained.
        classes: The frozen vectors of these entries.
        entries: Their numbers.
    """

    encode: Encode
    head: nn.Module
    classes: Float[np.ndarray, "k d"]
    entries: Int[np.ndarray, " k"]


def gather(rows: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Entries with all their definitions, in the order in which they come.

    Entries that differ in case or spaces only are one, under its folded form; a definition that an
    entry has already is not added.

    Args:
        rows: Entry and definition.

    Raises:
        InputError: When an entry or its definition is blank, or there are fewer than two entries.
    """
    found: dict[str, dict[str, str]] = {}
    for entry, definition in rows:
        if not (entry.strip() and definition.strip()):
            blank = f"The entry '{entry}' has no definition." if entry.strip() else "No entry."
            raise InputError(blank, "Leave its row out.")
        found.setdefault(normalize(entry), {}).setdefault(normalize(definition), definition)
    if len(found) < 2:
        raise InputError(f"There is nothing to tell apart: {len(found)} entry.")
    return {entry: list(own.values()) for entry, own in found.items()}


def data(scale: DictionaryScale) -> Splits[Dictionary, Asked]:
    """Nouns of WordNet with several senses, one of them held out, and pairs of words.

    A definition that is held out is in the training of no entry, however many synonyms it defines;
    they all answer it. One with an entry's own words in it is not asked.
    """
    concepts = wordnet_concepts(open_wordnet("", name="wordnet:", limit=None))
    texts = {key: own[0] for key, own in concepts.by_concept("definition").items()}
    named = [
        (name, key)
        for key, names in concepts.by_concept("name", "synonym").items()
        if key in texts
        for name in names
    ]
    senses = gather((name, texts[key]) for name, key in named)
    nouns = gather((name, texts[key]) for name, key in named if key.endswith("-n"))
    file = {texts[key]: kind for key, kind in concepts.pairs("category") if key in texts}
    several = sorted((entry for entry, own in nouns.items() if len(own) > 1), key=hash_value)
    chosen = several[: scale.entries]
    held = {
        normalize(definition): definition
        for definition in (min(nouns[entry], key=hash_value) for entry in chosen)
    }
    kept = {
        entry: own
        for entry in chosen
        if (own := [text for text in nouns[entry] if normalize(text) not in held])
    }
    dictionary = _dictionary(kept, file, TextEncoder.load(scale.model))
    answers: dict[str, list[int]] = {}
    for number, entry in enumerate(dictionary.entries):
        for definition in nouns[entry]:
            if (text := held.get(normalize(definition))) is not None:
                answers.setdefault(text, []).append(number)
    fair = [
        definition
        for definition, own in answers.items()
        if not any(_says(definition, dictionary.entries[number]) for number in own)
    ]
    fair.sort(key=hash_value)

    def asked(definitions: list[str], about: Words | None) -> Asked:
        rows = [tuple(answers[definition]) for definition in definitions]
        return Asked(definitions, rows, [file[each] for each in definitions], about)

    tested = fair[scale.validated : scale.validated + scale.tested]
    about = _words(scale.pairs, senses)
    return Splits(dictionary, asked(fair[: scale.validated], None), asked(tested, about))


def _dictionary(
    senses: dict[str, list[str]], file: dict[str, str], encoder: TextEncoder
) -> Dictionary:
    ids = [encoder.tokenizer.encode(entry, add_special_tokens=False).ids for entry in senses]
    unknown = getattr(encoder.model.tokenizer, "unk_token_id", None)
    rows = [(number, text) for number, own in enumerate(senses.values()) for text in own]
    return Dictionary(
        list(senses),
        np.array([own[0] if len(own) == 1 and own != [unknown] else -1 for own in ids]),
        [text for _, text in rows],
        np.array([number for number, _ in rows]),
        [file[text] for _, text in rows],
    )


def _says(definition: str, entry: str) -> bool:
    """Whether a definition has the words of its entry in a row."""
    said, name = (" ".join(words(text.casefold())) for text in (definition, entry))
    return f" {name} " in f" {said} "


def _words(limit: int | None, senses: dict[str, list[str]]) -> Words:
    """The pairs whose words both have definitions, the first so many of them."""
    found: dict[str, WordPairs] = {}
    for name in ("simlex-999", "wordsim-353"):
        pairs = word_pairs(name)
        sides = [[normalize(word) for word in side] for side in (pairs.first, pairs.second)]
        both = [row for row, own in enumerate(zip(*sides, strict=True)) if senses.keys() >= {*own}]
        first, second = ([side[row] for row in both[:limit]] for side in sides)
        found[name] = WordPairs(first, second, pairs.gold[both[:limit]])
    named = {word for pairs in found.values() for word in (*pairs.first, *pairs.second)}
    return Words(found, {word: senses[word] for word in sorted(named)})


def mean_vectors(
    encode: Encode, texts: Sequence[str], groups: Int[np.ndarray, " texts"]
) -> Float[np.ndarray, "groups d"]:
    """The mean of the vectors of each group's texts; a text is encoded once."""
    number = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    vectors = encode(list(number))
    return group_mean(vectors[[number[text] for text in texts]], groups)


def entry_vectors(encode: Encode, dictionary: Dictionary) -> Float[np.ndarray, "entries d"]:
    """Every entry as the mean of its definitions."""
    return mean_vectors(encode, dictionary.definitions, dictionary.owner)


def classifier(run: DictionaryRun, classes: Float[np.ndarray, "k d"]) -> CosineClassifier:
    """The cosine with vectors of entries that stay as they are."""
    return CosineClassifier(torch.from_numpy(classes).float(), temperature=run.scale.temperature)


def head_over(entries: CosineClassifier, start: Whitening | None = None) -> nn.Sequential:
    """What stands between vectors and logits while an encoder is trained, and not after.

    Args:
        entries: The last layer.
        start: The map that the dense layer before it starts as, where the entries went through it;
            else that starts as the identity.
    """
    d = entries.classes.shape[1] if start is None else len(start.mean)
    weight, mean = (np.eye(d), np.zeros(d)) if start is None else (start.matrix, start.mean)
    layer = nn.Linear(d, weight.shape[1])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T.copy()))
        layer.bias.copy_(torch.from_numpy(-mean @ weight))
    return nn.Sequential(layer, entries)


def untouched(run: DictionaryRun) -> Defined:
    """The pretrained encoder, and its own vectors of all entries."""
    encode = run.cached(unit_encoder(run)).encode
    classes = entry_vectors(encode, run.train)
    return Defined(encode, head_over(classifier(run, classes)), classes, np.arange(len(classes)))


def unit_encoder(run: DictionaryRun) -> TextEncoder:
    """A copy of the pretrained encoder that trains on unit vectors, as those that it serves."""
    from sentence_transformers.base.modules import Normalize

    encoder = run.encoder()
    if not isinstance(list(encoder.model)[-1], Normalize):
        encoder.model.append(Normalize())
    return encoder


def name_entries(
    run: DictionaryRun,
    stage: str,
    classes: Float[np.ndarray, "k d"],
    entries: Int[np.ndarray, " k"],
    start: Whitening | None = None,
) -> Defined:
    """Trains a copy of the pretrained encoder to name entries by their definitions.

    Args:
        run: The run of an arm.
        stage: Which stage of the budget.
        classes: The vectors of the entries.
        entries: Their numbers; definitions of others are left out.
        start: See `head_over`.
    """
    scale, dictionary = run.scale, run.train
    encoder = unit_encoder(run)
    freeze_below(encoder, 0)
    label = dict(zip(entries.tolist(), range(len(entries)), strict=True))
    rows = [
        LabelledText(text, label[owner])
        for text, owner in zip(dictionary.definitions, dictionary.owner.tolist(), strict=True)
        if owner in label
    ]
    lengths = encoder.lengths([row.text for row in rows], "document")
    if cut := sum(length > scale.tokens for length in lengths):
        say(f"{cut} of {len(rows)} definitions are cut after {scale.tokens} tokens.")
    keys = [(row.label, row.text) for row in rows]
    order = list(unique_batches(keys, scale.batch, scale.steps[stage], run.seed))
    head = head_over(classifier(run, classes), start)
    run.fit(stage, Classification(encoder, head, tokens=scale.tokens), rows, order)
    encode: Any = partial(encoder.encode, precision=scale.precision)
    return Defined(encode, head, classes, entries)


def measure(run: DictionaryRun, model: Defined, asked: Asked) -> Figures:
    """What the vectors serve, and what they were trained towards.

    The head and the classes are gone where vectors serve: there an entry is the mean of its
    definitions' vectors, by the same encoder for every arm.
    """
    dictionary = run.train
    shared = np.flatnonzero(dictionary.token >= 0)
    served = _served(run, model.encode, asked)
    vectors = torch.from_numpy(model.encode(asked.definitions))
    with torch.no_grad():
        logits = model.head(vectors.to(next(model.head.parameters()).device)).cpu().numpy()
    known = np.isin(model.entries, shared)
    shape = isotropy(model.classes)
    figures: dict[str, Any] = {
        **served,
        "mrr@100, trained classes": reciprocal_ranks(
            logits[:, known], model.entries[known], asked.answers
        ),
        "share of entries covered": len(model.entries) / len(dictionary.entries),
        "effective rank of classes": shape["effective_rank"],
        "mean cosine of classes": shape["mean_cosine"],
    }
    if asked.words is not None:
        pretrained = untouched(run)
        before, rank = _served(run, pretrained.encode, asked), isotropy(pretrained.classes)
        change = {name: float(np.mean(served[name]) - np.mean(before[name])) for name in before}
        figures["change of simlex-999"] = change["simlex-999"]
        figures["change of wordsim-353 or mrr@100, the better"] = max(
            change["wordsim-353"], change["mrr@100"]
        )
        figures["change of effective rank"] = shape["effective_rank"] - rank["effective_rank"]
    return figures


def _served(run: DictionaryRun, encode: Encode, asked: Asked) -> dict[str, Any]:
    """Reverse dictionary, word similarity, and the lexicographer file, by vectors alone."""
    dictionary = run.train
    shared = np.flatnonzero(dictionary.token >= 0)
    queries, entries = encode(asked.definitions), entry_vectors(encode, dictionary)
    cosines = queries @ (entries / np.linalg.norm(entries, axis=1, keepdims=True)).T
    everything = np.arange(len(entries))
    figures: dict[str, Any] = {
        "mrr@100": reciprocal_ranks(cosines[:, shared], shared, asked.answers),
        "mrr@100, all entries": reciprocal_ranks(cosines, everything, asked.answers),
    }
    if asked.words is None:
        return figures
    senses = asked.words.senses
    number = {word: row for row, word in enumerate(senses)}
    groups = np.array([number[word] for word, own in senses.items() for _ in own])
    vectors = mean_vectors(encode, [text for own in senses.values() for text in own], groups)
    for name, pairs in asked.words.pairs.items():
        a, b = (vectors[[number[word] for word in side]] for side in (pairs.first, pairs.second))
        figures[name] = pair_scores(a, b, pairs.gold)["spearman"]
    return {**figures, "lexicographer file": _files_told(run, encode, queries, asked.files)}


def reciprocal_ranks(
    scores: Float[np.ndarray, "queries k"],
    entries: Int[np.ndarray, " k"],
    answers: Sequence[tuple[int, ...]],
) -> Float[np.ndarray, " asked"]:
    """MRR@100 of the definitions that at least one of the entries answers.

    Args:
        scores: Of every definition with every entry.
        entries: The numbers of these entries.
        answers: The numbers of those that answer each definition.
    """
    column = dict(zip(entries.tolist(), range(len(entries)), strict=True))
    relevance = [{column[one]: 1 for one in own if one in column} for own in answers]
    rows = [row for row, own in enumerate(relevance) if own]
    order = np.argsort(-scores[rows], axis=1, kind="stable")[:, :100]
    return score_rankings(order, [relevance[row] for row in rows], ("mrr@100",))["mrr@100"]


def _files_told(
    run: DictionaryRun, encode: Encode, queries: Float[np.ndarray, "n d"], files: Sequence[str]
) -> Float[np.ndarray, " n"]:
    """Whether frozen vectors tell the lexicographer file, learned from ten definitions of each."""
    from sklearn.linear_model import LogisticRegression

    unique = dict(zip(run.train.definitions, run.train.files, strict=True))
    by_file: dict[str, list[str]] = {}
    for text, file in unique.items():
        by_file.setdefault(file, []).append(text)
    generator = run.generator("examples")
    examples = [
        (own[row], file)
        for file, own in sorted(by_file.items())
        for row in generator.permutation(len(own))[:_EXAMPLES]
    ]
    # Unit vectors want little regularisation: 384 coordinates share a length of 1.
    told = LogisticRegression(C=10.0, max_iter=1000).fit(
        encode([text for text, _ in examples]), [file for _, file in examples]
    )
    return (told.predict(queries) == np.array(files)).astype(np.float64)


FULL = DictionaryScale(
    model="google-bert/bert-base-uncased",
    steps={"whole": 2_000, "first": 1_000, "second": 1_000},
    rates=(1e-6, 5e-6, 2e-5),
    gpu_gib=24,
    hub=("google-bert/bert-base-uncased",),
    entries=16_000,
    validated=2_000,
    tested=6_000,
    tokens=128,
    # BERT's vectors differ by little: its cosines lie closer together than MiniLM's.
    temperature=0.01,
    iterations=1_000,
)
SMALL = DictionaryScale(
    model="packaged:minilm",
    steps={"whole": 400, "first": 200, "second": 200},
    rates=(1e-5, 5e-5),
    entries=8_000,
    validated=1_000,
    tested=3_000,
)
MINIATURE = DictionaryScale(
    model="packaged:minilm",
    steps={"whole": 2, "first": 1, "second": 1},
    seeds=1,
    # More than MiniLM's dimensions, which ICA needs.
    entries=400,
    validated=40,
    tested=40,
    pairs=6,
    batch=8,
    iterations=3,
)
