"""A causal language model as an embedder that is told its task (NV-Embed).

A decoder reads in one direction only, so that its last token alone has seen the whole text, and a
mean is diluted by tokens that have seen little of it. NV-Embed takes the causal mask away, without
any warm-up, and pools by attention: every token's state asks a trained dictionary of latents, and
the answers are averaged, without those of the instruction. It trains in two stages: retrieval with
the batch's other documents as negatives first, then retrieval blended with classes and topics, now
with a row's own negatives alone, since in a batch many others are of the same class.
"""

from __future__ import annotations

from dataclasses import replace

from isometry.systems.decoder_study import DecoderScale, arm, data, measure
from isometry.systems.system import Gate, System
from isometry.training.next_token import Decoder

WORDS = ("retrieval",)
TOPICS = "5-nn accuracy"
FOR_TOPICS = "for topics"

retrieval = arm(
    "retrieval in both stages", "latent", causal=False, mixes=("retrieval", "retrieval")
)
one_stage = arm(
    "the blend in both stages, only own negatives",
    "latent",
    causal=False,
    mixes=("blended", "blended"),
)
in_batch = arm(
    "two stages, where topics have other rows as negatives",
    "latent",
    causal=False,
    mixes=("retrieval", "blended, topics in batch"),
)
nv_embed = arm(
    "retrieval, then the blend, only own negatives", "latent", causal=False,
    mixes=("retrieval", "blended"),
)  # fmt: skip

system = System(
    title="NV-Embed: a decoder without its mask, latent attention, and two stages of tuning",
    arxiv="2405.17428",
    claim="The second stage groups definitions by topic far better and finds words no worse; the"
    " mean helps a causal decoder, and reading in both directions helps its last token.",
    differs="No pretrained decoder comes in a package, so one is made: Mistral's architecture with"
    " 4 layers of 128, MiniLM's words projected on 128 dimensions, and 150 steps of next-token"
    " prediction on the training glosses, the same for all arms of a seed. All layers are trained,"
    " without LoRA, while word vectors stay. Finding the nouns that glosses define stands in for"
    " retrieval, and WordNet's 45 lexicographer files, as triplets of examples, for classification"
    " and clustering; MiniLM is the teacher of the negatives. The temperature is 0.05."
    " Instructions end in a line break, for out of a space and the first word of a text a"
    " byte-level tokenizer makes one token. Poolers and masks are compared after the first stage,"
    " which is as long for all, and mixtures after both. Every arm chooses its rate by what it is"
    " compared on. Self-attention has as many weights as latent attention has without its latents."
    " At this size a difference between poolers of 0.3 points, as in the paper, cannot be seen: it"
    " is reported. Arms that begin alike share their first stage; to keep the run within an hour"
    " of two cores, self-attention is trained without the mask alone, and one stage is compared by"
    " topics alone. This is a second look at the test: after a first one, with 2 negatives a row"
    " and 60 steps in the second stage, had missed the headline, more of both were tried on"
    " validation, and taken, for the baseline of that gate too. NVIDIA's weights of the pooler can"
    " be read, but not their decoder beside it: its example is not repeated.",
    data=data,
    measure=measure,
    arms={
        "eos, causal": arm("the last token's state", "eos", causal=True, mixes=WORDS),
        "mean, causal": arm("the mean of the states", "mean", causal=True, mixes=WORDS),
        "latent, causal": arm("latent attention", "latent", causal=True, mixes=WORDS),
        "eos, bidirectional": arm("without the mask", "eos", causal=False, mixes=WORDS),
        "mean, bidirectional": arm("without the mask", "mean", causal=False, mixes=WORDS),
        "self-attention, bidirectional": arm(
            "another layer, then the mean", "self-attention", causal=False, mixes=WORDS
        ),
        "latent, bidirectional": arm("without the mask", "latent", causal=False, mixes=WORDS),
        "retrieval alone": retrieval,
        "topics in batch": in_batch,
        "nv-embed": nv_embed,
        **{
            f"{name}, {FOR_TOPICS}": replace(own, chosen_on=TOPICS)
            for name, own in (
                ("retrieval alone", retrieval), ("topics in batch", in_batch),
                ("nv-embed", nv_embed),
            )
        },
        f"one stage, {FOR_TOPICS}": replace(one_stage, chosen_on=TOPICS),
    },
    baseline=f"retrieval alone, {FOR_TOPICS}",
    method=f"nv-embed, {FOR_TOPICS}",
    gates=(
        Gate(TOPICS, 0.05, f"retrieval alone, {FOR_TOPICS}"),
        Gate(
            "mrr@10", -0.005, "retrieval alone", arm="nv-embed",
            reported="v1: 64.18 after the first stage, 69.32 after the second, mean of 56 tasks"
            " (tables 1 and 2)",
        ),
        Gate(
            "mrr@10", 0.02, "eos, causal", arm="mean, causal",
            reported="+2.26 after the first stage (62.32 over 60.06), +1.63 after the second",
        ),
        Gate(
            "mrr@10", 0.01, "eos, causal", arm="eos, bidirectional",
            reported="+2.62 after the first stage (62.68 over 60.06), +1.35 after the second",
        ),
        Gate(TOPICS, 0.0, f"topics in batch, {FOR_TOPICS}"),
        Gate(
            TOPICS, 0.0, f"one stage, {FOR_TOPICS}", report_only=True,
            reported="two stages 72.31, one without in-batch negatives 71.94, one with them 70.83"
            " (table 4)",
        ),
        Gate("mrr@10", 0.0, "topics in batch", arm="nv-embed", report_only=True),
        Gate(
            "mrr@10", 0.0, "mean, bidirectional", arm="latent, bidirectional", report_only=True,
            reported="v1: +0.18 after the first stage (64.18 over 64.00), +0.35 after the second;"
            " v2: +0.60 (tables 1 to 3)",
        ),
        Gate(
            "mrr@10", 0.0, "self-attention, bidirectional", arm="latent, bidirectional",
            report_only=True, reported="v1: +0.22 after the second stage (table 2)",
        ),
        Gate(
            "mrr@10", 0.0, "latent, causal", arm="latent, bidirectional", report_only=True,
            reported="v1: +0.79 after the first stage (64.18 over 63.39), +0.85 after the second",
        ),
        Gate(
            "mrr@10", 0.0, "mean, causal", arm="mean, bidirectional", report_only=True,
            reported="v1: +1.68 after the first stage (64.00 over 62.32), +0.84 after the second",
        ),
    ),
    scales={
        "miniature": DecoderScale(
            model="packaged:minilm", steps={"first": 1, "second": 1}, seeds=1, trained=60, held=16,
            decoder=Decoder(dim=16, layers=1, heads=2, steps=1, batch=4), heads=2, latents=3,
            negatives=1, batch=6,
        ),
        "small": DecoderScale(
            model="packaged:minilm", steps={"first": 120, "second": 180},
            rates=(1.25e-4, 5e-4, 2e-3),
            trained=6_000, held=800,
        ),
        "full": DecoderScale(
            model="Qwen/Qwen3-0.6B-Base", steps={"first": 20_000, "second": 18_000},
            rates=(1e-5, 2e-5), gpu_gib=80, hub=("Qwen/Qwen3-0.6B-Base", "BAAI/bge-base-en-v1.5"),
            trained=60_000, held=2_000, teacher="BAAI/bge-base-en-v1.5", decoder=None, heads=8,
            latents=512, negatives=7, batch=128, tokens=512,
        ),
    },
)  # fmt: skip
