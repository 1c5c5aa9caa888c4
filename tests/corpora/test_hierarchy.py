from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.corpora import hierarchy
from isometry.corpora.hierarchy import Hierarchy
from isometry.corpora.packaged.human_phenotypes import phenotypes as human_phenotypes

# A pet is an animal by two ways, one of them longer.
EDGES = [
    ("dog", "canine"),
    ("dog", "pet"),
    ("wolf", "canine"),
    ("canine", "carnivore"),
    ("carnivore", "animal"),
    ("pet", "animal"),
    ("dog", "pet"),
    ("oak", "plant"),
]


@pytest.fixture(scope="module")
def phenotypes() -> Hierarchy:
    return Hierarchy(human_phenotypes().pairs("is_a"))


def test_who_stands_above_whom_by_the_nearest_way() -> None:
    small = Hierarchy(EDGES)
    assert small.nodes == ["dog", "canine", "pet", "wolf", "carnivore", "animal", "oak", "plant"]
    assert small.ancestors("dog") == {"canine": 1, "pet": 1, "carnivore": 2, "animal": 2}
    assert list(small.ancestors("dog"))[:2] == ["canine", "pet"]
    assert small.ancestors("animal") == {}
    assert small.parents["dog"] == ("canine", "pet")
    assert small.tops("dog") == ["animal"] and small.tops("plant") == ["plant"]
    assert Hierarchy([*EDGES, ("pet", "friend")]).tops("dog") == ["animal", "friend"]
    assert "wolf" in small and "cat" not in small


def test_distances_go_up_and_down_to_where_they_are_cut() -> None:
    nodes = ["dog", "wolf", "animal", "oak", "dog"]
    assert Hierarchy(EDGES).distances(nodes, 9).tolist() == [
        [0, 2, 2, -1, 0],
        [2, 0, 3, -1, 2],
        [2, 3, 0, -1, 2],
        [-1, -1, -1, 0, -1],
        [0, 2, 2, -1, 0],
    ]
    assert Hierarchy(EDGES).distances(nodes[:3], 2).tolist() == [[0, 2, 2], [2, 0, -1], [2, -1, 0]]
    far = Hierarchy(EDGES).distances(["dog", "wolf", "animal", "oak"], 2, beyond=3).tolist()
    assert far == [[0, 2, 2, 3], [2, 0, 3, 3], [2, 3, 0, 3], [3, 3, 3, 0]]
    assert Hierarchy(EDGES).distances(["dog", "pet", "oak"], 1).tolist() == [
        [0, 1, -1],
        [1, 0, -1],
        [-1, -1, 0],
    ]


def test_distances_of_a_real_ontology_are_those_of_a_peer(
    phenotypes: Hierarchy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    nodes = [phenotypes.nodes[row] for row in rng.choice(len(phenotypes.nodes), 30)]
    nodes += [phenotypes.parents[node][0] for node in nodes if phenotypes.parents[node]]
    graph = nx.Graph((node, up) for node in phenotypes.nodes for up in phenotypes.parents[node])
    expected = np.full((len(nodes), len(nodes)), -1)
    for row, node in enumerate(nodes):
        near = nx.single_source_shortest_path_length(graph, node, cutoff=7)
        expected[row] = [near.get(other, -1) for other in nodes]
    ours = phenotypes.distances(nodes, 7)
    np.testing.assert_array_equal(ours, expected)
    assert set(np.unique(ours)) > {-1, 0, 1, 4, 7}
    monkeypatch.setattr(hierarchy, "_DISTANCES_AT_ONCE", 7 * len(phenotypes.nodes))
    np.testing.assert_array_equal(phenotypes.distances(nodes, 7), expected)


def test_ancestors_of_a_real_ontology_are_those_of_a_peer(phenotypes: Hierarchy) -> None:
    graph = nx.DiGraph((node, up) for node in phenotypes.nodes for up in phenotypes.parents[node])
    for node in phenotypes.nodes[:3000:100]:
        above = nx.single_source_shortest_path_length(graph, node)
        assert phenotypes.ancestors(node) == {key: s for key, s in above.items() if s}
        assert phenotypes.tops(node) == ["HP:0000001"]


def test_a_cycle_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"cycle among 3 concepts: 'b', 'c', 'd'"):
        Hierarchy([("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("d", "e")])
    with pytest.raises(InputError, match="'b' stands above itself"):
        Hierarchy([("a", "b"), ("b", "b")])
    # Two ways up are no cycle.
    Hierarchy([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("a", "d")])


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="at least one edge"):
        Hierarchy([])
    small = Hierarchy(EDGES)
    for ask in (small.ancestors, small.tops, lambda node: small.distances(["dog", node], 2)):
        with pytest.raises(InputError, match="'cat' is not in the hierarchy"):
            ask("cat")
    with pytest.raises(ValueError, match="at least 1"):
        small.distances(["dog"], 0)


def test_what_is_around_and_below_is_what_a_peer_finds(phenotypes: Hierarchy) -> None:
    up = nx.DiGraph((node, up) for node in phenotypes.nodes for up in phenotypes.parents[node])
    both = up.to_undirected()
    for node in phenotypes.nodes[:3000:200]:
        near = nx.single_source_shortest_path_length(both, node, cutoff=3)
        assert phenotypes.around(node, 3) == {key: s for key, s in near.items() if s}
        assert set(phenotypes.below(node)) == nx.ancestors(up, node)
    steps = list(phenotypes.around("HP:0001507", 4).values())
    assert steps == sorted(steps)
    assert phenotypes.below("HP:0000118")["HP:0001507"] == 1
    assert phenotypes.around("HP:0001507", 0) == {}
