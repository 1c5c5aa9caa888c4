"""One encoder for several fields, with feed-forward layers of its own for each (MoE embeddings).

A general encoder puts all texts of a narrow field close together, and one that is tuned on a field
loses the others; a model for each field multiplies what is stored and served. Here a text begins
with the token of its field, and goes as a whole through that field's own copy of the feed-forward
layers; attention, norms and word vectors are shared. Nothing is routed by learning, a token costs
what it costs in the dense model, and each field can be split off as a dense model of its own.

The paper says that N experts equal N models. Its published figures say less: mean F1 over five
fields of .885 for five models, .850 for the mixture and .834 for one dense model, a third of the
way. The second gate puts the sentence to the test as it was written.
"""

from __future__ import annotations

from isometry.systems.domain_pairs_study import DOMAINS, OPPOSED, DomainScale, data
from isometry.systems.domain_study import (
    DOMAINS_ALONE,
    DOMAINS_TOGETHER,
    OPPOSED_ALONE,
    OPPOSED_AUC,
    OPPOSED_TOGETHER,
    measure,
    tuned,
    untouched,
)
from isometry.systems.system import Arm, Gate, System

LABELS = "for opposed labels"
JOINT = "one dense model for all domains, with their tokens"
SEPARATE = "a dense model for each domain, with its token"
MIXTURE = "one model with an expert for each domain"

system = System(
    title="MoE embeddings: an expert for each domain, chosen by a domain token",
    arxiv="2401.15713",
    claim="With an expert for each domain, one encoder tells related documents better than one"
    " dense model that is trained on all, and as well as a model for each domain.",
    differs="Functions of five Python packages that a third one names under See Also stand in for"
    " PubMed abstracts that a third one cites, and MiniLM for ModernBERT. Batches hold one domain."
    " The loss, MNR-plus, is of unit vectors at a temperature of 0.05, where the official code has"
    " products without either; others of a batch that are cited together are no negatives. The"
    " encoder's own pooling stays. Training ends after a fixed number of steps, where the official"
    " code stops on the test split. Texts are cut at 32 tokens, and at the full scale at 64.",
    data=data,
    measure=measure,
    arms={
        "untouched": Arm("the encoder as it is", untouched),
        "joint": tuned(JOINT, DOMAINS_TOGETHER),
        "separate": tuned(SEPARATE, DOMAINS_ALONE),
        "moe": tuned(MIXTURE, DOMAINS_TOGETHER, experts=True),
        f"joint, {LABELS}": tuned(JOINT, OPPOSED_TOGETHER, chosen_on=OPPOSED_AUC),
        f"separate, {LABELS}": tuned(SEPARATE, OPPOSED_ALONE, chosen_on=OPPOSED_AUC),
        f"moe, {LABELS}": tuned(
            MIXTURE, OPPOSED_TOGETHER, experts=True, chosen_on=OPPOSED_AUC
        ),
    },
    baseline="joint",
    method="moe",
    gates=(
        Gate(
            "auc", 0.0, "joint",
            reported="ROC-AUC of all pairs .9426 against .9338"
            " (results/model_performance_roc_auc.csv)",
        ),
        Gate(
            "f1max", -0.01, "separate",
            reported="-3.5 points, mean of five: .8504 against .8854, of which a third of the way"
            " from joint (results/trained_models/summary_trained.csv)",
        ),
        Gate(
            "f1max", 0.0, "joint",
            reported="+1.6 points, mean of five: .8504 against .8341 (same; COPD .7861 against"
            " .7661, CVD .9060 .8995, cancer .7687 .7301, parasitic .9004 .8905, autoimmune .8908"
            " .8845)",
        ),
        Gate("auc", 0.03, "untouched", arm="joint"),
        Gate(OPPOSED_AUC, 0.05, f"joint, {LABELS}", arm=f"moe, {LABELS}"),
        # Beside the gain of the mixture: what of it there was to be had.
        Gate(
            "f1max", 0.0, "joint", arm="separate", report_only=True,
            reported="+5.1 points, mean of five: .8854 against .8341 (same)",
        ),
        Gate(
            OPPOSED_AUC, 0.0, f"joint, {LABELS}", arm=f"separate, {LABELS}", report_only=True
        ),
    ),
    scales={
        "miniature": DomainScale(
            model="packaged:minilm",
            steps={"domains": 2, "opposed": 2, **dict.fromkeys((*DOMAINS, *OPPOSED), 1)},
            seeds=1,
            modules=(
                "numpy.lib", "scipy.signal", "sklearn.metrics", "pandas.core.indexes",
                "networkx.classes",
            ),
            judged=4, apart=1, opposed=4, layers=(5,), frozen=5, batch=4, tokens=12,
        ),
        "small": DomainScale(
            model="packaged:minilm",
            steps={
                "domains": 150, "opposed": 80, **dict.fromkeys(DOMAINS, 30),
                **dict.fromkeys(OPPOSED, 40),
            },
            rates=(5e-5, 1e-4, 2e-4),
        ),
        "full": DomainScale(
            model="answerdotai/ModernBERT-base",
            steps={
                "domains": 2_000, "opposed": 800, **dict.fromkeys(DOMAINS, 400),
                **dict.fromkeys(OPPOSED, 400),
            },
            rates=(2e-5, 5e-5, 1e-4), gpu_gib=24, hub=("answerdotai/ModernBERT-base",), tokens=64,
        ),
    },
)  # fmt: skip
