"""Fourteen ways to fit a trained table of vectors into a budget of bytes, under one protocol.

A table with a vector for every word, user or page is most of a model's memory. There are many ways
to make it smaller: ids share rows, rows share numbers, numbers get fewer bits, vectors fewer
dimensions, and small numbers are dropped. Here each of them is trained for the same forecast, with
the same events and steps, at those budgets of a half, a quarter, a tenth and a fiftieth of the
whole table that it can keep. A budget counts everything that a lookup reads. The forecast is
whether a word stands in its place in a definition of WordNet, by a factorisation machine.
"""

from __future__ import annotations

from isometry.compression.adaptive_rows import AdaptiveRows
from isometry.compression.alpt import ALPT
from isometry.compression.autodim import AutoDim
from isometry.compression.autosrh import AutoSrh
from isometry.compression.block_dedup import BlockDedup
from isometry.compression.codec import FloatTable
from isometry.compression.deep_hash import DeepHash
from isometry.compression.deeplight import DeepLight
from isometry.compression.integer_table import IntegerTraining
from isometry.compression.low_rank import LowRank
from isometry.compression.mgqe import MGQE
from isometry.compression.mixed_dimension import mixed_dimension, of_widths
from isometry.compression.modulo_hash import ModuloHash
from isometry.compression.optembed import OptEmbed
from isometry.compression.product_table import ProductTable
from isometry.compression.quotient_remainder import QuotientRemainder
from isometry.compression.robe import RobeArray
from isometry.compression.tensor_train import TensorTrain
from isometry.systems.compression_study import (
    FIRST,
    FULL,
    MINIATURE,
    SECOND,
    SMALL,
    Way,
    arms_of,
    data,
    evolved,
    measure,
    searched,
    stored,
    trained,
)
from isometry.systems.system import Gate, System

ANY, WIDE, SEARCH = (2, 10, 50), (2, 4, 10), (FIRST, SECOND)

# How it is stored, the budgets that it can keep, and how it is made.
WAYS = {
    "hash": Way("ids with the same remainder share a row", ANY, trained(
        lambda run, budget: ModuloHash.of_fields(run.train.fields, run.scale.dim, budget))),
    "CompoEmb": Way("a row by the quotient times one by the remainder", ANY, trained(
        lambda run, budget: QuotientRemainder.of_fields(
            run.train.fields, run.scale.dim, budget))),
    "TT-Rec": Way("a chain of three small tensors", ANY, trained(
        lambda run, budget: TensorTrain.of_fields(run.train.fields, run.scale.dim, budget))),
    "DHE": Way("a network reads hashes of the id", ANY, trained(
        lambda run, budget: DeepHash.sized(
            run.train.n, run.scale.dim, budget, run.scale.hashes))),
    "ROBE": Way("runs of one flat array", ANY, trained(
        lambda run, budget: RobeArray.sized(run.train.n, run.scale.dim, budget))),
    "Dedup": Way("blocks that are nearly the same are stored once, then trained on", ANY, searched(
        lambda run: FloatTable(run.train.n, run.scale.dim),
        lambda run, table, budget: BlockDedup.fit(
            table.rows.detach(), budget, run.scale.block)), SEARCH),
    "MGQE": Way("learned codes, fewer for rare ids", ANY, trained(
        lambda run, budget: MGQE.sized(run.train.counts, run.scale.dim, budget))),
    "AdaptEmb": Way("frequent ids own a row, the others share some", ANY, trained(
        lambda run, budget: AdaptiveRows.sized(run.train.counts, run.scale.dim, budget))),
    "INT16": Way("whole numbers of 16 bits", (2,), trained(
        lambda run, _: IntegerTraining(
            run.train.n, run.scale.dim, bits=16, step=1e-3, seed=run.seed))),
    "INT8": Way("whole numbers of 8 bits", (4,), trained(
        lambda run, _: IntegerTraining(
            run.train.n, run.scale.dim, bits=8, step=2e-2, seed=run.seed))),
    "ALPT": Way("whole numbers of 8 bits, times a learned step a row", (2,), trained(
        lambda run, _: ALPT(run.train.n, run.scale.dim, bits=8, step=2e-2, seed=run.seed))),
    "MDE": Way("the larger a field, the shorter its vectors", WIDE, trained(
        lambda run, budget: mixed_dimension(run.train.fields, run.scale.dim, budget))),
    "AutoDim": Way("the length of each field's vectors is searched", WIDE, searched(
        lambda run: AutoDim(run.train.fields, run.scale.dim, seed=run.seed),
        lambda run, table, budget: of_widths(
            table.fields, table.widths_for(budget), run.scale.dim)), SEARCH),
    "OptEmbed": Way("rows and the length of each field's vectors are searched", ANY, searched(
        lambda run: OptEmbed(run.train.fields, run.scale.dim, seed=run.seed), evolved), SEARCH),
    "DeepLight": Way("the smallest numbers are dropped during training", ANY, trained(
        lambda run, budget: DeepLight(
            run.train.n, run.scale.dim, budget, warmup=run.scale.steps[FIRST] // 2,
            steps=run.scale.steps[SECOND]))),
    "AutoSrh": Way("numbers are dropped by gates for groups of ids", ANY, searched(
        lambda run: AutoSrh(run.train.counts, run.scale.dim),
        lambda _, table, budget: table.pruned(budget)), SEARCH),
    "float16": Way("trained whole, then half the bits", (2,), stored(
        lambda _, table, budget: FloatTable.fit(table, budget))),
    "PQ": Way("trained whole, then product-quantized", (2, 10), stored(
        lambda run, table, budget: ProductTable.fit(
            table, budget, run.scale.codes, seed=run.seed))),
    "SVD": Way("trained whole, then its best approximation of low rank", (2, 10), stored(
        lambda run, table, budget: LowRank.fit(table, budget, run.seed))),
    "full table": Way("every id owns a row of float32", (1,), stored(
        lambda _, table, budget: FloatTable.fit(table, budget))),
}  # fmt: skip
ARMS = arms_of(WAYS)
BASELINE, METHOD, WHOLE_TABLE = "hash 1/50", "AdaptEmb 1/50", "full table 1/1"
SMALLEST = [name for name in ARMS if name.endswith(" 1/50") and name not in (BASELINE, METHOD)]

