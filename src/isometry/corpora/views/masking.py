"""Tokens -> masked tokens and what stood there: single tokens, whole words, n-grams, segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

# The label of a position that is no target, as `torch.nn.CrossEntropyLoss` ignores it.
IGNORED = -100


def mask_units(
    ids: Int[np.ndarray, "b t"],
    maskable: Bool[np.ndarray, "b t"],
    p: float,
    *,
    mask_id: int,
    generator: np.random.Generator,
    units: Int[np.ndarray, "b t"] | None = None,
    within: Bool[np.ndarray, "b t"] | None = None,
    most: int | None = None,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    random_ids: Int[np.ndarray, " v"] | None = None,
) -> tuple[Int[np.ndarray, "b t"], Int[np.ndarray, "b t"]]:
    """Chooses targets and hides them (Devlin et al. 2019, section 3.1 and appendix A.1).

    In each row, units in random order become targets until the share `p` of the maskable tokens is
    reached; a unit that would go beyond it is passed over. A row with anything to mask gets at
    least one target: where every unit is longer than the share allows, the shortest. Rows do not
    depend on how far they are padded, but on the rows before them.

    Masks nest: with `within`, only units that lie wholly in a larger mask are chosen, while `p`
    stays the share of all maskable tokens. Draw the larger mask first; Starbucks' encoder masks
    20 % within the decoder's 40 % (Zhuang et al. 2024, SMAE).

    Args:
        ids: Token ids.
        maskable: Where a target may be: not on special tokens, padding, or a segment to leave out.
        p: The share of the maskable tokens that become targets, between 0 and 1.
        mask_id: The id of the mask token.
        generator: The only source of randomness.
        units: The number of the unit that a position belongs to (see `word_units`); its maskable
            positions become targets together. Negative where there is none: never a target.
            Without units each position stands for itself.
        within: A larger mask, for instance `labels != IGNORED` of an earlier call.
        most: How many targets a row has at most.
        shares: Of the targets, how many are replaced by the mask, by a random token, and left.
        random_ids: What a random token is drawn from; needed where its share is not 0.

    Returns:
        The masked ids; and the labels: the id that stood at a target, `IGNORED` elsewhere.

    Raises:
        ValueError: For `p` outside (0, 1), shares that are none, `most` below 1, or a share of
            random tokens without `random_ids`.

    Example:
        >>> ids = np.arange(10, 16)[None]
        >>> words = np.array([[0, 0, 0, 1, 1, 1]])
        >>> masked, labels = mask_units(
        ...     ids,
        ...     np.ones_like(ids, dtype=bool),
        ...     0.5,
        ...     mask_id=0,
        ...     generator=np.random.default_rng(0),
        ...     units=words,
        ...     shares=(1.0, 0.0, 0.0),
        ... )
        >>> masked.tolist(), labels.tolist()
        ([[0, 0, 0, 13, 14, 15]], [[10, 11, 12, -100, -100, -100]])
    """
    if not 0 < p < 1:
        raise ValueError(f"p must lie between 0 and 1, not {p}")
    if most is not None and most < 1:
        raise ValueError(f"most must be at least 1, not {most}")
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares must be three parts of 1, not {shares}")
    if shares[1] > 0 and (random_ids is None or not len(random_ids)):
        raise ValueError("random tokens need random_ids to be drawn from")
    if units is None:
        units = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    targets = np.zeros(ids.shape, dtype=bool)
    for row in range(len(ids)):
        positions = np.flatnonzero(maskable[row] & (units[row] >= 0))
        inside = np.ones(len(positions), dtype=bool) if within is None else within[row, positions]
        chosen = _choose(units[row, positions], inside, p, most, generator)
        targets[row, positions[chosen]] = True
    labels = np.where(targets, ids, IGNORED)
    masked = ids.copy()
    # One draw a target, none for the rest: padding changes nothing.
    rows, columns = np.nonzero(targets)
    draw = generator.random(len(rows))
    hidden = draw < shares[0]
    masked[rows[hidden], columns[hidden]] = mask_id
    swapped = ~hidden & (draw < shares[0] + shares[1])
    if random_ids is not None and swapped.any():
        masked[rows[swapped], columns[swapped]] = generator.choice(random_ids, swapped.sum())
    return masked, labels


def _choose(
    units: Int[np.ndarray, " n"],
    inside: Bool[np.ndarray, " n"],
    p: float,
    most: int | None,
    generator: np.random.Generator,
) -> Bool[np.ndarray, " n"]:
    """Which positions of a row are targets."""
    _, unit, sizes = np.unique(units, return_inverse=True, return_counts=True)
    free = np.ones(len(sizes), dtype=bool)
    free[unit[~inside]] = False
    room = max(1, round(p * len(units)))
    if most is not None:
        room = min(room, most)
    order = generator.permutation(len(sizes))
    order = order[free[order]]
    taken = np.zeros(len(sizes), dtype=bool)
    left = room
    for number in order.tolist():
        if sizes[number] <= left:
            taken[number] = True
            left -= int(sizes[number])
            if left == 0:
                break
    if left == room and len(order):
        shortest = order[np.argmin(sizes[order])]
        taken[shortest] = most is None or sizes[shortest] <= most
    return taken[unit]


def word_units(word_ids: Sequence[Sequence[int | None]]) -> Int[np.ndarray, "b t"]:
    """The words of a padded batch, as `mask_units` takes them.

    Args:
        word_ids: Of each row, `tokenizers.Encoding.word_ids`: what the tokenizer's own
            pre-tokenizer calls a word; None for special tokens and padding.

    Returns:
        The same numbers, -1 for None.

    Raises:
        ValueError: When the rows differ in length.
    """
    if len({len(row) for row in word_ids}) > 1:
        raise ValueError("the rows differ in length: pad them first")
    rows = [[-1 if word is None else word for word in row] for row in word_ids]
    return np.array(rows, dtype=np.int64)
