"""What an embedder out of a decoder stands on: words by definitions, and topics of definitions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import nn

from isometry.core.progress import say
from isometry.corpora.documents import Document
from isometry.corpora.packaged.wordnet import wordnet_synsets
from isometry.corpora.pairs.definitions import Definition, definitions, split_definitions
from isometry.corpora.pairs.label_triplets import label_triplets
from isometry.corpora.pairs.lexicographer_files import lexicographer_files
from isometry.encoders.loading import quiet_loading
from isometry.encoders.pooled import pooled
from isometry.encoders.surgery.bidirectional import bidirectional
from isometry.encoders.surgery.prompts import Prompt
from isometry.encoders.text import TextEncoder
from isometry.evaluation.neighbor_labels import neighbor_labels
from isometry.evaluation.retrieval import own_ranks
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
from isometry.training.negatives import teacher_negatives
from isometry.training.next_token import Decoder, made_decoder
from isometry.training.unique_batches import unique_batches

STAGES = ("first", "second")
Pooling = Literal["eos", "mean", "self-attention", "latent"]
# Retrieval alone, or blended with topics, whose other rows may or may not be negatives.
Mix = Literal["retrieval", "blended", "blended, topics in batch"]

# No space at the end: a byte-level tokenizer makes one token of it and the text's first word.
FIND = Prompt(query="Instruct: name it\nQuery:\n")
# Both sides of a symmetric task get its instruction.
GROUP = Prompt("Instruct: same topic\nQuery:\n", "Instruct: same topic\nQuery:\n")

_WEIGHTS = "weights.safetensors"


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
    decoder: Decoder | None = field(default_factory=Decoder)
    heads: int = 4
    latents: int = 32
    negatives: int = 7
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
    synsets = wordnet_synsets()
    nouns = (Document(each.key, each.gloss, ", ".join(each.lemmas)) for each in synsets)
    words, topics = definitions(nouns)[0], lexicographer_files(synsets)
    sides = [split_definitions(rows) for rows in (words, topics)]

    def first(side: str, most: int) -> Glosses:
        return Glosses(*(rows[side][:most] for rows in sides))

    return Splits(
        first("train", scale.trained), first("validation", scale.held), first("test", scale.held)
    )


def language_model(run: DecoderRun) -> Any:
    """The decoder of a seed, the same for all arms, as a sentence-transformers module.

    One that is made has been through next-token prediction, whose steps are no part of an arm's
    budget, and whose rate is not chosen.
    """
    from sentence_transformers.base.modules import Transformer

    scale, settings = run.scale, run.scale.decoder
    if settings is None:
        return TextEncoder.load(scale.model).model[0]

    def make(folder: Path) -> None:
        say(f"next-token prediction, seed {run.seed}")
        words = TextEncoder.load(scale.model)
        texts = [row.text for row in (*run.train.words, *run.train.topics)]
        made = made_decoder(words, texts, settings, tokens=scale.tokens, seed=run.seed)
        with quiet_loading():
            made.save(str(folder))

    folder = run.once(f"decoder-{run.seed}", make)
    with quiet_loading():
        # The gradient of PyTorch's fused attention, on a CPU, is slower than that of its parts.
        parts = {"attn_implementation": "eager"}
        return Transformer(str(folder), max_seq_length=scale.tokens, model_kwargs=parts)


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
    rows = run.train.words

    def make(folder: Path) -> None:
        teacher = run.cached(TextEncoder.load(run.scale.teacher))
        asked = teacher.encode([row.text for row in rows], "query")
        entries = teacher.encode([row.entry for row in rows])
        random = run.generator("negatives")
        np.save(folder / "rows.npy", teacher_negatives(asked, entries, run.scale.negatives, random))

    task = Task(FIND, in_batch=in_batch)
    made: list[InstructedRow] = []
    found = np.load(run.once(f"negatives-{run.seed}", make) / "rows.npy")
    for row, others in zip(rows, found.tolist(), strict=True):
        texts, keys = zip(*((rows[other].entry, rows[other].key) for other in others), strict=True)
        made.append(InstructedRow(PairRow(row.text, row.entry, row.key, texts, keys), task))
    return made


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


def arm(about: str, pooling: Pooling, *, causal: bool, mixes: tuple[Mix, ...]) -> DecoderArm:
    """An arm that trains a decoder in as many stages as there are mixes.

    Batches depend on the seed, the stage and the mix alone. Arms with the same pooler, mask and
    first mix train the first stage together, once for each rate and seed.
    """
    stages = STAGES[: len(mixes)]

    def make(run: DecoderRun) -> TextEncoder:
        encoder, scale = embedder(run, pooling, causal), run.scale
        objective = Matryoshka(InfoNCE(scale.temperature, a_to_b=1.0), MRL((encoder.dim,)))
        for number, (stage, mix) in enumerate(zip(stages, mixes, strict=True)):
            rows = rows_of(run, mix)
            keys = [(row.pair.key, row.pair.query) for row in rows]
            seed = len(STAGES) * run.seed + number
            order = list(unique_batches(keys, scale.batch, scale.steps[stage], seed))
            learner = InstructedTowers(
                encoder, objective, query_tokens=scale.tokens, document_tokens=scale.tokens
            )
            if number:
                run.fit(stage, learner, rows, order)
            else:
                alike = (pooling, "causal" if causal else "bidirectional", mix)
                fit_together(run, stage, learner, rows, order, "-".join(alike))
        return encoder

    return Arm(about, make, stages, chosen_on="mrr@10")


def fit_together(
    run: DecoderRun,
    stage: str,
    learner: InstructedTowers,
    rows: Sequence[InstructedRow],
    order: Sequence[Sequence[int]],
    name: str,
) -> None:
    """`Run.fit` for arms that begin alike: one of them trains, and it counts for all.

    Args:
        run: The arm's own; rate and seed are part of what is shared.
        stage: The first one.
        learner: Whose weights end as if it had trained itself.
        rows: What batches are made of.
        order: The numbers of each step's rows.
        name: Tells apart what arms begin with.
    """
    weights = {name: part for name, part in learner.named_parameters() if part.requires_grad}

    def make(folder: Path) -> None:
        run.fit(stage, learner, rows, order)
        save_file({name: part.detach() for name, part in weights.items()}, folder / _WEIGHTS)

    folder = run.once(f"{stage}-{name}-{run.rate:g}-{run.seed}", make)
    with torch.no_grad():
        for own, made in load_file(folder / _WEIGHTS).items():
            weights[own].copy_(made)
    run.steps[stage], run.rows[stage] = len(order), sum(len(batch) for batch in order)


def measure(run: DecoderRun, encoder: TextEncoder, held: Glosses) -> Figures:
    """MRR@10 of the words for their glosses, and whether five neighbours tell the file."""
    asked = _encode(run, encoder, FIND, [row.text for row in held.words])
    entries = _encode(run, encoder, Prompt(), [row.entry for row in held.words])
    topics = _encode(run, encoder, GROUP, [row.text for row in held.topics])
    return {
        "mrr@10": own_ranks(asked, entries),
        "5-nn accuracy": neighbor_labels(topics, [row.entry for row in held.topics]),
    }


def _encode(
    run: DecoderRun, encoder: TextEncoder, prompt: Prompt, texts: Sequence[str]
) -> Float[np.ndarray, "texts dim"]:
    asking = TextEncoder(encoder.model, query_prompt=prompt.query, document_prompt="")
    return asking.encode(texts, "query", precision=run.scale.precision)
