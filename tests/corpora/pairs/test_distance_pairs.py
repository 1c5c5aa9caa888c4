from __future__ import annotations

from collections import Counter

import networkx as nx
import pytest

from isometry.corpora.hierarchy import Hierarchy
from isometry.corpora.packaged.human_phenotypes import phenotypes
from isometry.corpora.pairs.distance_pairs import distance_pairs


@pytest.fixture(scope="module")
def real() -> Hierarchy:
    return Hierarchy(phenotypes().pairs("is_a"))


def test_every_distance_has_its_pairs_and_a_peer_finds_the_same(real: Hierarchy) -> None:
    names = list(real.below("HP:0000707"))[::10]
    pairs = distance_pairs(real, names, most=4, count=15)
    found = list(
        zip(pairs.first.tolist(), pairs.second.tolist(), pairs.apart.tolist(), strict=True)
    )
    assert len(pairs) == len(found) == len({(a, b) for a, b, _ in found})
    assert all(a < b for a, b, _ in found)
    counts = Counter(apart for _, _, apart in found)
    assert set(counts) == {1, 2, 3, 4, 5} and max(counts.values()) == counts[5] == 15
    graph = nx.Graph((node, up) for node in real.nodes for up in real.parents[node])
    for first, second, apart in found:
        steps = nx.shortest_path_length(graph, names[first], names[second])
        assert min(steps, 5) == apart
    # Mixed, so that every tenth pair is of any distance.
    assert len({apart for _, _, apart in found[:12]}) > 2
    again = distance_pairs(real, names, most=4, count=15)
    assert again.first.tolist() == pairs.first.tolist()
    other = distance_pairs(real, names, most=4, count=15, seed=1)
    assert other.first.tolist() != pairs.first.tolist()


def test_what_no_way_leads_to_is_unrelated() -> None:
    pairs = distance_pairs(
        Hierarchy([("a", "top"), ("b", "top"), ("c", "other")]), ["a", "b", "c"], most=6, count=9
    )
    found = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.apart.tolist(), strict=True)
    assert sorted(found) == [(0, 1, 2), (0, 2, 7), (1, 2, 7)]
