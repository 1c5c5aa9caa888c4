from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.corpora.curation import set_join
from isometry.corpora.curation.dedup import Components
from isometry.corpora.curation.set_join import connecting_pairs


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    shared = len(np.intersect1d(a, b))
    return shared / (len(a) + len(b) - shared)


def components(sets: list[np.ndarray], least: float, pairs: Iterable[tuple[int, int]]) -> list[int]:
    found = Components(len(sets))
    for a, b in pairs:
        if jaccard(sets[a], sets[b]) >= least:
            found.join(a, b)
    return found.numbers().tolist()


def templated(rng: random.Random, count: int, own: range) -> list[np.ndarray]:
    """Sets of a template's elements (some leave a few out) and of elements of their own."""
    sets = []
    for _ in range(count):
        base = rng.choice([range(1000, 1008), range(2000, 2012), range(1004, 1016)])
        kept = [each for each in base if rng.random() < rng.choice([0.8, 1.0])]
        members = {*kept, *rng.choices(range(100), k=rng.choice(own)), rng.randrange(100)}
        sets.append(np.array(sorted(members), dtype=np.uint64))
    return sets


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(2, 40), st.integers(0, 6), st.sampled_from([0.3, 0.5, 0.7])
)
def test_the_components_are_those_of_comparing_everybody_with_everybody(
    seed: int, count: int, common: int, least: float
) -> None:
    sets = templated(random.Random(seed), count, range(9))
    everybody = components(sets, least, itertools.combinations(range(count), 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_join, "COMMON", common)
        assert components(sets, least, connecting_pairs(sets, least)) == everybody


def test_pages_of_one_template_propose_pairs_in_their_number_not_its_square() -> None:
    template = np.arange(10_000, 10_060, dtype=np.uint64)
    pages = [
        np.concatenate([np.arange(40 * page, 40 * page + 40, dtype=np.uint64), template + 10**6])
        for page in range(500)
    ]
    assert jaccard(pages[0], pages[1]) < 0.6
    assert list(connecting_pairs(pages, 0.6)) == []
    assert len(list(connecting_pairs(pages, 0.4))) == 499
