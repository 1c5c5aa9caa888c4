"""Train, validation and test sides that share no page and no near-duplicate."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Int

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import Components, contained

SIZES: Mapping[str, float] = MappingProxyType({"train": 0.6, "validation": 0.15, "test": 0.25})


def split(
    groups: Sequence[str],
    duplicates: Int[np.ndarray, " rows"],
    sizes: Mapping[str, float] = SIZES,
    seed: int = 0,
    mergeable: Sequence[tuple[int, int]] = (),
) -> list[str]:
    """Gives every row a side, such that what belongs together stays together.

    Rows of one group, or of one near-duplicate cluster, form connected components. Those go, the
    largest first, to the side that lacks most rows. A component of more than half of the rows goes
    to "train", and the others share what remains of it. The answer does not depend on the order of
    the rows.

    Args:
        groups: The group of each row: its page or file.
        duplicates: The near-duplicate cluster of each row.
        sizes: The wanted share of each side; scaled to a sum of 1.
        seed: Orders components of equal size, and sides that lack equally many rows.
        mergeable: Further pairs of rows that may not be divided.

    Returns:
        The side of each row.

    Raises:
        InputError: When there are fewer components than sides.
    """
    if len(groups) != len(duplicates):
        raise ValueError(f"{len(groups)} groups but {len(duplicates)} duplicate clusters.")
    if not sizes or min(sizes.values()) <= 0:
        raise ValueError(f"Every side needs a size above 0: {dict(sizes)}.")
    components = _components(groups, duplicates, mergeable)
    if len(components) < len(sizes):
        raise InputError(
            f"Only {len(components)} independent group(s) of documents, but {len(sizes)} are "
            f"needed, one for each of {', '.join(sizes)}.",
            "Add pages or files that are no near-duplicates of these.",
        )
    lacking = _targets(max(len(rows) for _, rows in components), len(groups), sizes)
    ordered = sorted(components, key=lambda item: (-len(item[1]), _rank(seed, item[0])))
    sides = [""] * len(groups)
    empty = set(sizes)
    for placed, (name, rows) in enumerate(ordered):
        # Once as few components are left as sides are empty, each of these gets one.
        candidates = empty if len(ordered) - placed <= len(empty) else set(sizes)
        if len(rows) > len(groups) / 2 and "train" in sizes:
            side = "train"
        else:
            side = max(candidates, key=lambda side: (lacking[side], _rank(seed, name + side)))
        lacking[side] -= len(rows)
        empty.discard(side)
        for row in rows:
            sides[row] = side
    return sides


def independent_parts(
    groups: Sequence[str],
    duplicates: Int[np.ndarray, " rows"],
    mergeable: Sequence[tuple[int, int]] = (),
) -> Int[np.ndarray, " rows"]:
    """The number of the component that each row belongs to, which `split` never divides.

    Args:
        groups: As for `split`.
        duplicates: As for `split`.
        mergeable: As for `split`.
    """
    numbers = np.empty(len(groups), dtype=np.int64)
    for number, (_, rows) in enumerate(_components(groups, duplicates, mergeable)):
        numbers[rows] = number
    return numbers


def leakage(
    sides: Sequence[str],
    groups: Sequence[str],
    duplicates: Int[np.ndarray, " rows"],
    texts: Sequence[str],
    queries: Mapping[str, Sequence[str]],
) -> dict[str, int]:
    """Counts what one side of a split knows of another.

    Args:
        sides: The side of each row.
        groups: The group of each row.
        duplicates: The near-duplicate cluster of each row.
        texts: The text of each row.
        queries: The queries of each side.

    Returns:
        `shared_groups` and `near_duplicates_across`: groups and clusters with rows on several
        sides. `queries_inside_other_side`: queries of four or more words whose words stand in a
        row inside a text of another side.
    """
    rows = list(zip(sides, groups, duplicates.tolist(), texts, strict=True))
    inside = 0
    for side, wanted in queries.items():
        others = [text for other, _, _, text in rows if other != side]
        inside += int(contained(wanted, others).sum())
    return {
        "shared_groups": _divided((group, side) for side, group, _, _ in rows),
        "near_duplicates_across": _divided((cluster, side) for side, _, cluster, _ in rows),
        "queries_inside_other_side": inside,
    }


def _components(
    groups: Sequence[str],
    duplicates: Int[np.ndarray, " rows"],
    pairs: Sequence[tuple[int, int]],
) -> list[tuple[str, list[int]]]:
    """Each component's rows, under the first of its groups' names: the same for any row order."""
    joined = Components(len(groups))
    for keys in (groups, duplicates.tolist()):
        first: dict[object, int] = {}
        for row, key in enumerate(keys):
            joined.join(first.setdefault(key, row), row)
    for a, b in pairs:
        joined.join(a, b)
    members: dict[int, list[int]] = defaultdict(list)
    for row, component in enumerate(joined.numbers().tolist()):
        members[component].append(row)
    return [(min(groups[row] for row in rows), rows) for rows in members.values()]


def _targets(largest: int, rows: int, sizes: Mapping[str, float]) -> dict[str, float]:
    """The rows that each side should get, given the largest component."""
    total = sum(sizes.values())
    targets = {side: rows * size / total for side, size in sizes.items()}
    if largest > max(rows / 2, targets.get("train", rows)):
        rest = (rows - largest) / (rows - targets["train"])
        targets = {side: target * rest for side, target in targets.items()} | {"train": largest}
    return targets


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).hexdigest()


def _divided(pairs: Iterable[tuple[object, str]]) -> int:
    """How many keys occur with more than one side."""
    return sum(count > 1 for count in Counter(key for key, _ in set(pairs)).values())
