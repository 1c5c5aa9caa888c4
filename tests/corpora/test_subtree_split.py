from __future__ import annotations

import pytest

from isometry.corpora.hierarchy import Hierarchy
from isometry.corpora.packaged.human_phenotypes import phenotypes
from isometry.corpora.subtree_split import subtree_split


@pytest.fixture(scope="module")
def real() -> Hierarchy:
    return Hierarchy(phenotypes().pairs("is_a"))


def test_sides_are_whole_subtrees_without_a_common_node(real: Hierarchy) -> None:
    sides = subtree_split(real, ("test", "validation"), held=200, sizes=(8, 60))
    assert list(sides) == ["test", "validation"]
    assert not set(sides["test"]) & set(sides["validation"])
    for nodes in sides.values():
        assert len(set(nodes)) == len(nodes)
        # It stops as soon as there are enough.
        assert 200 <= len(nodes) < 260
        left = list(nodes)
        roots = 0
        while left:
            own = {left[0], *real.below(left[0])}
            assert 8 <= len(own) <= 60 and own == set(left[: len(own)])
            left = left[len(own) :]
            roots += 1
        assert roots >= 4


def test_the_seed_decides_and_the_first_side_chooses_first(real: Hierarchy) -> None:
    settings = {"held": 50, "sizes": (8, 60)}
    both = subtree_split(real, ("test", "validation"), **settings)
    assert subtree_split(real, ("test", "validation"), **settings) == both
    assert subtree_split(real, ("test",), **settings)["test"] == both["test"]
    assert subtree_split(real, ("test",), seed=1, **settings)["test"] != both["test"]


def test_what_there_is_not_enough_of_leaves_a_side_short() -> None:
    # Two subtrees of two nodes, which share one; a third of one node.
    small = Hierarchy([("a", "one"), ("a", "two"), ("one", "top"), ("two", "top"), ("b", "top")])
    sides = subtree_split(small, ("x", "y"), held=2, sizes=(2, 2))
    assert sorted(sides["x"]) in (["a", "one"], ["a", "two"])
    assert sides["y"] == []
