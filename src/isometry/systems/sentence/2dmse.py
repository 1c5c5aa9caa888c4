"""One encoder whose every prefix of layers and dimensions is a usable embedding (2DMSE).

An ordinary encoder is useless when its upper layers are left out: only the last layer was trained
to mean something. 2DMSE trains the last layer and, at each step, a random inner one, both at full
width and at a random smaller width, and pulls the inner vectors towards the last ones. The trained
model can be cut to any depth and width afterwards; what is cut off is not computed, and not stored.
"""

from __future__ import annotations

from dataclasses import replace

from isometry.objectives.matryoshka import MRL, Random2D
from isometry.systems.nested_study import FULL, MINIATURE, SMALL, data, measure, nested_arm
from isometry.systems.system import Arm, Gate, System

TABLE = "independent reproduction, README of ielab/2DMSE-Reproduce, V1"
WHOLE, HALF = "mrr@10, whole", "share of the whole at size 3 of 6"
# One model serves all sizes and is chosen by all: the best rate for the smallest alone costs the
# whole a fifth of its figure (Starbucks' record). Its rivals are trained for each end on its own.
ALL = "mrr@10, all sizes"

last_layer = nested_arm(
    "the contrast on whole vectors of the last layer",
    lambda scale, _: MRL((scale.width,)),
)
matryoshka = nested_arm(
    "the contrast nested over dimensions of the last layer (MRL)",
    lambda scale, _: MRL((*scale.widths, scale.width)),
)

system = System(
    title="2DMSE: embeddings nested over layers and dimensions",
    arxiv="2402.14776",
    claim="Cut to few layers and dimensions, it is better than an encoder that was nested over"
    " dimensions alone, and uncut it is hardly worse.",
    differs="Definitions of WordNet and MiniLM stand in for NLI and BERT-base, and retrieval of the"
    " defined word, and WordSim-353, for the STS tasks. The contrast is InfoNCE at 0.05, in both"
    " directions; the paper's default adds CoSENT and AnglE, which need graded pairs. Word vectors"
    " are frozen. The teacher of the KL term gets no gradient. Time is not measured.",
    data=data,
    measure=measure,
    arms={
        "untrained": Arm("the encoder as it is, cut", lambda run: run.encoder()),
        "last layer": last_layer,
        "last layer, for the whole": replace(last_layer, chosen_on=WHOLE),
        "matryoshka": matryoshka,
        "matryoshka, for the whole": replace(matryoshka, chosen_on=WHOLE),
        "2dmse": nested_arm(
            "the contrast nested over random layers and dimensions",
            lambda scale, seed: Random2D(scale.layers, scale.widths, seed),
            chosen_on=ALL,
        ),
    },
    baseline="matryoshka",
    method="2dmse",
    gates=(
        Gate(
            "mrr@10, shallow", 0.05, "matryoshka",
            reported="+10.3 points of STS, mean of (2, 32), (4, 64), (6, 128) and (8, 256) (58.0 to"
            f" 68.3; {TABLE})",
        ),
        Gate(
            "mrr@10, shallow", 0.05, "last layer",
            reported="+10.9 points (57.4 to 68.3; same)",
        ),
        *(
            Gate(f"mrr@10, size {place} of 6", 0.05, rival)
            for rival in ("matryoshka", "last layer")
            for place in range(1, 5)
        ),
        Gate(
            WHOLE, -0.03, "matryoshka, for the whole",
            reported="-1.4 points of STS uncut (80.9 to 79.5; same)",
        ),
        Gate(
            WHOLE, -0.03, "last layer, for the whole",
            reported="-2.1 points of STS uncut (81.6 to 79.5; same)",
        ),
        Gate(HALF, 0.85),
        Gate(f"word pairs, {HALF}", 0.95),
        Gate(ALL, 0.0, "matryoshka", report_only=True),
        Gate(HALF, 0.0, arm="untrained", report_only=True),
        Gate(f"word pairs, {HALF}", 0.0, arm="untrained", report_only=True),
    ),
    scales={"miniature": MINIATURE, "small": SMALL, "full": FULL},
)  # fmt: skip
