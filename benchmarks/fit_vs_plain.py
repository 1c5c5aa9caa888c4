"""Our fit against the plain recipe on the demo's corpus: tokens a CPU second, and what comes out.

    python benchmarks/fit_vs_plain.py [SPACE] [--steps 12] [--quality] [--json]

SPACE is the demo's (`make demo`). Training speed: the same pairs, the same number of steps of 32
pairs, in turns within one process, the best of two turns; tokens without padding a CPU second.
`--quality` trains the plain recipe for as long as the whole fit took until its final index (with
its defaults; and with bfloat16 at the best of three learning rates by our validation queries), and
ranks our test queries, by vectors. These were made from documents that neither recipe trained on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from plain_recipe import RATES, passage, train_plain

import isometry
from isometry.core.progress import progress_shown, say
from isometry.core.workspace import Workspace
from isometry.corpora.readers import open_source
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import score_rankings
from isometry.evaluation.significance import paired_bootstrap
from isometry.jobs import ranking
from isometry.jobs.batching import make_batches, read_rows
from isometry.jobs.preparation import Prepared, prepare
from isometry.training.plan import Plan, make_learner
from isometry.training.trainer import Batches, Trainer


class Demo:
    """A finished Space with its documents, pairs and queries, made again."""

    def __init__(self, space: Path, folder: Path) -> None:
        self.space, self.folder = isometry.Space.open(space), folder
        settings = self.space.manifest["settings"]
        self.base = settings["base"]
        self.plan = Plan.from_json(self.space.manifest["plan"])
        with Workspace(folder / "prepared", "benchmark") as work:
            source = open_source(settings["source"], limit=settings["limit"])
            self.data: Prepared = prepare(work, source, seed=settings["seed"])
        self.pairs = [(pair.query, passage(pair.header, pair.body)) for pair in self.data.pairs]
        self.names = [document.id for document in self.data.documents]

    def speed(self, steps: int) -> list[dict[str, Any]]:
        """Tokens a CPU second of the three, in turns."""
        base = TextEncoder.load(self.base)
        ranked = ranking.collection(
            self.names, ranking.passages_of(base, self.names, self.data.views)
        )
        teacher = CachedEncoder(base, self.folder / "vectors", self.plan.precision)
        made = make_batches(
            self.data.pairs, ranked, self.data.clusters, teacher,
            size=self.plan.batch, steps=steps, seed=0,
        )  # fmt: skip
        best: dict[str, float] = {}
        for turn in range(2):
            for name in ("plain", "plain, bfloat16", "ours"):
                if name == "ours":
                    speed = self._ours(made, turn)
                else:
                    run = self.folder / f"speed-{turn}"
                    bfloat16 = name != "plain"
                    done = train_plain(self.base, self.pairs, run, steps=steps, bfloat16=bfloat16)
                    speed = done["tokens_a_cpu_second"]
                best[name] = max(best.get(name, 0.0), speed)
        return [
            {
                "recipe": name,
                "tokens_a_cpu_second": round(speed),
                "ours_over_it": round(best["ours"] / speed, 2),
            }
            for name, speed in best.items()
        ]

    def _ours(self, made: dict[str, Any], turn: int) -> float:
        encoder = TextEncoder.load(self.base)
        rows = read_rows(made)
        trainer = Trainer(
            make_learner(encoder, self.plan),
            Batches(rows, made["order"]),
            self.folder / f"ours-{turn}",
            learning_rate=self.plan.learning_rate,
            bfloat16=self.plan.precision == "bfloat16",
            checkpoint_every=len(made["order"]) + 1,
        )
        seen = [rows[row] for batch in made["order"] for row in batch]
        asked = encoder.lengths([row.query for row in seen], "query")
        answering = encoder.lengths([row.document for row in seen], "document")
        tokens = sum(min(length, self.plan.query_tokens) for length in asked)
        tokens += sum(min(length, self.plan.passage_tokens) for length in answering)
        started = time.process_time()
        trainer.run()
        return tokens / (time.process_time() - started)

    def quality(self) -> list[dict[str, Any]]:
        """nDCG@10 on our test queries, by vectors."""
        took = self.space.manifest["figures"]["seconds"]
        seconds = sum(spent for phase, spent in took.items() if phase != "index")
        models = {"base": Path(self.base), "ours": self.space.model}
        for recipe, rates in (("plain", (5e-5,)), ("plain, tuned", RATES)):
            scores: dict[Path, float] = {}
            for rate in rates:
                say(f"{recipe}, learning rate {rate:g}, {seconds:.0f} s")
                run = self.folder / f"{recipe}-{rate:g}"
                tuned = recipe != "plain"
                train_plain(self.base, self.pairs, run, seconds=seconds, rate=rate, bfloat16=tuned)
                scores[run / "model"] = float(self._scores(run / "model", "validation").mean())
            models[recipe] = max(scores, key=lambda model: scores[model])
        found = {name: self._scores(model, "test") for name, model in models.items()}
        rows = []
        for name, scores_of in found.items():
            change = paired_bootstrap(found["ours"], scores_of)
            rows.append(
                {
                    "recipe": name,
                    "ndcg@10": 100 * float(scores_of.mean()),
                    "against_ours": 100 * change.difference,
                    "low": 100 * change.low,
                    "high": 100 * change.high,
                }
            )
        return rows

    def _scores(self, model: Path, side: str) -> np.ndarray:
        asked = self.data.questions[side]
        encoder = TextEncoder.load(str(model))
        ranked = ranking.collection(
            self.names, ranking.passages_of(encoder, self.names, self.data.views)
        )
        cached = CachedEncoder(encoder, self.folder / "vectors", self.plan.precision)
        found = ranking.dense_rankings(cached, ranked, asked.queries)
        return score_rankings(found.order, asked.relevance, ("ndcg@10",))["ndcg@10"]


def show(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows:
        cells = row.values()
        table.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells))
    Console(highlight=False).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("space", type=Path, nargs="?", default=Path("demo-space"))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        progress_shown(sys.stderr.isatty()),
    ):
        demo = Demo(given.space, Path(folder))
        tables = {"speed": demo.speed(given.steps)}
        if given.quality:
            tables["quality"] = demo.quality()
    if given.json:
        print(json.dumps(tables, indent=2))
    else:
        for rows in tables.values():
            show(rows)


if __name__ == "__main__":
    main()
