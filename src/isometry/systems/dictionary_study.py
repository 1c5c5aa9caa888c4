"""What dictionaries are to systems: nouns with their senses, some held out, and pairs of words."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import RidgeCV

from isometry.core.files import hash_value
from isometry.corpora.dictionary import definition_files, gather, hold_out
from isometry.corpora.packaged.word_pairs import word_pairs
from isometry.corpora.packaged.wordnet import wordnet
from isometry.encoders.entry_vectors import Encode, entry_vectors
from isometry.encoders.text import TextEncoder
from isometry.evaluation.word_tests import DefinedWords, defined_words
from isometry.geometry.whitening import Whitening
from isometry.systems.run import Run
from isometry.systems.system import Scale, Splits

# Of the map from definitions to word embeddings; which, is chosen by leaving out one at a time.
PENALTIES = (0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True, kw_only=True)
class DictionaryScale(Scale):
    """Settings of training on a dictionary.

    Attributes:
        entries: How many entries, of those with several senses.
        validated: How many held-out definitions choose.
        tested: How many others test.
        senses: How many definitions of an entry at most; all of them when `None`.
        pairs: How many word pairs of each collection; all of them when `None`.
        examples: How many definitions of each lexicographer file teach a probe what it is.
        batch: Definitions a step.
        tokens: Where training cuts definitions.
        temperature: Divides the cosines with the entries.
        iterations: How many FastICA takes at most.
    """

    entries: int
    validated: int
    tested: int
    senses: int | None = None
    pairs: int | None = None
    examples: int = 10
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
    words: DefinedWords | None


DictionaryRun = Run[DictionaryScale, Dictionary, Asked]


def data(scale: DictionaryScale) -> Splits[Dictionary, Asked]:
    """Nouns of WordNet with several senses, one of them held out, and pairs of words.

    A definition that is held out is in the training of no entry, however many synonyms it defines;
    they all answer it. One with an entry's own words in it is not asked.
    """
    concepts = wordnet()
    texts = {key: own[0] for key, own in concepts.by_concept("definition").items()}
    named = [
        (name, key)
        for key, names in concepts.by_concept("name", "synonym").items()
        if key in texts
        for name in names
    ]
    nouns = gather((name, texts[key]) for name, key in named if key.endswith("-n"))
    several = sorted((entry for entry, own in nouns.items() if len(own) > 1), key=hash_value)
    held = hold_out({entry: nouns[entry][: scale.senses] for entry in several[: scale.entries]})
    number = {entry: row for row, entry in enumerate(held.kept)}
    rows = [(number[entry], text) for entry, own in held.kept.items() for text in own]
    file = definition_files(concepts, "n")
    dictionary = Dictionary(
        list(number),
        _tokens(TextEncoder.load(scale.model), list(number)),
        [text for _, text in rows],
        np.array([owner for owner, _ in rows]),
        [file[text] for _, text in rows],
    )

    def asked(some: slice, words: DefinedWords | None = None) -> Asked:
        definitions = list(held.answers)[some]
        answers = [tuple(number[entry] for entry in held.answers[text]) for text in definitions]
        return Asked(definitions, answers, [file[text] for text in definitions], words)

    words = defined_words(
        {name: word_pairs(name) for name in ("simlex-999", "wordsim-353")},
        gather((name, texts[key]) for name, key in named),
        scale.pairs,
    )
    last = scale.validated + scale.tested
    validation, test = asked(slice(scale.validated)), asked(slice(scale.validated, last), words)
    return Splits(dictionary, validation, test)


def _tokens(encoder: TextEncoder, entries: Sequence[str]) -> Int[np.ndarray, " entries"]:
    ids = [encoder.tokenizer.encode(entry, add_special_tokens=False).ids for entry in entries]
    unknown = getattr(encoder.model.tokenizer, "unk_token_id", None)
    return np.array([own[0] if len(own) == 1 and own != [unknown] else -1 for own in ids])


def entries_by(encode: Encode, dictionary: Dictionary) -> Float[np.ndarray, "entries d"]:
    """The vectors of all entries."""
    return entry_vectors(encode, dictionary.definitions, dictionary.owner)


def centred_words(
    run: DictionaryRun,
) -> tuple[Float[np.ndarray, "k d"], Int[np.ndarray, " k"]]:
    """The encoder's word embeddings of the entries that are one token, less their mean.

    Returns:
        The vectors, and the numbers of the entries.
    """
    token = run.train.token
    entries = np.flatnonzero(token >= 0)
    body: Any = run.encoder().model[0].model
    words = body.get_input_embeddings().weight.detach().cpu().numpy()[token[entries]]
    return words - words.mean(axis=0), entries


def least_squares(
    run: DictionaryRun, classes: Float[np.ndarray, "k d"], entries: Int[np.ndarray, " k"]
) -> Whitening:
    """The linear map from the pretrained vectors of definitions to the classes of their entries.

    Args:
        run: The run of an arm.
        classes: The vectors of the entries, of mean zero.
        entries: Their numbers, ascending.
    """
    dictionary = run.train
    rows = np.flatnonzero(np.isin(dictionary.owner, entries))
    vectors = run.pretrained.encode([dictionary.definitions[row] for row in rows])
    mean = vectors.mean(axis=0)
    targets = classes[np.searchsorted(entries, dictionary.owner[rows])]
    fitted = RidgeCV(PENALTIES, fit_intercept=False).fit(vectors - mean, targets)
    return Whitening(mean, np.asarray(fitted.coef_).T)


def made_independent(run: DictionaryRun, classes: Float[np.ndarray, "k d"]) -> Whitening:
    """The map of ICA, computed once for all rates and seeds.

    Raises:
        InputError: When there are fewer classes than dimensions.
    """

    def make(folder: Path) -> None:
        with warnings.catch_warnings():
            # Where it stops decides about a rotation, on which no cosine depends.
            warnings.filterwarnings("ignore", message="FastICA stopped")
            ica = Whitening.ica(classes, iterations=run.scale.iterations)
        np.save(folder / "mean.npy", ica.mean)
        np.save(folder / "matrix.npy", ica.matrix)

    folder = run.once("ica", make)
    return Whitening(np.load(folder / "mean.npy"), np.load(folder / "matrix.npy"))
