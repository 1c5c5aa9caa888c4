"""Our students beside model2vec's table and sentence-transformers' layer-drop recipe.

    python benchmarks/distill.py [--minutes 10] [--source python:networkx] [--limit 1500]
        [--layers 2] [--dim 256] [--model2vec PYTHON] [--out FOLDER] [--held 2000] [--json]

One teacher, one source (the demo's), five rows: the teacher; our table and model2vec's, of the same
size over the same vocabulary; our first N layers, and N layers evenly spaced under `MSELoss` as
sentence-transformers' distillation example has it, on the texts that ours learns from, for the
seconds that our whole run took. model2vec runs in an environment of its own, whose interpreter
`--model2vec` names (it needs `model2vec[distill]`); without it its row is left out.

Figures: Spearman's correlation on SimLex-999 and WordSim-353, times 100; MRR@10 of held-out WordNet
entries for their definitions; nDCG@10 on the source's held-out queries; texts a CPU second on the
source's passages, in turns. Nothing is chosen on any of them. The second table has the differences
of like to like, with 95 % paired bootstrap intervals. Finished students are kept in --out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# As the command `isometry` sets it, before torch is loaded; for every row.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from scipy.stats import spearmanr

from isometry.core.files import read_json
from isometry.core.progress import progress_shown, say
from isometry.core.workspace import Workspace
from isometry.core.writing import write_json
from isometry.corpora.packaged.word_pairs import word_pairs
from isometry.corpora.pairs.definitions import definitions, split_definitions
from isometry.corpora.readers import ReadingReport, open_source
from isometry.encoders.locate import locate
from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import TextEncoder
from isometry.evaluation.pair_scores import pair_scores
from isometry.evaluation.retrieval import rank_documents, score_rankings
from isometry.evaluation.significance import paired_bootstrap
from isometry.jobs import ranking
from isometry.jobs.distill import DistillSettings, distill
from isometry.jobs.distilling import Distilling

Encoder = TextEncoder | StaticEncoder
TABLE, PEER_TABLE = "our table", "model2vec"
LAYERS, PEER_LAYERS = "our layers", "sentence-transformers, layers dropped"
TEACHER = "teacher"
LIKE = ((TABLE, PEER_TABLE), (LAYERS, PEER_LAYERS))
_MODEL2VEC = """
import sys
from model2vec.distill import distill
distill(sys.argv[1], pca_dims=int(sys.argv[2]), quantize_to="float32").save_pretrained(sys.argv[3])
"""
_DRAWS = 2000


class Bench:
    """One teacher and one source; students are made once and kept."""

    def __init__(self, options: argparse.Namespace, out: Path) -> None:
        self.options, self.out = options, out
        self.settings = DistillSettings(
            options.teacher, options.source, layers=options.layers, limit=options.limit
        )
        out.mkdir(parents=True, exist_ok=True)
        # Sides, passages and queries as our own runs see them.
        self._work = Workspace(out / "prepared", "benchmark")

    def __enter__(self) -> Bench:
        self._work.__enter__()
        source = open_source(self.options.source, limit=self.options.limit)
        self.teacher = TextEncoder.load(self.options.teacher)
        self.job = Distilling(self._work, source, self.settings, self.teacher)
        return self

    def __exit__(self, *error: Any) -> None:
        self._work.__exit__(*error)

    def ours(self, name: str, **shape: Any) -> Path:
        """A student of ours, with the seconds that it took."""
        folder = self.out / name.replace(" ", "-")
        if not folder.exists():
            say(f"Making {name}")
            started = time.monotonic()
            distill(
                self.options.teacher,
                self.options.source,
                folder,
                limit=self.options.limit,
                minutes=self.options.minutes,
                **shape,
            )
            write_json(self.out / f"{folder.name}.json", {"seconds": time.monotonic() - started})
        return folder

    def model2vec(self) -> Path:
        """The peer's table, made by its own environment."""
        folder = self.out / "model2vec"
        if not folder.exists():
            say("Making model2vec's table")
            place = str(locate(self.options.teacher)[0])
            code = [self.options.model2vec, "-c", _MODEL2VEC, place, str(self.options.dim)]
            subprocess.run([*code, str(folder)], check=True, stdout=sys.stderr)
        return folder

    def layer_drop(self) -> Path:
        """The peer's recipe: layers evenly spaced, the mean squared error to the teacher."""
        folder = self.out / "layer-drop"
        if not folder.exists():
            seconds = read_json(self.out / f"{LAYERS.replace(' ', '-')}.json")["seconds"]
            plan = read_json(self.out / LAYERS.replace(" ", "-") / "distillation.json")["plan"]
            say(f"Making the layer-drop student in {seconds:.0f} s")
            texts = [text for text, _ in self.job.all_texts[: plan["texts"]]]
            drop_layers(
                self.options.teacher,
                self.options.layers,
                texts,
                folder,
                seconds=seconds,
                bfloat16=plan["precision"] == "bfloat16",
            )
        return folder

    def models(self) -> dict[str, Encoder]:
        """All rows."""
        made: dict[str, Encoder] = {
            TEACHER: self.teacher,
            TABLE: StaticEncoder.load(self.ours(TABLE, static=True, dim=self.options.dim)),
        }
        if self.options.model2vec:
            made[PEER_TABLE] = StaticEncoder.load(self.model2vec())
        made[LAYERS] = TextEncoder.load(self.ours(LAYERS, layers=self.options.layers))
        made[PEER_LAYERS] = TextEncoder.load(self.layer_drop())
        return made

    def queries(self, encoder: Encoder) -> np.ndarray:
        """nDCG@10 of each held-out query of the source."""
        asked = self.job.data.questions["test"]
        ranked = self.job.collection
        order, _ = rank_documents(
            encoder.encode(asked.queries, "query"),
            encoder.encode(ranked.passages),
            ranked.owner,
            ranking.DEPTH,
        )
        return score_rankings(order, asked.relevance, ("ndcg@10",))["ndcg@10"]

    def definitions(self) -> Callable[[Encoder], np.ndarray]:
        """MRR@10 of each held-out definition, by encoder."""
        rows, _ = definitions(open_source("wordnet:").documents(ReadingReport()))
        held = split_definitions(rows)["test"][: self.options.held]

        def measure(encoder: Encoder) -> np.ndarray:
            glosses = encoder.encode([row.text for row in held], "query")
            entries = encoder.encode([row.entry for row in held])
            order, _ = rank_documents(glosses, entries, np.arange(len(held)), 10)
            relevance = [{row: 1} for row in range(len(held))]
            return score_rankings(order, relevance, ("mrr@10",))["mrr@10"]

        return measure

    def speeds(self, models: dict[str, Encoder], turns: int = 3) -> dict[str, float]:
        """Texts a CPU second of each, in turns; the best turn counts."""
        some = self.job.collection.passages[:: max(1, len(self.job.collection.passages) // 64)]
        best = dict.fromkeys(models, float("inf"))
        for _ in range(turns):
            for name, encoder in models.items():
                # What is over in a moment is done often enough to be measured.
                repeated = some * (50 if isinstance(encoder, StaticEncoder) else 1)
                started = time.process_time()
                encoder.encode(repeated)
                took = (time.process_time() - started) / len(repeated)
                best[name] = min(best[name], took)
        return {name: 1 / took for name, took in best.items()}


def drop_layers(
    teacher: str,
    layers: int,
    texts: Sequence[str],
    folder: Path,
    *,
    seconds: float,
    bfloat16: bool,
) -> None:
    """sentence-transformers' `model_distillation.py`: batches of 64, a rate of 1e-4, warm-up.

    The teacher's encoding of the texts counts into the seconds, as it does in ours. No linear decay
    fits an end that the clock sets, so the rate stays constant after the warm-up.
    """
    import torch
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MSELoss
    from torch import nn
    from transformers import TrainerCallback

    started = time.monotonic()
    place = str(locate(teacher)[0])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    targets = SentenceTransformer(place, device=device).encode(
        list(texts), show_progress_bar=False, convert_to_numpy=True
    )
    student = SentenceTransformer(place, device=device)
    body: Any = student[0].model  # pyright: ignore[reportAttributeAccessIssue]
    stack = body.encoder.layer
    kept = np.linspace(0, len(stack) - 1, layers + 2)[1:-1].round().astype(int)
    body.encoder.layer = nn.ModuleList([stack[number] for number in kept])
    body.config.num_hidden_layers = layers

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = time.monotonic() - started > seconds

    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder.with_name("layer-drop-run")),
        num_train_epochs=1000,
        per_device_train_batch_size=64,
        learning_rate=1e-4,
        warmup_steps=10,
        lr_scheduler_type="constant_with_warmup",
        bf16=bfloat16,
        use_cpu=device == "cpu",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    rows = Dataset.from_dict({"sentence": list(texts), "label": targets.tolist()})
    SentenceTransformerTrainer(
        student, arguments, rows, loss=MSELoss(student), callbacks=[Clock()]
    ).train()
    student.save(str(folder))


def spearman_change(
    before: np.ndarray, after: np.ndarray, gold: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
    """The difference of two rank correlations, and its interval over resampled pairs."""
    generator = np.random.default_rng(seed)

    def correlation(side: np.ndarray, rows: np.ndarray) -> float:
        found: Any = spearmanr(side[rows], gold[rows])
        return float(found.statistic)

    def change(rows: np.ndarray) -> float:
        return correlation(after, rows) - correlation(before, rows)

    drawn = [change(generator.integers(len(gold), size=len(gold))) for _ in range(_DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return change(np.arange(len(gold))), float(low), float(high)


def compare(bench: Bench) -> dict[str, Any]:
    """All figures of all rows, and the differences of like to like."""
    models = bench.models()
    by_definition = bench.definitions()
    collections = {name: word_pairs(name) for name in ("simlex-999", "wordsim-353")}
    rows: dict[str, dict[str, Any]] = {}
    cosines: dict[tuple[str, str], np.ndarray] = {}
    scores: dict[tuple[str, str], np.ndarray] = {}
    for name, encoder in models.items():
        say(f"Measuring {name}")
        rows[name] = {
            "model": name,
            "layers": len(encoder.layers()) if isinstance(encoder, TextEncoder) else 0,
            "dim": encoder.dim,
            "parameters": sum(part.numel() for part in encoder.parameters()),
        }
        for which, pairs in collections.items():
            first, second = encoder.encode(pairs.first), encoder.encode(pairs.second)
            cosines[name, which] = (first * second).sum(axis=1)
            rows[name][which] = 100 * pair_scores(first, second, pairs.gold)["spearman"]
        scores[name, "definitions"] = by_definition(encoder)
        scores[name, "queries"] = bench.queries(encoder)
        for which in ("definitions", "queries"):
            rows[name][which] = 100 * float(scores[name, which].mean())
    for name, speed in bench.speeds(models).items():
        rows[name]["texts_a_cpu_second"] = speed
    for row in rows.values():
        row["times_as_fast"] = row["texts_a_cpu_second"] / rows[TEACHER]["texts_a_cpu_second"]
    differences: list[dict[str, Any]] = []
    for ours, theirs in LIKE:
        if theirs not in models:
            continue
        for which, pairs in collections.items():
            change = spearman_change(cosines[theirs, which], cosines[ours, which], pairs.gold)
            differences.append(_difference(f"{ours} - {theirs}", which, *change))
        for which in ("definitions", "queries"):
            interval = paired_bootstrap(scores[theirs, which], scores[ours, which])
            change = (interval.difference, interval.low, interval.high)
            differences.append(_difference(f"{ours} - {theirs}", which, *change))
    return {"rows": list(rows.values()), "differences": differences}


def _difference(what: str, on: str, difference: float, low: float, high: float) -> dict[str, Any]:
    values = {"difference": difference, "low": low, "high": high}
    return {"what": what, "on": on, **{name: 100 * value for name, value in values.items()}}


def show(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows:
        cells = row.values()
        table.add_row(*(f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells))
    Console(highlight=False, width=140).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--teacher", default="packaged:minilm")
    parser.add_argument("--source", default="python:networkx")
    parser.add_argument("--limit", type=int, default=1500)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--held", type=int, default=2000, help="definitions")
    parser.add_argument("--model2vec", help="the Python of an environment with model2vec[distill]")
    parser.add_argument("--out", type=Path, help="where students are kept")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as folder,
        progress_shown(sys.stderr.isatty()),
        Bench(options, options.out or Path(folder)) as bench,
    ):
        found = compare(bench)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(found["rows"])
        if found["differences"]:
            show(found["differences"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
