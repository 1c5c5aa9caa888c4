"""What makes the difference on queries that people asked: one change at a time, on three corpora.

    python benchmarks/ablations.py [--corpus NAME ...] [--variant NAME ...] [--steps 60] [--write]

Every variant trains the base for the same steps of 32 pairs that were made from the documents
alone, and is judged on the human queries (nDCG@10, documents cut at 256 tokens). The fusions are
those of the base's own vectors with words, untrained. What is finished stands in
`benchmarks/results/ablations.json` and is not done again (remove its entry to repeat it); `--write`
makes `docs/ablations.md` of it. The human queries judge here which way is better, so that they are
no untouched test of the way that was chosen.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from real_queries import CORPORA

from isometry.core.files import read_json
from isometry.core.progress import progress_shown, say
from isometry.core.writing import write_json, write_text
from isometry.corpora.curation.dedup import words
from isometry.corpora.pairs.structure import build_pairs
from isometry.corpora.pairs.tasks import BodyFirst, HeadingSection, InverseCloze
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import score_rankings
from isometry.evaluation.significance import paired_bootstrap
from isometry.jobs import ranking
from isometry.jobs.batching import passage
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.merging.average import average
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka
from isometry.search.fusion import reciprocal_rank_fusion
from isometry.search.lancedb import Lexical
from isometry.training.budget import nested_dims, suitable_temperature
from isometry.training.negatives import unlabelled_answers
from isometry.training.topic_batches import topic_batches
from isometry.training.trainer import Batches, Trainer
from isometry.training.unique_batches import unique_batches

CACHE = Path(".cache/ablations")
RESULTS = Path("benchmarks/results/ablations.json")
PAGE = Path("docs/ablations.md")
PASSAGE, QUERY, RANKED, BATCH = 128, 48, 256, 32


@dataclass(frozen=True)
class Variant:
    """One change of the way that `fit` trains.

    Attributes:
        about: What is changed, for people.
        alike: Whether the documents of a batch are alike.
        masked: Whether likely answers are left out of the contrast.
        titled: Whether the passages show their headings.
        tasks: What makes the pairs.
        frozen: The share of the layers that stay as they are.
        temperature: A fixed one; else what suits the base.
        rate: The learning rate.
        tokens: Where training cuts documents.
        nested: Whether prefixes of the vectors are trained too, as `fit` does.
        both_ways: Whether documents are contrasted over queries too.
        shortest: The fewest words of a query.
        alpha: Where on the line from the base to the trained weights.
    """

    about: str
    alike: bool = True
    masked: bool = True
    titled: bool = False
    tasks: tuple[str, ...] = ("heading",)
    frozen: float = 0.0
    temperature: float | None = None
    rate: float = 5e-5
    tokens: int = PASSAGE
    nested: bool = True
    both_ways: bool = False
    shortest: int = 1
    alpha: float = 1.0


VARIANTS = {
    "trained": Variant(
        "headings ask; batches of documents that are alike; likely answers left out; queries choose"
        " documents"
    ),
    "random": Variant("batches of random documents", alike=False, masked=False),
    "unmasked": Variant("likely answers stay in the contrast", masked=False),
    "titled": Variant("passages show their headings", titled=True),
    "cloze": Variant("half of the pairs are sentences (inverse cloze)", tasks=("heading", "cloze")),
    "frozen": Variant("the lower half of the layers stays as it is", frozen=0.5),
    "fixed": Variant("temperature 0.05 for every base", temperature=0.05),
    "flat": Variant("only whole vectors are trained, no prefixes", nested=False),
    "both ways": Variant("documents choose queries too", both_ways=True),
    "two words": Variant("headings of one word ask for nothing", shortest=2),
    "half": Variant(
        "half of the way from the base to the trained weights, as `fit` does", alpha=0.5
    ),
    "half, cloze": Variant(
        "half of the way, and half of the pairs are sentences",
        tasks=("heading", "cloze"),
        alpha=0.5,
    ),
    "long": Variant("documents cut at 256 tokens instead of 128", tokens=256),
    "half, long": Variant("half of the way, documents cut at 256 tokens", tokens=256, alpha=0.5),
    "faster": Variant("three times the learning rate", rate=1.5e-4),
}
TASKS = {"heading": HeadingSection(), "cloze": InverseCloze(), "body": BodyFirst()}


class Bench:
    """One corpus with its base, encoded once."""

    def __init__(self, name: str) -> None:
        make, base = CORPORA[name]
        self.name, self.corpus = name, make()
        self.documents = self.corpus.documents
        self.encoder = TextEncoder.load(base)
        self.base = CachedEncoder(self.encoder, CACHE / name / "vectors", "bfloat16")
        self.number = {document.id: row for row, document in enumerate(self.documents)}
        self.queries = list(self.corpus.queries.values())
        self.relevance = [
            {self.number[document]: grade for document, grade in self.corpus.relevance[q].items()}
            for q in self.corpus.queries
        ]
        self.passages = [passage(d.header(), d.body()) for d in self.documents]

    def vectors(self, encoder: TextEncoder) -> tuple[np.ndarray, np.ndarray]:
        """Of the queries and of the documents' beginnings."""
        options: dict[str, Any] = {"precision": "bfloat16", "tokens": RANKED}
        return (
            encoder.encode(self.queries, "query", **options),
            encoder.encode(self.passages, "document", **options),
        )

    def rank(self, queries: np.ndarray, documents: np.ndarray) -> ranking.Rankings:
        order = np.empty((len(queries), ranking.DEPTH), dtype=np.int64)
        scores = np.empty(order.shape, dtype=np.float32)
        for row, query in enumerate(queries):
            own = documents @ query
            best = np.argpartition(-own, ranking.DEPTH)[: ranking.DEPTH]
            order[row] = best[np.argsort(-own[best], kind="stable")]
            scores[row] = own[order[row]]
        return ranking.Rankings(order, scores)

    def ndcg(self, found: ranking.Rankings) -> np.ndarray:
        return score_rankings(found.order, self.relevance, ("ndcg@10",))["ndcg@10"]

    def untrained(self, queries: np.ndarray, documents: np.ndarray) -> dict[str, np.ndarray]:
        """Words, the base's own vectors, and two ways of fusing them at several weights."""
        dense = self.rank(queries, documents)
        with tempfile.TemporaryDirectory() as folder:
            names = [document.id for document in self.documents]
            views = [(d.header(), d.body()) for d in self.documents]
            chunks = ranking.passages_of(self.encoder, names, views)
            how = Lexical.for_language(self.corpus.language)
            index = ranking.build_index(Path(folder) / "words", chunks, None, how)
            by_words = ranking.lexical_rankings(index, names, self.queries)
        found = {"words": self.ndcg(by_words), "base": self.ndcg(dense)}
        for weight in (0.3, 0.5, 0.7, 0.9):
            fused = ranking.fused_rankings(names, dense, by_words, weight)
            found[f"standard scores, {weight}"] = self.ndcg(fused)
            found[f"reciprocal ranks, {weight}"] = self.ndcg(by_ranks(dense, by_words, weight))
        return found

    def train(self, variant: Variant, steps: int) -> np.ndarray:
        """nDCG@10 of every query after so many steps."""
        pairs, _ = build_pairs(self.documents, [TASKS[task] for task in variant.tasks], seed=0)
        pairs = [pair for pair in pairs if len(words(pair.query)) >= variant.shortest]
        own = np.array([self.number[pair.document] for pair in pairs])
        keys = [(int(row), pair.query) for row, pair in zip(own, pairs, strict=True)]
        bodies = [document.body()[: 8 * PASSAGE] for document in self.documents]
        about = self.base.encode(bodies)
        order = (
            list(topic_batches(about[own], keys, BATCH, steps, seed=0))
            if variant.alike
            else list(unique_batches(keys, BATCH, steps, seed=0))
        )
        seen = sorted({row for batch in order for row in batch})
        place = {row: position for position, row in enumerate(seen)}
        order = [[place[row] for row in batch] for batch in order]
        asked = self.base.encode([pairs[row].query for row in seen], "query")
        likely: Sequence[set[int]] = [set() for _ in seen]
        if variant.masked:
            likely = unlabelled_answers(order, asked, about[own[seen]])
        headers = [document.header() * variant.titled for document in self.documents]
        rows = [
            PairRow(
                pairs[row].query,
                passage(headers[own[row]], pairs[row].body),
                int(own[row]),
                answers=frozenset(int(own[seen[other]]) for other in likely[position]),
            )
            for position, row in enumerate(seen)
        ]
        encoder = copy.deepcopy(self.encoder)
        freeze_below(encoder, int(variant.frozen * len(encoder.layers())))
        temperature = variant.temperature or suitable_temperature(asked[:64], about[own[seen[:64]]])
        dims = nested_dims(encoder.dim) if variant.nested else (encoder.dim,)
        learner = TwoTowers(
            encoder,
            Matryoshka(InfoNCE(temperature, a_to_b=0.5 if variant.both_ways else 1.0), MRL(dims)),
            query_tokens=QUERY,
            document_tokens=variant.tokens,
        )
        with tempfile.TemporaryDirectory() as folder:
            Trainer(
                learner, Batches(rows, order), Path(folder), learning_rate=variant.rate,
                bfloat16=True, checkpoint_every=steps + 1,
            ).run()  # fmt: skip
        if variant.alpha < 1:
            states = [self.encoder.state_dict(), encoder.state_dict()]
            encoder.load_state_dict(dict(average(states, [1 - variant.alpha, variant.alpha])))
        return self.ndcg(self.rank(*self.vectors(encoder)))


