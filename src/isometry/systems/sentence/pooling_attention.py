"""A pooler that reads all layers, not the last alone (Pooling and Attention).

Embedders out of language models pool the last layer, though lower layers know other things: what
kind of word stands where, how long a text is. Multi-layer trainable pooling takes one vector of
each layer, adds a trained vector that says which layer it is, and lets a few latents attend to
them. Whether more layers help, or only more weights, is seen by giving the same block the last
layer in the place of all; whether attention is needed, by a weighted mean with one number a layer.
The paper's finding is that no design wins everywhere, by paired tests over data sets.
"""

from __future__ import annotations

from isometry.pooling.layer_mix import LayerMix
from isometry.pooling.multi_layer import MultiLayer, last_layer
from isometry.systems.pooling_study import BOTH, MRR, TASKS, LayerScale, arm, data, measure
from isometry.systems.system import Gate, System


def attention(scale: LayerScale, layers: int, d: int) -> MultiLayer:
    """The paper's pooler."""
    return MultiLayer(d, layers, scale.latents, scale.heads, head_dim=scale.head_dim)


def attention_without_order(scale: LayerScale, layers: int, d: int) -> MultiLayer:
    """The same without a vector for each layer."""
    return MultiLayer(
        d, layers, scale.latents, scale.heads, head_dim=scale.head_dim, positions=False
    )


def mix(scale: LayerScale, layers: int, d: int) -> LayerMix:
    """A weight a layer."""
    del scale, d
    return LayerMix(layers)


STEPS = dict.fromkeys(TASKS, 200)
FOR_WORDS = "for words"
LAST = "the same pooler, over the last layer alone"
MIXED = "a weighted mean with one number a layer"
EVERY = "latents ask all layers, each with its own vector"

system = System(
    title="Pooling and Attention: trainable pooling over all layers",
    arxiv="2409.02727",
    claim="What low layers know is found by a pooler of all layers, and not by one of equal size"
    " over the last; words are found about as well by either.",
    differs="MiniLM stays frozen, and the mean of each of its 6 layers is read, in the place of a"
    " language model of 7 billion weights that is tuned with the pooler. So there is no choice"
    " between a causal mask and none, and the last-layer pooler sees the last layer's mean, six"
    " times, rather than its tokens: every weight that the multi-layer pooler has, it has. 8"
    " latents with 4 heads of 32 stand in for 768 with 32 of 2048. Each task trains a pooler of"
    " its own: WordNet's glosses find their words, with the batch's others as negatives and none"
    " mined, or tell lexicographer file, part of speech or length under a linear head; word"
    " similarity is that of the first. At this scale all train for 200 steps. Models that change"
    " states behind their last layer by a norm, as Llama, Mistral and Qwen do, have no vectors of"
    " inner layers here and are refused. Vectors of layers start at a deviation of 0.02, not of 1."
    " The paper compares over the data sets of MTEB, by Wilcoxon's test; here every item of a test"
    " counts.",
    data=data,
    measure=measure,
    arms={
        "last layer": arm(LAST, attention, last_layer),
        f"last layer, {FOR_WORDS}": arm(LAST, attention, last_layer, words=True),
        "layer mix": arm(MIXED, mix),
        f"layer mix, {FOR_WORDS}": arm(MIXED, mix, words=True),
        "multi-layer, no order": arm("without vectors of layers", attention_without_order),
        "multi-layer": arm(EVERY, attention),
        f"multi-layer, {FOR_WORDS}": arm(EVERY, attention, words=True),
    },
    baseline="last layer",
    method="multi-layer",
    gates=(
        Gate(BOTH, 0.03, "last layer"),
        Gate(
            MRR, -0.01, f"last layer, {FOR_WORDS}", arm=f"multi-layer, {FOR_WORDS}",
            reported="the multi-layer pooler is better on STS and retrieval, by Wilcoxon's test"
            " (abstract)",
        ),
        Gate("part of speech", 0.0, "last layer", report_only=True),
        Gate("length", 0.0, "last layer", report_only=True),
        Gate(
            "file", 0.0, "last layer", report_only=True,
            reported="on clustering and classification, simple designs are not beaten (abstract)",
        ),
        *(
            Gate(pairs, 0.0, arm=f"{name}, {FOR_WORDS}", report_only=True)
            for pairs in ("simlex-999", "wordsim-353")
            for name in ("multi-layer", "last layer")
        ),
        Gate(BOTH, 0.0, "layer mix", report_only=True),
        Gate(
            MRR, 0.0, f"layer mix, {FOR_WORDS}", arm=f"multi-layer, {FOR_WORDS}", report_only=True
        ),
        Gate(BOTH, 0.0, "multi-layer, no order", report_only=True),
    ),
    scales={
        "miniature": LayerScale(
            model="packaged:minilm", steps=dict.fromkeys(TASKS, 1), seeds=1, trained=48, held=40,
            pairs=6, latents=2, heads=2, head_dim=4, batch=8,
        ),
        "small": LayerScale(
            model="packaged:minilm", steps=STEPS, rates=(3e-4, 1e-3, 1e-2), trained=4_000,
            held=2_000,
        ),
        "full": LayerScale(
            model="google-bert/bert-base-uncased", steps=dict.fromkeys(TASKS, 3_000),
            rates=(3e-4, 1e-3, 1e-2), gpu_gib=16, hub=("google-bert/bert-base-uncased",),
            trained=12_000, held=1_600, latents=64, head_dim=64, heads=12, tokens=64,
        ),
    },
)  # fmt: skip
