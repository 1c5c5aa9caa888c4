"""Embeddings whose every dimension is a named concept, so that a match can be explained (SESA).

A learned ranker puts texts into dimensions that nobody can name, and cannot say why two of them
match. Explicit semantic analysis has names, the concepts of an encyclopaedia, but counts words and
learns nothing. SESA trains a layer with one dimension a concept, from pairs that belong together
and from the concepts that texts are tagged with. A score then is a sum over concepts, and its
largest terms are the explanation. Without the tags the same layer learns to rank as well, but its
dimensions drift from their names.

Confirmed by the paper's abstract and introduction: dimensions are concepts of a knowledge base
(LinkedIn's skills), texts are encoded into them by recurrent networks, similarity is taken there,
and judged pairs and tags both train it. Its equations, sizes and tables could not be read, and no
code was published: activation, losses and their weights are the usual reading of it, and the gates
are not out of its tables.
"""

from __future__ import annotations

from isometry.systems.concept_study import (
    STAGE,
    ConceptScale,
    counted,
    data,
    measure,
    named_vectors,
    trained,
)
from isometry.systems.system import Arm, Gate, System

system = System(
    title="SESA: supervised embeddings with named dimensions",
    arxiv="1708.03246",
    claim="Texts are found far better than by counted concepts and hardly worse than in latent"
    " dimensions, while each dimension tells its concept and every score is a sum over names.",
    differs="Glosses of WordNet's nouns stand in for LinkedIn's profiles and jobs, which are"
    " private; lexicographer files and frequent hypernyms for skills; related synsets for judged"
    " pairs. A linear head over frozen MiniLM vectors stands in for the recurrent network. Pairs"
    " are ranked by InfoNCE of cosines, and tags, averaged over concepts, count five times as much"
    " as pairs. ESA gets its concepts' articles, names and gloss with or without the training"
    " glosses below them, by validation. What the head reads is better on its own: the figure over"
    " the encoder's own says by how much.",
    data=data,
    measure=measure,
    arms={
        "esa": Arm("tf-idf cosine with each concept's text; nothing is trained", counted),
        "concept vectors": Arm(
            "the encoder's cosine with each concept's text; nothing is trained", named_vectors
        ),
        "latent": Arm("as many dimensions without names", trained("identity"), (STAGE,)),
        "sesa, no tags": Arm("named dimensions, from pairs alone", trained("softplus"), (STAGE,)),
        "sesa, light tags": Arm(
            "named dimensions, from pairs and tags (1)",
            trained("softplus", tag_weight=1.0),
            (STAGE,),
        ),
        "sesa": Arm(
            "named dimensions, from pairs and tags (5)",
            trained("softplus", tag_weight=5.0),
            (STAGE,),
        ),
        "tags alone": Arm(
            "named dimensions, from tags alone",
            trained("softplus", ranking=False, tag_weight=1.0),
            (STAGE,),
        ),
    },
    baseline="esa",
    method="sesa",
    gates=(
        Gate("mrr@10", 0.10, "esa"),
        Gate("mrr@10", -0.05, "latent"),
        Gate("auc", 0.80),
        Gate("distance of auc from 0.5", 0.05, arm="sesa, no tags", lower_is_better=True),
        Gate("error of explanations", 1e-5, lower_is_better=True),
        Gate("mrr@10", 0.0, "concept vectors", report_only=True),
        Gate("auc", 0.0, "concept vectors", report_only=True),
        Gate("auc over shuffled names", 0.0, report_only=True),
        Gate("mrr@10 over the encoder's own", 0.0, report_only=True),
        Gate("mrr@10, largest concepts alone", 0.10, "esa", report_only=True),
    ),
    scales={
        "miniature": ConceptScale(
            model="packaged:minilm", steps={STAGE: 2}, seeds=1, trained=60, held=20,
            concepts=12, least=2, batch=8, kept=6,
        ),
        "small": ConceptScale(
            model="packaged:minilm", steps={STAGE: 400}, rates=(3e-4, 1e-3, 3e-3, 1e-2),
            trained=12_000, held=1_000,
        ),
        "full": ConceptScale(
            model="BAAI/bge-small-en-v1.5", steps={STAGE: 4_000}, rates=(1e-3, 3e-3, 1e-2),
            gpu_gib=8, hub=("BAAI/bge-small-en-v1.5",), trained=30_000, held=2_000, concepts=500,
            batch=1_024,
        ),
    },
)  # fmt: skip
