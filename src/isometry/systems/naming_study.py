"""What arms that name entries by their definitions share: training, heads, and what they serve."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from isometry.core.files import hash_value, read_json
from isometry.core.progress import say
from isometry.core.writing import write_json
from isometry.encoders.entry_vectors import Encode
from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import TextEncoder
from isometry.evaluation.isotropy import isotropy
from isometry.evaluation.probe import draw_examples, probe
from isometry.evaluation.retrieval import reciprocal_ranks
from isometry.evaluation.word_tests import word_similarity
from isometry.geometry.whitening import Whitening
from isometry.heads.affine import affine_layer
from isometry.heads.cosine_classifier import CosineClassifier
from isometry.learners.classification import Classification, LabelledText
from isometry.systems.dictionary_study import Asked, DictionaryRun, entries_by
from isometry.systems.system import Figures
from isometry.training.unique_batches import unique_batches

# A training in one go, or the two of progressive separate training, with as many steps together.
WHOLE, HALVES = ("whole",), ("first", "second")
_DEPTH = 100


class Defined(NamedTuple):
    """A model that has learned, or not, to name what a definition defines.

    Attributes:
        encode: Texts -> unit vectors.
        head: Vectors -> logits over the entries that were trained, by a layer and their classes.
        classes: The frozen vectors of these entries.
        entries: Their numbers.
    """

    encode: Encode
    head: nn.Sequential
    classes: Float[np.ndarray, "k d"]
    entries: Int[np.ndarray, " k"]


def head_over(
    run: DictionaryRun, classes: Float[np.ndarray, "k d"], start: Whitening | None = None
) -> nn.Sequential:
    """What stands between vectors and logits while an encoder is trained, and not after.

    Args:
        run: The run of an arm.
        classes: The vectors of entries, which stay as they are.
        start: The map that the layer before them starts as, where the entries went through it; else
            that starts as the identity.
    """
    d = classes.shape[1]
    layer = affine_layer(start.matrix, start.mean) if start else affine_layer(np.eye(d))
    entries = torch.from_numpy(classes).float()
    return nn.Sequential(layer, CosineClassifier(entries, temperature=run.scale.temperature))


def untouched(run: DictionaryRun) -> Defined:
    """The pretrained encoder, and its own vectors of all entries."""
    encode = run.pretrained.encode
    classes = entries_by(encode, run.train)
    return Defined(encode, head_over(run, classes), classes, np.arange(len(classes)))


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
        stage: Which stage of the budget; the second has batches of its own.
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
    # With the batches of the first stage again, two stages would see half of what one sees.
    seed = len(HALVES) * run.seed + (stage == HALVES[1])
    order = list(unique_batches(keys, scale.batch, scale.steps[stage], seed))
    head = head_over(run, classes, start)
    run.fit(stage, Classification(encoder, head, tokens=scale.tokens), rows, order)
    encode: Any = partial(encoder.encode, precision=scale.precision)
    return Defined(encode, head, classes, entries)


def measure(run: DictionaryRun, model: Defined, asked: Asked) -> Figures:
    """What the vectors serve, and what they were trained towards.

    The head and the classes are gone where vectors serve: there an entry is the mean of its
    definitions' vectors, by the same encoder for every arm.
    """
    dictionary = run.train
    queries = model.encode(asked.definitions)
    served = _served(run, model.encode, queries, asked)
    layer: Any = model.head[0]
    with torch.no_grad():
        mapped = layer(torch.from_numpy(queries).to(layer.weight.device)).cpu().numpy()
    known = np.flatnonzero(dictionary.token[model.entries] >= 0)
    shape = isotropy(model.classes)
    figures: dict[str, Any] = {
        **served,
        "mrr@100, trained classes": reciprocal_ranks(
            mapped, _unit(model.classes[known]), model.entries[known], asked.answers, _DEPTH
        ),
        "share of entries covered": len(model.entries) / len(dictionary.entries),
        "effective rank of classes": shape["effective_rank"],
        "mean cosine of classes": shape["mean_cosine"],
    }
    if asked.words is not None:
        before = _before(run, asked)
        change = {name: float(np.mean(served[name])) - before[name] for name in served}
        figures["change of simlex-999"] = change["simlex-999"]
        figures["change of wordsim-353 or mrr@100, the better"] = max(
            change["wordsim-353"], change["mrr@100"]
        )
        figures["change of effective rank"] = shape["effective_rank"] - before["effective rank"]
        figures["lexicographer file"] = _files_told(run, model.encode, queries, asked.files)
    return figures


def _served(
    run: DictionaryRun, encode: Encode, queries: Float[np.ndarray, "n d"], asked: Asked
) -> dict[str, Any]:
    """Reverse dictionary and word similarity, by vectors alone."""
    entries = _unit(entries_by(encode, run.train))
    shared, everything = np.flatnonzero(run.train.token >= 0), np.arange(len(entries))
    figures: dict[str, Any] = {
        name: reciprocal_ranks(queries, entries[among], among, asked.answers, _DEPTH)
        for name, among in (("mrr@100", shared), ("mrr@100, all entries", everything))
    }
    return figures | (word_similarity(encode, asked.words) if asked.words else {})


def _before(run: DictionaryRun, asked: Asked) -> dict[str, float]:
    """What the pretrained encoder reaches, computed once for all arms and seeds."""

    def make(folder: Path) -> None:
        model = untouched(run)
        served = _served(run, model.encode, model.encode(asked.definitions), asked)
        figures = {name: float(np.mean(values)) for name, values in served.items()}
        figures["effective rank"] = isotropy(model.classes)["effective_rank"]
        write_json(folder / "figures.json", figures)

    name = f"untouched-{hash_value(asked.definitions)[:12]}"
    return read_json(run.once(name, make) / "figures.json")


def _files_told(
    run: DictionaryRun, encode: Encode, queries: Float[np.ndarray, "n d"], files: Sequence[str]
) -> Float[np.ndarray, " n"]:
    """Whether frozen vectors tell the lexicographer file, learned from a few of each."""
    file = dict(zip(run.train.definitions, run.train.files, strict=True))
    texts = list(file)
    drawn = draw_examples(list(file.values()), run.scale.examples, run.generator("examples"))
    examples = [texts[row] for row in drawn]
    told = probe(encode(examples), [file[text] for text in examples], queries, files)
    return told.astype(np.float64)


def _unit(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
