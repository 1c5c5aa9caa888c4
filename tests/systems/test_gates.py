"""What decides stands before a first run, and stays: a threshold that moved would be no proof.

The other systems' gates are pinned beside their own tests.
"""

from __future__ import annotations

import pytest

from isometry.systems.catalogue import find

# Metric, arm, at least (at most, for what is better low), versus.
GATES = {
    "moe-embeddings": [
        ("auc", "moe", 0.0, "joint"),
        ("f1max", "moe", -0.01, "separate"),
        ("f1max", "moe", 0.0, "joint"),
        ("auc", "joint", 0.03, "untouched"),
        ("auc, opposed labels", "moe, for opposed labels", 0.05, "joint, for opposed labels"),
    ],
    "hiprbert": [
        ("spearman with nearness", "hiprbert", 0.03, "synonyms"),
        ("auc, near from far", "hiprbert", 0.01, "synonyms"),
        ("synonym found", "hiprbert", -0.02, "synonyms"),
        ("organ system", "hiprbert", 0.02, "synonyms"),
    ],
    "defsent-plus": [
        ("mrr@100", "defsent+", 0.03, "defsent"),
        (
            "mrr@100, trained classes", "defsent+, by its classes", 0.03, "defsent, by its classes",
        ),
        ("share of entries covered", "defsent+", 1.0, None),
        ("share of entries covered", "defsent", 0.5, None),
        ("change of effective rank", "one stage, ica", 1.0, None),
        ("mean cosine of classes", "one stage, ica", 0.05, None),
        ("change of simlex-999", "defsent+", -0.02, None),
        ("change of wordsim-353 or mrr@100, the better", "defsent+", 0.0, None),
        ("lexicographer file", "defsent+", -0.01, "untouched"),
    ],
    "reccon": [
        ("f1 of causes", "reccon", 0.05, "cosine"),
        ("f1 of causes", "reccon", 0.01, "nearest"),
        ("f1 of causes", "reccon", 0.0, "blind"),
        ("cause found first", "reccon", 0.0, "blind"),
        ("f1 of words", "reccon, for words", 0.0, "cosine"),
        ("f1 of words", "reccon, for words", 0.0, "blind, for words"),
        ("f1 lost to negatives of the same kind", "other texts", 0.01, None),
        ("f1 of causes", "reccon", 0.0, "other texts"),
        ("f1 of causes", "reccon", 0.0, "same kind"),
    ],
    "self-positioning": [
        ("normalised mean", "self-positioning", 0.01, "proportional joint"),
        ("normalised mean", "self-positioning", 0.0, "average"),
        ("worst task", "self-positioning", 0.0, "proportional joint"),
        ("share of the experts' gain", "self-positioning", 0.7, None),
        ("worst task", "self-positioning", 0.0, "average"),
        ("worst task", "self-positioning", 0.0, "task arithmetic"),
        ("worst task", "self-positioning", 0.0, "slerp"),
        ("worst task", "self-positioning", 0.0, "ties"),
        ("worst task", "self-positioning", 0.0, "dare"),
        ("probe loss over the best start", "self-positioning", 0.0, None),
        ("probe loss", "self-positioning", -1e-4, "average"),
    ],
}  # fmt: skip
# Those of these systems whose figure is better when it is lower.
LOW = {
    "probe loss over the best start", "probe loss", "mean cosine of classes",
    ("share of entries covered", "defsent"),
}  # fmt: skip


@pytest.mark.parametrize("slug", GATES)
def test_what_decides_stays_as_it_was_set(slug: str) -> None:
    (entry,) = find(slug)
    system = entry.load()
    decide = [gate for gate in system.gates if not gate.report_only]
    found = [(gate.metric, system.arm_of(gate), gate.at_least, gate.versus) for gate in decide]
    assert found == GATES[slug]
    for gate in decide:
        low = gate.metric in LOW or (gate.metric, system.arm_of(gate)) in LOW
        assert gate.lower_is_better == low, gate
    assert system.scales["small"].seeds == 3


def test_no_compressed_table_is_far_better_than_the_whole_one() -> None:
    (entry,) = find("vector-compression")
    system = entry.load()
    method, budget, *others = (gate for gate in system.gates if not gate.report_only)
    assert (method.metric, system.arm_of(method), method.at_least, method.versus) == (
        "auc", "AdaptEmb 1/50", 0.005, "hash 1/50",
    )  # fmt: skip
    assert (budget.metric, budget.at_least, budget.lower_is_better) == (
        "times its budget", 1.02, True,
    )  # fmt: skip
    whole = "full table 1/1"
    assert [gate.versus for gate in others] == [name for name in system.arms if name != whole]
    assert {(gate.metric, gate.arm, gate.at_least) for gate in others} == {("auc", whole, -0.005)}
