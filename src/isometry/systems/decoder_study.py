"""What an embedder out of a decoder stands on: words by definitions, and topics of definitions."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from isometry.core.progress import say
from isometry.corpora.documents import Document
from isometry.corpora.pairs.definitions import Definition, definitions, split_definitions
from isometry.corpora.pairs.label_triplets import label_triplets
from isometry.corpora.pairs.lexicographer_files import lexicographer_files
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.wordnet import open_wordnet
from isometry.encoders.pooled import as_transformer, pooled
from isometry.encoders.small_decoder import small_decoder
from isometry.encoders.surgery.bidirectional import bidirectional
from isometry.encoders.surgery.prompts import Prompt
from isometry.encoders.text import TextEncoder
from isometry.evaluation.neighbor_labels import neighbor_labels
from isometry.evaluation.retrieval import rank_documents, score_rankings
from isometry.geometry.neighbors import top_k
from isometry.learners.instructed_towers import InstructedRow, InstructedTowers, Task
from isometry.learners.two_towers import PairRow
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka
from isometry.pooling.last_token import Last
from isometry.pooling.latent_attention import LatentAttention
from isometry.pooling.mean import Mean
from isometry.pooling.self_attention import SelfAttention
from isometry.systems.run import Run
from isometry.systems.system import Arm, Figures, Scale, Splits
from isometry.training.negatives import mine
from isometry.training.next_token import predict_next
from isometry.training.unique_batches import unique_batches

STAGES = ("first", "second")
Pooling = Literal["eos", "mean", "self-attention", "latent"]
# Retrieval alone, or blended with topics, whose other rows may or may not be negatives.
Mix = Literal["retrieval", "blended", "blended, topics in batch"]

FIND = Prompt(query="Instruct: name it\nQuery: ")
# Both sides of a symmetric task get its instruction.
GROUP = Prompt("Instruct: same topic\nQuery: ", "Instruct: same topic\nQuery: ")
# So many of the nearest entries may become negatives; what the teacher finds too good does not.
_CANDIDATES = 200


@dataclass(frozen=True)
class Decoder:
    """The decoder that is made, since none comes in a package.

    Attributes:
        dim: Its width.
        layers: How many it has.
        heads: Of each layer.
        steps: Of next-token prediction.
        batch: Glosses a step of it.
        rate: Its peak learning rate.
    """

    dim: int = 128
    layers: int = 4
    heads: int = 4
    steps: int = 150
    batch: int = 64
    rate: float = 2e-3


@dataclass(frozen=True, kw_only=True)
class DecoderScale(Scale):
    """Settings of embedders out of a decoder.

    Attributes:
        trained: How many definitions are trained on, for either task.
        held: How many are validated on, and how many tested on, for either task.
        teacher: Finds the negatives.
        decoder: How the decoder is made out of the model's words; None where the model is one.
        heads: Of the poolers.
        latents: Of latent attention.
        negatives: Negatives of a row.
        batch: Rows a step.
        tokens: Where texts are cut, prompt included.
        temperature: Divides the cosines.
    """

    trained: int
    held: int
    teacher: str = "packaged:minilm"
    decoder: Decoder | None = Decoder()
    heads: int = 4
    latents: int = 32
    negatives: int = 2
    batch: int = 32
    tokens: int = 32
    temperature: float = 0.05


@dataclass(frozen=True)
class Glosses:
    """Definitions of one side of the split.

    Attributes:
        words: Nouns whose lemmas are to be found.
        topics: Definitions of all parts of speech; the entry is the number of the lexicographer
            file.
    """

    words: list[Definition]
    topics: list[Definition]


DecoderRun = Run[DecoderScale, Glosses, Glosses]
DecoderArm = Arm[DecoderScale, Glosses, Glosses, TextEncoder]


def data(scale: DecoderScale) -> Splits[Glosses, Glosses]:
    """Definitions with their words, and with their 45 lexicographer files, split by synset."""
    synsets = list(open_wordnet("", name="wordnet:", limit=None).synsets(ReadingReport()))
    nouns = (Document(each.key, each.gloss, ", ".join(each.lemmas)) for each in synsets)
    words, topics = definitions(nouns)[0], lexicographer_files(synsets)
    sides = [split_definitions(rows) for rows in (words, topics)]

    def first(side: str, most: int) -> Glosses:
        return Glosses(*(rows[side][:most] for rows in sides))

    return Splits(
        first("train", scale.trained), first("validation", scale.held), first("test", scale.held)
    )


def language_model(run: DecoderRun) -> Any:
    """The decoder of a seed, the same for all arms, as a sentence-transformers module; a copy.

    One that is made has been through next-token prediction, whose steps are no part of an arm's
    budget, and whose rate is not chosen.
    """
    scale = run.scale
    if scale.decoder is None:
        return TextEncoder.load(scale.model).model[0]
    texts = tuple(row.text for row in (*run.train.words, *run.train.topics))
    return copy.deepcopy(_made(scale.model, scale.decoder, texts, scale.tokens, run.seed))


@lru_cache(maxsize=4)
def _made(model: str, settings: Decoder, texts: tuple[str, ...], tokens: int, seed: int) -> Any:
    say(f"next-token prediction, seed {seed}")
    words = TextEncoder.load(model)
    decoder = small_decoder(
        words, dim=settings.dim, layers=settings.layers, heads=settings.heads, seed=seed
    )
    base: Any = decoder.base_model
    # After a kill it is done again, in less time than an arm takes.
    predict_next(
        decoder, words.model.tokenizer, texts, batch=settings.batch, steps=settings.steps,
        rate=settings.rate, tokens=tokens, seed=seed,
    )  # fmt: skip
    return as_transformer(base, words.model.tokenizer, tokens)


def embedder(run: DecoderRun, pooling: Pooling, causal: bool) -> TextEncoder:
    """The decoder under a pooler; word vectors stay, as everywhere."""
    transformer, heads = language_model(run), run.scale.heads
    if not causal:
        bidirectional(transformer.model, run.scale.tokens, window="keep")
    transformer.model.get_input_embeddings().requires_grad_(False)
    d = int(transformer.get_embedding_dimension())
    # Poolers start alike whatever was computed before.
    torch.manual_seed(run.seed)
    poolers: dict[Pooling, Callable[[], nn.Module]] = {
        "eos": Last,
        "mean": Mean,
        # As many weights as latent attention has without its latents.
        "self-attention": lambda: SelfAttention(d, heads, 6 * d),
        "latent": lambda: LatentAttention(d, run.scale.latents, heads, "states"),
    }
    return pooled(transformer, poolers[pooling]())


def word_rows(run: DecoderRun, in_batch: bool) -> list[InstructedRow]:
    """Glosses with their lemmas, and those of others that the teacher nearly takes for theirs."""
    rows, k = run.train.words, run.scale.negatives
    found = _mined(run.scale.teacher, tuple(rows), k)
    generator = run.generator("negatives")
    task = Task(FIND, in_batch=in_batch)
    made: list[InstructedRow] = []
    for number, row in enumerate(rows):
        # Where the teacher finds nearly everything better than the answer, chance fills up.
        others = [int(other) for other in found[number] if other >= 0]
        while len(others) < k:
            drawn = int(generator.integers(len(rows)))
            others += [drawn] if drawn != number else []
        texts, keys = zip(*((rows[other].entry, rows[other].key) for other in others), strict=True)
        made.append(InstructedRow(PairRow(row.text, row.entry, row.key, texts, keys), task))
    return made


@lru_cache(maxsize=2)
def _mined(teacher: str, rows: tuple[Definition, ...], k: int) -> Int[np.ndarray, "rows k"]:
    encoder = TextEncoder.load(teacher)
    asked = encoder.encode([row.text for row in rows], "query", precision="bfloat16")
    entries = encoder.encode([row.entry for row in rows], precision="bfloat16")
    scores, near = top_k(asked, entries, min(_CANDIDATES, len(rows)))
    near = np.where(near == np.arange(len(rows))[:, None], -1, near)
    return mine(near, scores, (asked * entries).sum(axis=1), k=k).rows


def topic_rows(run: DecoderRun, in_batch: bool) -> list[InstructedRow]:
    """Definitions with another of their lexicographer file, and some of other files.

    Keys are those of texts: that another row of a batch has the same file is not told.
    """
    with warnings.catch_warnings():
        # What comes of it is what an arm is for.
        warnings.filterwarnings("ignore", message="Rows of the same class")
        task = Task(GROUP, in_batch=in_batch, class_labelled=True)
    rows = run.train.topics
    triplets = label_triplets(
        [row.text for row in rows],
        [row.entry for row in rows],
        "example",
        negatives=run.scale.negatives,
        seed=run.seed,
    )
    return [
        InstructedRow(
            PairRow(each.anchor, each.positive, each.positive, each.negatives, each.negatives), task
        )
        for each in triplets
    ]


def rows_of(run: DecoderRun, mix: Mix) -> list[InstructedRow]:
    """What a stage trains on; where tasks are blended, only own negatives count, as a rule."""
    if mix == "retrieval":
        return word_rows(run, in_batch=True)
    topics = topic_rows(run, in_batch=mix == "blended, topics in batch")
    return word_rows(run, in_batch=False) + topics


def arm(about: str, pooling: Pooling, *, causal: bool, mixes: tuple[Mix, Mix]) -> DecoderArm:
    """An arm that trains a decoder in two stages; batches depend on the seed and the mix alone."""

    def make(run: DecoderRun) -> TextEncoder:
        encoder, scale = embedder(run, pooling, causal), run.scale
        objective = Matryoshka(InfoNCE(scale.temperature, a_to_b=1.0), MRL((encoder.dim,)))
        for number, (stage, mix) in enumerate(zip(STAGES, mixes, strict=True)):
            rows = rows_of(run, mix)
            keys = [(row.pair.key, row.pair.query) for row in rows]
            seed = len(STAGES) * run.seed + number
            order = list(unique_batches(keys, scale.batch, scale.steps[stage], seed))
            learner = InstructedTowers(
                encoder, objective, query_tokens=scale.tokens, document_tokens=scale.tokens
            )
            run.fit(stage, learner, rows, order)
        return encoder

    return Arm(about, make, STAGES, chosen_on="mrr@10")


def measure(run: DecoderRun, encoder: TextEncoder, held: Glosses) -> Figures:
    """MRR@10 of the words for their glosses, and whether five neighbours tell the file."""
    asked = _encode(run, encoder, FIND, [row.text for row in held.words])
    entries = _encode(run, encoder, Prompt(), [row.entry for row in held.words])
    order, _ = rank_documents(asked, entries, np.arange(len(entries)), 10)
    relevance = [{row: 1} for row in range(len(asked))]
    topics = _encode(run, encoder, GROUP, [row.text for row in held.topics])
    return {
        "mrr@10": score_rankings(order, relevance, ("mrr@10",))["mrr@10"],
        "5-nn accuracy": neighbor_labels(topics, [row.entry for row in held.topics]),
    }


def _encode(
    run: DecoderRun, encoder: TextEncoder, prompt: Prompt, texts: Sequence[str]
) -> Float[np.ndarray, "texts dim"]:
    asking = TextEncoder(encoder.model, query_prompt=prompt.query, document_prompt="")
    return asking.encode(texts, "query", precision=run.scale.precision)
