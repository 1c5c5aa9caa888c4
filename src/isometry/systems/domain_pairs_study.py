"""Functions of five packages that others refer to together, and functions with opposed labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import near_duplicates
from isometry.corpora.pairs.cocitation import cocitation, never_cited_together
from isometry.corpora.pairs.conflicting_labels import conflicting_triplets
from isometry.corpora.readers.numpydoc import (
    Described,
    kind_of,
    read_described,
    references,
)
from isometry.corpora.splits import split
from isometry.learners.two_towers import PairRow
from isometry.systems.system import Scale, Splits

DOMAINS = ("numpy", "scipy", "sklearn", "pandas", "networkx")
# Two domains of the same texts: grouped by where they stand, or by what they give back.
OPPOSED = ("module", "returned")
# A pair needs both its functions on one side: of pairs, the squares of these are left.
_SIDES = {"train": 0.5, "validation": 0.2, "test": 0.3}
_FEWEST_WORDS = 3


@dataclass(frozen=True, kw_only=True)
class DomainScale(Scale):
    """Settings of domains.

    Attributes:
        modules: What is read of each domain: the whole package, or a module of it.
        judged: Pairs of each domain that are validated on, and tested on, at most.
        apart: How many pairs that are never cited together each of them is told from.
        opposed: Triplets with opposed labels that are validated on, and tested on, at most.
        layers: Which layers get experts; all when not given.
        frozen: So many of the lowest layers stay as they are, and with them the embeddings, those
            of domains among them; 0 trains all.
        batch: Pairs a step.
        tokens: Where texts are cut.
    """

    modules: tuple[str, ...] = DOMAINS
    judged: int = 100
    apart: int = 10
    opposed: int = 250
    layers: tuple[int, ...] | None = None
    frozen: int = 0
    batch: int = 32
    tokens: int = 32


@dataclass(frozen=True)
class DomainRows:
    """What is trained on.

    Attributes:
        rows: By domain, those with opposed labels among them.
    """

    rows: dict[str, list[PairRow]]


@dataclass(frozen=True)
class HeldDomains:
    """What domains are judged by, as many pairs of each.

    Attributes:
        together: Pairs of texts that are cited together, by domain.
        apart: Pairs of the same domain and side that never are, by nobody; several times as many.
        opposed: A text, one of the same module and of another type, and the reverse.
    """

    together: dict[str, list[tuple[str, str]]]
    apart: dict[str, list[tuple[str, str]]]
    opposed: list[tuple[str, str, str]]


def data(scale: DomainScale) -> Splits[DomainRows, HeldDomains]:
    """Descriptions of functions, split by function; near-duplicates are on one side."""
    found = {
        domain: [
            item for item in read_described(name) if len(item.text.split()) >= _FEWEST_WORDS
        ]
        for domain, name in zip(DOMAINS, scale.modules, strict=True)
    }  # fmt: skip
    items = {item.id: item for own in found.values() for item in own}
    texts = [item.text for item in items.values()]
    side = dict(zip(texts, split(list(items), near_duplicates(texts), _SIDES), strict=True))
    cited = {domain: _cited(own) for domain, own in found.items()}
    rows = {
        domain: _rows([pair for pair in pairs if {side[text] for text in pair} == {"train"}])
        for domain, pairs in cited.items()
    }
    for domain, own in rows.items():
        if len(own) < 2:
            raise InputError(
                f"The domain '{domain}' has {len(own)} pairs to train on; it takes two.",
                "Read more of it: a package whose docstrings have a section 'See Also'.",
            )
    labelled = [(item, kind) for item in items.values() if (kind := kind_of(item.returned))]
    rows |= _opposed_rows([each for each in labelled if side[each[0].text] == "train"])

    def held(name: str) -> HeldDomains:
        pairs = {
            domain: [pair for pair in own if {side[text] for text in pair} == {name}]
            for domain, own in cited.items()
        }
        # As many of each, so that domains count the same.
        most = min(scale.judged, *map(len, pairs.values()))
        if not most:
            raise InputError(f"A domain has no pair for {name}.", "Read more of it.")
        random = np.random.default_rng(0)
        chosen = {
            domain: [own[row] for row in sorted(random.permutation(len(own))[:most].tolist())]
            for domain, own in pairs.items()
        }
        apart = {
            domain: never_cited_together(
                [text for pair in own for text in pair if side[text] == name],
                own,
                scale.apart * most,
            )
            for domain, own in cited.items()
        }
        own = [each for each in labelled if side[each[0].text] == name]
        triplets = _opposed(own)
        shuffled = random.permutation(len(triplets))[: scale.opposed]
        return HeldDomains(
            chosen,
            apart,
            [_three(own, triplets[row]) for row in sorted(shuffled.tolist())],
        )

    return Splits(DomainRows(rows), held("validation"), held("test"))


Labelled = Sequence[tuple[Described, str]]


def _cited(items: Sequence[Described]) -> list[tuple[str, str]]:
    """The texts that are cited together, every two that differ: what is no such pair never is.

    Functions with the same text are one here, cited with all that any of them is cited with.
    """
    text = {item.id: item.text for item in items}
    pairs = [sorted((text[a], text[b])) for a, b in cocitation(references(items))]
    return list(dict.fromkeys((a, b) for a, b in pairs if a != b))


def _rows(pairs: Sequence[tuple[str, str]]) -> list[PairRow]:
    """Either member asks; what else it is cited with may answer, too."""
    together: dict[str, set[str]] = defaultdict(set)
    for a, b in pairs:
        together[a] |= {a, b}
        together[b] |= {a, b}
    swapped = np.random.default_rng(0).random(len(pairs)) < 0.5
    ordered = [(b, a) if swap else (a, b) for (a, b), swap in zip(pairs, swapped, strict=True)]
    return [PairRow(a, b, b, answers=frozenset(together[a])) for a, b in ordered]


def _opposed(labelled: Labelled) -> list[tuple[int, int, int]]:
    return conflicting_triplets([_module(item) for item, _ in labelled], [k for _, k in labelled])


def _three(labelled: Labelled, triplet: tuple[int, int, int]) -> tuple[str, str, str]:
    first, second, third = (labelled[row][0].text for row in triplet)
    return first, second, third


def _opposed_rows(labelled: Labelled) -> dict[str, list[PairRow]]:
    """The same triplets twice: in the second domain, positive and negative change places."""
    rows: dict[str, list[PairRow]] = {domain: [] for domain in OPPOSED}
    for triplet in _opposed(labelled):
        anchor, near, far = _three(labelled, triplet)
        # By its label: what has the same in a batch is no negative.
        place, other = (_module(labelled[row][0]) for row in triplet[1:])
        unlike, kind = (labelled[row][1] for row in triplet[1:])
        rows["module"].append(PairRow(anchor, near, place, (far,), (other,)))
        rows["returned"].append(PairRow(anchor, far, kind, (near,), (unlike,)))
    return rows


def _module(item: Described) -> str:
    """Where it stands, such as `networkx.algorithms.flow`."""
    return ".".join(item.module.split(".")[:3])
