"""One encoder whose every prefix of layers and dimensions is a usable embedding (2DMSE).

An ordinary encoder is useless when its upper layers are left out: only the last layer was trained
to mean something. 2DMSE trains the last layer and, at each step, a random inner one, both at full
width and at a random smaller width, and pulls the inner vectors towards the last ones. The trained
model can be cut to any depth and width afterwards; what is cut off costs neither time nor memory.
"""

from __future__ import annotations

from isometry.objectives.matryoshka import MRL, Random2D
from isometry.systems.nested_study import FULL, MINIATURE, SMALL, data, measure, nested_arm
from isometry.systems.system import Arm, Gate, System

system = System(
    title="2DMSE: embeddings nested over layers and dimensions",
    arxiv="2402.14776",
    claim="Cut to few layers and dimensions, it is better than an encoder that was nested over"
    " dimensions alone, and uncut it is hardly worse.",
    differs="Definitions of WordNet and MiniLM stand in for NLI and BERT-base, and retrieval of the"
    " defined word, and WordSim-353, for the STS tasks. The contrast is InfoNCE at 0.05; the"
    " paper's default adds CoSENT and AnglE, which need graded pairs. The teacher of the KL term"
    " gets no gradient.",
    data=data,
    measure=measure,
    arms={
        "untrained": Arm("the encoder as it is, cut", lambda run: run.encoder()),
        "last layer": nested_arm(
            "the contrast on whole vectors of the last layer",
            lambda scale, _: MRL((scale.width,)),
        ),
        "matryoshka": nested_arm(
            "the contrast nested over dimensions of the last layer (MRL)",
            lambda scale, _: MRL((*scale.widths, scale.width)),
        ),
        "2dmse": nested_arm(
            "the contrast nested over random layers and dimensions",
            lambda scale, seed: Random2D(scale.layers, scale.widths, seed),
        ),
    },
    baseline="matryoshka",
    method="2dmse",
    gates=(
        Gate(
            "mrr@10, shallow", 0.05, "matryoshka",
            reported="+9.0 points of STS at 2 layers, 768 dimensions (59.0 to 68.0; independent"
            " reproduction, ielab/2DMSE-Reproduce)",
        ),
        Gate("mrr@10, shallow", 0.05, "last layer"),
        Gate(
            "mrr@10, whole", -0.03, "matryoshka",
            reported="-1.4 points of STS uncut (80.9 to 79.5; same)",
        ),
        Gate("share of the whole at half the layers", 0.85),
        Gate("word pairs, share of the whole at half the layers", 0.95),
        Gate("share of the whole at half the layers", 0.0, arm="untrained", report_only=True),
        Gate(
            "word pairs, share of the whole at half the layers", 0.0,
            arm="untrained", report_only=True,
        ),
    ),
    scales={"miniature": MINIATURE, "small": SMALL, "full": FULL},
)  # fmt: skip
