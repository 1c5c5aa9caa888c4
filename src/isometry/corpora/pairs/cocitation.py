"""References among documents -> pairs that a third one refers to together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations

import numpy as np

from isometry.core.errors import InputError


def cocitation(
    edges: Iterable[tuple[str, str]], max_pairs_per_citer: int | None = None, *, seed: int = 0
) -> list[tuple[str, str]]:
    """The pairs of documents that one document cites, each once.

    Two papers that a third one cites are about the same (Small 1973, "Co-citation in the scientific
    literature"); Hallee et al. ("Contrastive Learning and Mixture of Experts Enables Precise Vector
    Embeddings") train on such pairs of abstracts. It serves any graph of references, such as the
    "See Also" of manuals. Who cites itself is no matter.

    Args:
        edges: Who cites whom; one that stands twice counts once.
        max_pairs_per_citer: Of a document that cites many, so many pairs at random. A list of a
            hundred says less of any two of them, and has 4,950 pairs. None takes all.
        seed: Of that choice, which depends on a document's own references alone.

    Returns:
        Both ids in order, pairs in the order of their first citer.

    Raises:
        ValueError: When the maximum is below 1.
    """
    if max_pairs_per_citer is not None and max_pairs_per_citer < 1:
        raise ValueError(f"a document gives at least 1 pair, not {max_pairs_per_citer}")
    cited: dict[str, dict[str, None]] = defaultdict(dict)
    for citer, other in edges:
        if citer != other:
            cited[citer][other] = None
    pairs: dict[tuple[str, str], None] = {}
    for citer, others in cited.items():
        own = list(combinations(sorted(others), 2))
        if max_pairs_per_citer is not None and len(own) > max_pairs_per_citer:
            random = np.random.default_rng([seed, *citer.encode()])
            chosen = random.choice(len(own), max_pairs_per_citer, replace=False)
            own = [own[number] for number in sorted(chosen.tolist())]
        pairs |= dict.fromkeys(own)
    return list(pairs)


def never_cited_together(
    ids: Sequence[str], pairs: Collection[tuple[str, str]], count: int, *, seed: int = 0
) -> list[tuple[str, str]]:
    """Random pairs of documents that are not among those cited together, each once.

    Args:
        ids: The documents.
        pairs: Those cited together, all of them.
        count: How many.
        seed: Of the draw.

    Returns:
        Both ids in order.

    Raises:
        InputError: When there are fewer than two documents, or not so many such pairs.
    """
    ids = sorted(set(ids))
    if len(ids) < 2:
        raise InputError(f"There are {len(ids)} documents; a pair takes two.")
    there = set(ids)
    known = {tuple(sorted(pair)) for pair in pairs if pair[0] != pair[1] and there.issuperset(pair)}
    possible = len(ids) * (len(ids) - 1) // 2 - len(known)
    if possible < count:
        raise InputError(
            f"Of {len(ids)} documents, {possible} pairs are not cited together, not {count}.",
            "Give more documents, or ask for fewer pairs.",
        )
    random = np.random.default_rng(seed)
    found: dict[tuple[str, str], None] = {}
    while len(found) < count:
        first, second = sorted(random.choice(len(ids), 2, replace=False).tolist())
        pair = ids[first], ids[second]
        if pair not in known:
            found[pair] = None
    return list(found)
