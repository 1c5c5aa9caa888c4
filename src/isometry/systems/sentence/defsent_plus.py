"""Sentence vectors out of a dictionary: a definition must name its entry, of whatever length.

Good sentence encoders are trained on labelled pairs, which few languages have; dictionaries exist
for most. DefSent trains an encoder to predict the defined word from its definition, against the
model's own word embeddings, so an entry must be one token of the vocabulary. DefSent+ makes the
vector of an entry out of its definitions, as their mean by the encoder itself; then an entry may be
a phrase, a name, anything. The classes stay frozen, and are thrown away afterwards. In progressive
separate training the next round's entries come from the round before, while its weights start from
the pretrained ones again: only the targets get better. Entries may also be made isotropic, by ICA.
"""

from __future__ import annotations

from dataclasses import replace

from isometry.systems.dictionary_study import (
    DictionaryRun,
    DictionaryScale,
    centred_words,
    data,
    entries_by,
    least_squares,
    made_independent,
)
from isometry.systems.naming_study import (
    HALVES,
    WHOLE,
    Defined,
    measure,
    name_entries,
    untouched,
)
from isometry.systems.system import Arm, Gate, System

BY_CLASSES = "mrr@100, trained classes"


def word_classes(run: DictionaryRun) -> Defined:
    """DefSent: entries that are one token, by the encoder's own word embeddings.

    The layer before them starts as the linear map from definitions to their entries. The head of
    a masked language model, which DefSent takes over, has been trained to be one.
    """
    classes, entries = centred_words(run)
    return name_entries(run, *WHOLE, classes, entries, least_squares(run, classes, entries))


def definition_classes(run: DictionaryRun) -> Defined:
    """DefSent+ in one stage: all entries, by their definitions."""
    _, _, classes, entries = untouched(run)
    return name_entries(run, *WHOLE, classes, entries)


def independent_classes(run: DictionaryRun) -> Defined:
    """The same, after ICA; vectors go through its map, where training starts."""
    _, _, classes, entries = untouched(run)
    ica = made_independent(run, classes)
    return name_entries(run, *WHOLE, ica.transform(classes), entries, ica)


def progressive_classes(run: DictionaryRun) -> Defined:
    """DefSent+ in two stages: entries by the first one's encoder; weights start afresh."""
    first, second = HALVES
    _, _, classes, entries = untouched(run)
    better = name_entries(run, first, classes, entries)
    return name_entries(run, second, entries_by(better.encode, run.train), entries)


defsent = Arm("word embeddings of the entries that are one token", word_classes, WHOLE)
defsent_plus = Arm(
    "means of definitions by the encoder of a first stage, in a second one that starts from the"
    " untouched weights",
    progressive_classes,
    HALVES,
)

system = System(
    title="DefSent+: sentence vectors out of a dictionary with entries of any length",
    arxiv="2405.16153",
    claim="It uses every entry, where DefSent uses those of one token; among these a definition"
    " that was held out finds its word better than after DefSent, and what the encoder could do"
    " before it still can.",
    differs="Nouns of WordNet with several senses and MiniLM, which has been trained by contrast"
    " already, stand in for the tables of Oxford and WordNet and for raw BERT and RoBERTa; reverse"
    " dictionary, SimLex-999 and WordSim-353 for the STS tasks, of which nothing is claimed."
    " MiniLM comes without a masked-language head, and its pooler was never trained. So a dense"
    " layer stands before the classes, for the paper's pooler and DefSent's frozen head. It starts"
    " as the identity; with ICA as the whitening, and in DefSent as the least squares from"
    " definitions to word embeddings, of which their mean is taken away. Vectors and classes are"
    " compared by the cosine at a temperature of 0.05, where the paper takes products; cosines do"
    " not know the factor of 100 that it multiplies entries by after ICA, so there is none."
    " DefSent's softmax is over the entries that are tokens, not over the vocabulary. A training"
    " in one stage has as many steps as both stages together. For time, a small stage is 150 steps"
    " of 32 definitions; the paper goes through the dictionary once. Word embeddings are frozen,"
    " and dropout is off. The rate rises in the first tenth of the steps, as DefSent's does;"
    " DefSent+ has no warm-up. All arms pool by the mean: the first token and a prompt with a mask"
    " are not compared.",
    data=data,
    measure=measure,
    arms={
        "untouched": Arm("the encoder as it is", untouched),
        "defsent": defsent,
        "defsent, by its classes": replace(defsent, chosen_on=BY_CLASSES),
        "one stage": Arm(
            "means of definitions by the untouched encoder", definition_classes, WHOLE
        ),
        "one stage, ica": Arm("the same, made isotropic by ICA", independent_classes, WHOLE),
        "defsent+": defsent_plus,
        "defsent+, by its classes": replace(defsent_plus, chosen_on=BY_CLASSES),
    },
    baseline="defsent",
    method="defsent+",
    gates=(
        Gate("mrr@100", 0.03, "defsent"),
        Gate(
            BY_CLASSES, 0.03, "defsent, by its classes", arm="defsent+, by its classes",
        ),
        Gate("share of entries covered", 1.0),
        Gate("share of entries covered", 0.5, arm="defsent", lower_is_better=True),
        Gate("change of effective rank", 1.0, arm="one stage, ica"),
        Gate("mean cosine of classes", 0.05, arm="one stage, ica", lower_is_better=True),
        Gate("change of simlex-999", -0.02),
        Gate("change of wordsim-353 or mrr@100, the better", 0.0),
        Gate("lexicographer file", -0.01, "untouched"),
        Gate("mrr@100", 0.0, "untouched", report_only=True),
        Gate("mrr@100", 0.0, "one stage", report_only=True),
        Gate("mrr@100", 0.0, "one stage", arm="one stage, ica", report_only=True),
    ),
    scales={
        "miniature": DictionaryScale(
            # More entries than MiniLM's dimensions, which ICA needs.
            model="packaged:minilm", steps={"whole": 2, "first": 1, "second": 1}, seeds=1,
            entries=400, senses=2, validated=20, tested=20, pairs=4, examples=1, batch=8,
            iterations=3,
        ),
        "small": DictionaryScale(
            model="packaged:minilm", steps={"whole": 300, "first": 150, "second": 150},
            rates=(2e-6, 1e-5, 5e-5), entries=8_000, validated=1_000, tested=3_000,
        ),
        "full": DictionaryScale(
            model="google-bert/bert-base-uncased",
            steps={"whole": 2_000, "first": 1_000, "second": 1_000}, rates=(1e-6, 5e-6, 2e-5),
            gpu_gib=24, hub=("google-bert/bert-base-uncased",), entries=16_000, validated=2_000,
            # BERT's vectors differ by little: its cosines lie closer together than MiniLM's.
            tested=6_000, tokens=128, temperature=0.01, iterations=1_000,
        ),
    },
)  # fmt: skip