def by_ranks(dense: ranking.Rankings, words: ranking.Rankings, weight: float) -> ranking.Rankings:
    order = np.full_like(dense.order, -1)
    for row in range(len(order)):
        sides = [[str(document) for document, _ in side.found(row)] for side in (dense, words)]
        fused = reciprocal_rank_fusion(sides, [weight, 1 - weight])[: order.shape[1]]
        order[row, : len(fused)] = [int(document) for document, _ in fused]
    return ranking.Rankings(order, np.zeros(order.shape))


def summary(base: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Points of nDCG@10, and the difference to the base with its interval."""
    change = paired_bootstrap(base, scores)
    points = {
        "ndcg@10": scores.mean(),
        "difference": change.difference,
        "low": change.low,
        "high": change.high,
    }
    return {name: round(100 * float(value), 2) for name, value in points.items()}


def page(results: dict[str, Any]) -> str:
    """The tables of all that was computed."""
    names = [name for name in CORPORA if name in results]
    head = ["| | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]

    def table(section: str, rows: dict[str, str]) -> list[str]:
        lines = list(head)
        for key, about in rows.items():
            found = [results[name][section].get(key) for name in names]
            if any(found):
                lines.append(f"| {about} | " + " | ".join(map(_cell, found)) + " |")
        return lines

    untrained = results[names[0]]["untrained"]
    return "\n".join(
        [
            "# Ablations",
            "",
            "Written by `python benchmarks/ablations.py --write`; do not edit it. nDCG@10 in points"
            " on queries that people asked, with the difference to the base and its 95 % interval."
            " Every training is of 60 steps with seed 0, on headings alone, while `fit` adds"
            " sentences; a document is one vector of its first 256 tokens, so that levels differ"
            " from [what fit itself reaches](real-queries.md).",
            "",
            "## Training, one change at a time",
            "",
            *table("untrained", {"base": "base"}),
            *table(
                "trained", {key: f"{key}: {variant.about}" for key, variant in VARIANTS.items()}
            )[len(head) :],
            "",
            "## Fusing words and vectors of the base",
            "",
            *table("untrained", {key: key for key in untrained}),
            "",
        ]
    )


def _cell(row: dict[str, float] | None) -> str:
    if row is None:
        return "–"
    if row["low"] == row["high"] == 0:
        return f"{row['ndcg@10']:.1f}"
    interval = f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
    return f"{row['ndcg@10']:.1f} ({interval})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--corpus", action="append", choices=list(CORPORA))
    parser.add_argument("--variant", action="append", choices=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    results: dict[str, Any] = read_json(RESULTS) if RESULTS.exists() else {}
    if given.write:
        write_text(PAGE, page(results))
        return
    with progress_shown(True):
        for name in given.corpus or CORPORA:
            bench = Bench(name)
            queries, documents = bench.vectors(bench.encoder)
            base = bench.ndcg(bench.rank(queries, documents))
            done = results.setdefault(name, {"untrained": {}, "trained": {}})
            if not done["untrained"]:
                done["untrained"] = {
                    key: summary(base, scores)
                    for key, scores in bench.untrained(queries, documents).items()
                }
            for key in given.variant or VARIANTS:
                if done["trained"].get(key, {}).get("steps") != given.steps:
                    say(f"{name}: {key}")
                    scores = bench.train(VARIANTS[key], given.steps)
                    done["trained"][key] = summary(base, scores) | {"steps": given.steps}
                write_json(RESULTS, results)


if __name__ == "__main__":
    main()
