"""Texts that are the same or nearly the same, and texts that lie inside others.

Broder (1997), "On the resemblance and containment of documents", for shingles and MinHash;
Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4, for the bands.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int, UInt64

from isometry.corpora.curation.set_join import connecting_pairs

PERMUTATIONS = 128
FAMILIES = ((2, 1, 30), (3, 25, 60), (5, 50, None))
"""Words per shingle for texts of so many words. The ranges overlap, so that two texts whose lengths
differ by an edit or two share one of them."""
MARGIN = 0.8
"""Where no two edits touch the same shingle, the similarity is (1 - ke) / (1 + ke), which stays
above 0.8 of the expected one for k = 5 and e = 0.1."""
CROWD = 64
"""Beyond so many dissimilar texts in a bucket, not each is compared with each."""
NEEDLE_WORDS = 4

# Scripts that put no spaces between words count one word a character: Thai, Lao, Myanmar, Khmer,
# kana, Han.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def normalize(text: str) -> str:
    """The text in case-folded form with single spaces."""
    return " ".join(text.casefold().split())


def words(text: str) -> list[str]:
    """The words without punctuation; single characters in scripts that use no spaces."""
    return _WORD.findall(text)


def says(text: str, name: str) -> bool:
    """Whether a text has the words of a name in a row; case and punctuation do not count."""
    said, wanted = (" ".join(words(each.casefold())) for each in (text, name))
    return wanted != "" and f" {wanted} " in f" {said} "


class Components:
    """Connected components of rows, joined one pair at a time (union by smaller root)."""

    def __init__(self, rows: int) -> None:
        self._parent = list(range(rows))

    def find(self, row: int) -> int:
        """The first row of the component that `row` is in."""
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row

    def join(self, a: int, b: int) -> None:
        """Makes the components of two rows one."""
        a, b = sorted((self.find(a), self.find(b)))
        self._parent[b] = a

    def numbers(self) -> Int[np.ndarray, " rows"]:
        """Each row's component, counted from 0 in the order of first members."""
        seen: dict[int, int] = {}
        return np.array(
            [seen.setdefault(self.find(row), len(seen)) for row in range(len(self._parent))],
            dtype=np.int64,
        )


def expected_jaccard(edit_rate: float, size: int) -> float:
    """The similarity of a text and its copy with a share of the words edited.

    A shingle of k words survives when none of its words was edited, with probability (1-e)^k. Of n
    shingles on each side, n(1-e)^k are shared and 2n - n(1-e)^k exist, hence
    s = (1-e)^k / (2 - (1-e)^k).
    """
    kept = (1 - edit_rate) ** size
    return kept / (2 - kept)


def bands_and_rows(similarity: float, recall: float = 0.95) -> tuple[int, int]:
    """The bands and rows of a signature that finds pairs of this similarity.

    Two texts agree in a band of r rows with probability s^r and meet in one of b bands with
    1 - (1 - s^r)^b. Of the (b, r) that fit in 128 permutations and reach the recall, the one with
    the most rows proposes the fewest dissimilar pairs.

    Raises:
        ValueError: When no choice reaches the recall.
    """
    for rows in range(PERMUTATIONS, 0, -1):
        agree = similarity**rows
        bands = 1 if agree == 1 else math.ceil(math.log(1 - recall) / math.log1p(-agree))
        if bands * rows <= PERMUTATIONS:
            return bands, rows
    raise ValueError(f"No {PERMUTATIONS} permutations find a similarity of {similarity:.3f}.")


