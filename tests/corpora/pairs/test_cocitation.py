from __future__ import annotations

import networkx as nx
import pytest

from isometry.core.errors import InputError
from isometry.corpora.pairs.cocitation import cocitation, never_cited_together

EDGES = [("x", "b"), ("x", "a"), ("x", "c"), ("y", "c"), ("y", "b"), ("z", "a"), ("z", "a"),
         ("z", "z"), ("a", "b")]  # fmt: skip


def test_pairs_are_those_that_one_document_cites() -> None:
    # b and c come from x and from y, once. That a cites b itself makes no pair, nor does z.
    assert cocitation(EDGES) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert cocitation([("z", "a"), ("z", "z")]) == []


def test_it_is_what_networkx_finds_with_a_common_predecessor() -> None:
    graph = nx.gnp_random_graph(30, 0.1, seed=0, directed=True)
    edges = [(str(a), str(b)) for a, b in graph.edges]
    expected = {
        tuple(sorted((str(a), str(b))))
        for a in graph
        for b in graph
        if a < b and set(graph.predecessors(a)) & set(graph.predecessors(b))
    }
    found = cocitation(edges)
    assert len(found) == len(set(found)) and set(found) == expected


def test_a_long_list_gives_so_many_pairs_whatever_stands_beside_it() -> None:
    long = [("x", f"{number:02}") for number in range(30)]
    some = cocitation(long, 7)
    assert len(set(some)) == 7 and set(some) <= set(cocitation(long))
    assert cocitation([("y", "a"), ("y", "b"), *reversed(long)], 7)[1:] == some
    assert cocitation(long, 7, seed=1) != some
    assert len(cocitation(EDGES, 3)) == 3
    with pytest.raises(ValueError, match="at least 1"):
        cocitation(EDGES, 0)


def test_negatives_are_all_other_pairs_and_no_more() -> None:
    pairs = [("a", "b"), ("c", "b"), ("elsewhere", "a")]
    found = never_cited_together(["d", "a", "b", "c", "a"], pairs, 4)
    assert sorted(found) == [("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    with pytest.raises(InputError, match="4 pairs are not cited together, not 5"):
        never_cited_together(["a", "b", "c", "d"], pairs, 5)
    with pytest.raises(InputError, match="1 documents"):
        never_cited_together(["a", "a"], [], 1)