system = System(
    title="Vector storage compression: fourteen ways to fit a table into a budget",
    arxiv="2311.15578",
    claim="At a fiftieth of the bytes, a row of their own for the frequent words is better than"
    " hashing all words alike, and no compressed table is better than the whole one.",
    differs="The log is words of WordNet's definitions and not clicks of Criteo or Avazu: six"
    " fields, a factorisation machine and a few hundred steps of AdamW (decay 0.01) at one rate"
    " for all weights, which every arm chooses on validation. AdamW moves rows on after the step"
    " that read them, where the survey's code moves only what was read: that is worse for rare"
    " words with rows of their own. Ways that search take half of the steps for it; AutoDim throws"
    " away what these trained, as its paper does, and the others go on with it. A way has only the"
    " budgets that it can keep: whole numbers have one, and short vectors have no fiftieth."
    " Budgets may be passed by a hundredth, for want of which some ways would stay a third below;"
    " an arm that takes more than 1.02 of its budget is an error. INT8, INT16 and ALPT hold the"
    " whole table in float while they are trained, since torch's optimisers know no whole numbers;"
    " DHE reads 128 hashes at this scale, and 1,024 at the full one. Frozen tables, the survey's"
    " other use, are no arms: `tests/compression/test_frozen_tables.py` compares PQ, SVD and INT8"
    " on one.",
    data=data,
    measure=measure,
    arms=ARMS,
    baseline=BASELINE,
    method=METHOD,
    gates=(
        Gate("auc", 0.005, BASELINE),
        Gate("times its budget", 1.02, lower_is_better=True),
        *(Gate("auc", -0.005, name, arm=WHOLE_TABLE) for name in ARMS if name != WHOLE_TABLE),
        *(Gate("auc", 0.0, BASELINE, arm=name, report_only=True) for name in SMALLEST),
    ),
    scales={"miniature": MINIATURE, "small": SMALL, "full": FULL},
    trade=("share of the bytes", "auc"),
)
