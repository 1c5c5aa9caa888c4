"""Which queries made from documents may be asked: those that one document alone answers."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, MutableSequence, Sequence

from isometry.corpora.curation.dedup import contained, normalize, words
from isometry.corpora.documents import Document
from isometry.corpora.pairs.queries import shown
from isometry.corpora.pairs.structure import Builder, InverseCloze, Pair, all_pairs, group_pages

View = tuple[str, str]


def asked_of_several(
    judge: Builder,
    by_side: Mapping[str, Sequence[Document]],
    made: Iterable[Sequence[Pair]],
    seed: int,
) -> set[str]:
    """The queries, normalized, that a task asks of more than one document, whatever its side.

    Args:
        judge: The task.
        by_side: The documents that it may ask of, without near-duplicates.
        made: The pairs of some sides.
        seed: Of the task's choices.
    """
    documents: dict[str, set[str]] = defaultdict(set)
    pages = group_pages([document for own in by_side.values() for document in own])
    everything = all_pairs(judge, pages, random.Random(f"{seed}/several"))
    for pair in [*everything, *(pair for pairs in made for pair in pairs)]:
        documents[normalize(pair.query)].add(pair.document)
    return {query for query, own in documents.items() if len(own) > 1}


def hide_queries(
    held: Mapping[str, Sequence[Pair]],
    views: MutableSequence[View],
    known: Mapping[str, int],
    answers: Mapping[str, Sequence[int]],
) -> dict[str, list[Pair]]:
    """Takes each query out of all that answers it, and leaves out those that are still to be read.

    A sentence that stands in other documents too is a question to all of them. A heading or a
    summary that others mention is not.

    Args:
        held: The pairs of the sides that are asked.
        views: Header and body of every document as it is ranked; changed in place.
        known: The number of each document.
        answers: The numbers of what answers the query of each pair's document: it and its
            near-duplicates.

    Returns:
        The pairs of each side that may be asked.
    """
    found: dict[str, list[Pair]] = {}
    for side, pairs in held.items():
        for pair in pairs:
            for row in answers[pair.document]:
                if row == known[pair.document]:
                    views[row] = pair.header, pair.body
                elif shown(pair.query, *views[row]):
                    views[row] = _without(views[row], pair.query)
        found[side] = [
            pair
            for pair in pairs
            if not any(shown(pair.query, *views[row]) for row in answers[pair.document])
        ]
    texts = [f"{header}\n{body}" for header, body in views]
    for side, pairs in found.items():
        cloze = [pair.task == InverseCloze.name for pair in pairs]
        if any(cloze):
            told = contained([pair.query for pair in pairs], texts)
            found[side] = [
                pair
                for pair, own, elsewhere in zip(pairs, cloze, told.tolist(), strict=True)
                if not (own and elsewhere)
            ]
    return found


def _without(view: View, query: str) -> View:
    """A view without the words of a query in a row."""
    # Between words there may be nothing, as in Chinese, or what names are joined by.
    pattern = re.compile(r"[\W_]*".join(map(re.escape, words(query))), re.IGNORECASE)
    header, body = (pattern.sub(" ", part) for part in view)
    return header, body