class _Hasher:
    """Words as 64-bit numbers that are the same in every process, unlike `hash`."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def __call__(self, units: Sequence[str]) -> UInt64[np.ndarray, " units"]:
        for unit in set(units):
            if unit not in self._known:
                digest = hashlib.blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8)
                self._known[unit] = int.from_bytes(digest.digest(), "little")
        return np.fromiter((self._known[unit] for unit in units), np.uint64, len(units))


def _shingles(units: UInt64[np.ndarray, " units"], size: int) -> UInt64[np.ndarray, " shingles"]:
    """A hash of every `size` consecutive units: Horner's rule with a mixing step after each."""
    count = len(units) - size + 1
    mixed = np.zeros(max(count, 0), dtype=np.uint64)
    for offset in range(size if count > 0 else 0):
        mixed = (mixed ^ units[offset : offset + count]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _signatures(shingles: Sequence[np.ndarray], permutations: int) -> np.ndarray:
    from datasketch import MinHash

    # Shingles are hashes already, of which MinHash takes 32 bits.
    empty = MinHash(num_perm=permutations, seed=1, hashfunc=int)
    rows = np.empty((len(shingles), permutations), dtype=np.uint64)
    for row, values in enumerate(shingles):
        minhash = empty.copy()
        for start in range(0, len(values), 8192):
            minhash.update_batch((values[start : start + 8192] & np.uint64(0xFFFFFFFF)).tolist())
        rows[row] = minhash.hashvalues
    return rows


def _buckets(signatures: np.ndarray, bands: int, rows: int) -> Iterator[np.ndarray]:
    """The texts that agree in a band, for every band and value that several texts have."""
    for band in range(bands):
        part = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        keys = part.view(np.dtype((np.void, part.dtype.itemsize * rows))).ravel()
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        order = np.argsort(inverse, kind="stable")
        for members in np.split(order, np.cumsum(counts)[:-1]):
            if len(members) > 1:
                yield members


def _join_similar(
    rows: Sequence[int], shingles: Sequence[np.ndarray], similarity: float, found: Components
) -> None:
    bands, depth = bands_and_rows(similarity)
    least = MARGIN * similarity

    @lru_cache(maxsize=1 << 18)  # texts meet again in other bands
    def alike(a: int, b: int) -> bool:
        shared = len(np.intersect1d(shingles[a], shingles[b], assume_unique=True))
        return shared >= least * (len(shingles[a]) + len(shingles[b]) - shared)

    for bucket in _buckets(_signatures(shingles, bands * depth), bands, depth):
        # Only members of different components are compared: m copies cost m comparisons, not m^2.
        parts: dict[int, list[int]] = defaultdict(list)
        for member in bucket.tolist():
            parts[found.find(rows[member])].append(member)
        if len(parts) > CROWD:  # pages of one template
            for pair in connecting_pairs([shingles[member] for member in bucket], least):
                a, b = sorted(int(bucket[each]) for each in pair)
                if found.find(rows[a]) != found.find(rows[b]) and alike(a, b):
                    found.join(rows[a], rows[b])
            continue
        while len(parts) > 1:
            root, part = parts.popitem()
            grown: list[int] = []
            for other in list(parts):
                pairs = ((min(a, b), max(a, b)) for a in part for b in parts[other])
                if any(alike(a, b) for a, b in pairs):
                    found.join(root, other)
                    grown += parts.pop(other)
            if grown:  # `part` has met everybody; what joined it has not
                parts[root] = grown


def near_duplicates(texts: Sequence[str], edit_rate: float = 0.1) -> Int[np.ndarray, " texts"]:
    """Groups texts that are equal or differ by at most about `edit_rate` of their words.

    Texts that are equal but for case and white space are one group. Then MinHash proposes pairs by
    shingles of 2, 3 or 5 words, the shorter the text, with bands and rows that find a pair of the
    expected similarity (`expected_jaccard`) with probability 0.95, and the exact Jaccard
    similarity of the shingles decides. A text too short to hold one edit (under 1 / `edit_rate`
    words) has only its equals in words. Groups are connected components: A ~ B ~ C are one.

    Args:
        texts: Any texts. Words are characters where the script, or the text, has no spaces.
        edit_rate: The share of edited words up to which a copy is the same text, at most 0.3.

    Returns:
        The group of each text, counted from 0 in the order of first members.

    Raises:
        ValueError: When `edit_rate` is not within 0 to 0.3.
    """
    if not 0 <= edit_rate <= 0.3:
        raise ValueError(f"edit_rate must lie within 0 and 0.3, not {edit_rate}.")
    found = Components(len(texts))
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        earlier = first.setdefault(normalize(text), row)
        if earlier != row:
            found.join(earlier, row)
    hasher = _Hasher()
    hashed: dict[int, np.ndarray] = {}
    same: dict[tuple[str, ...], int] = {}
    for text, row in first.items():
        units = words(text)
        units = units if len(units) > 1 else list(text)
        earlier = same.setdefault(tuple(units), row)
        if earlier != row:
            found.join(earlier, row)
        elif len(units) * edit_rate >= 1:
            hashed[row] = hasher(units)
    for size, shortest, longest in FAMILIES:
        rows = [
            row
            for row, units in hashed.items()
            if shortest <= len(units) <= (longest or len(units)) and len(units) >= size
        ]
        shingles = [np.unique(_shingles(hashed[row], size)) for row in rows]
        _join_similar(rows, shingles, expected_jaccard(edit_rate, size), found)
    return found.numbers()


def contained(needles: Sequence[str], haystacks: Sequence[str]) -> Bool[np.ndarray, " needles"]:
    """Says of each needle whether its words stand in a row inside any haystack.

    Case, white space and punctuation do not count. Each needle is looked up by the rarest of its
    runs of four words, so that the cost grows with the words, not with needles times haystacks.

    Args:
        needles: Short texts. Those under four words are never contained: such phrases are common.
        haystacks: Texts to look in.

    Returns:
        One truth value per needle.
    """
    hasher = _Hasher()
    end = np.zeros(1, dtype=np.uint64)  # a word that no text has, so that no run crosses texts
    parts = [part for text in haystacks for part in (hasher(words(text.casefold())), end)]
    stream = np.concatenate([end, *parts])
    runs = _shingles(stream, NEEDLE_WORDS)
    order = np.argsort(runs, kind="stable")
    runs = runs[order]
    inside = np.zeros(len(needles), dtype=bool)
    for row, needle in enumerate(needles):
        wanted = hasher(words(needle.casefold()))
        keys = _shingles(wanted, NEEDLE_WORDS)
        if len(keys) == 0:
            continue
        low, high = (np.searchsorted(runs, keys, side) for side in ("left", "right"))
        rarest = int(np.argmin(high - low))
        starts = order[low[rarest] : high[rarest]] - rarest
        starts = starts[(starts >= 0) & (starts <= len(stream) - len(wanted))]
        for offset, word in enumerate(wanted):  # few starts outlive the first words
            starts = starts[stream[starts + offset] == word]
        inside[row] = len(starts) > 0
    return inside
