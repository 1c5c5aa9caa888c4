"""Queries and passages out of the structure of documents that nobody labelled."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import normalize
from isometry.corpora.documents import Document
from isometry.corpora.pairs.queries import names_file
from isometry.corpora.pairs.tasks import (
    BodyFirst,
    Builder,
    HeadingSection,
    InverseCloze,
    LinkPrediction,
    Mix,
    Pair,
    SummaryBody,
    all_pairs,
    group_pages,
    linking_pages,
)

__all__ = [
    "BodyFirst",
    "Builder",
    "HeadingSection",
    "InverseCloze",
    "LinkPrediction",
    "Mix",
    "Pair",
    "SummaryBody",
    "build_pairs",
    "choose_builder",
]

ENOUGH = 0.4
SECTIONS = 3


def choose_builder(
    documents: Sequence[Document],
) -> tuple[Builder, list[Builder | LinkPrediction], str]:
    """Chooses the task that fits what the documents have.

    Summaries where 40 % of the documents carry a usable one, else headings where 40 % have one
    that no other shares and that is more than a file's name, else sentences.

    Returns:
        The task that evaluates, the tasks that train, and the reason in one sentence.

    Raises:
        InputError: When there are no documents.
    """
    if not documents:
        raise InputError("There are no documents to make pairs of.", "Choose another source.")
    pages = group_pages(documents)
    rng = random.Random(0)
    count = len(documents)
    summaries = len(list(all_pairs(SummaryBody(), pages, rng)))
    if summaries >= ENOUGH * count:
        reason = (
            f"{_share(summaries, count)} carry a summary, which asks for the text it describes."
        )
        return SummaryBody(), [SummaryBody()], reason
    asked = {
        pair.document: normalize(pair.query) for pair in all_pairs(HeadingSection(), pages, rng)
    }
    uses = Counter(asked.values())
    headings = sum(
        document.id in asked
        and uses[asked[document.id]] == 1
        and (len(pages[document.group]) > 1 or not names_file(document))
        for document in documents
    )
    if headings >= ENOUGH * count:
        training: list[Builder | LinkPrediction] = [HeadingSection(), InverseCloze()]
        if any(len(page) >= SECTIONS for page in pages.values()):
            training.append(BodyFirst())
        if linking_pages(pages):
            training.append(LinkPrediction())
        reason = f"{_share(headings, count)} have a heading of their own, which asks for the text."
        return HeadingSection(), training, reason
    reason = (
        f"{_share(summaries, count)} carry a summary and {_share(headings, count)} have a heading "
        "of their own, so sentences ask for the passages that they were taken out of."
    )
    return InverseCloze(keep=0.0), [InverseCloze()], reason


def build_pairs(
    documents: Sequence[Document],
    builders: Sequence[Builder | LinkPrediction | Mix],
    seed: int,
) -> tuple[list[Pair], int]:
    """Makes the pairs of several tasks, the same ones for the same seed.

    A query that a task asks of more than one document is dropped: any of them would be right.

    Returns:
        The pairs, each query and document once, task by task; and how many were dropped.
    """
    pages = group_pages(documents)
    found: dict[tuple[str, str], Pair] = {}
    asked: dict[tuple[str, str], set[str]] = defaultdict(set)
    for number, builder in enumerate(builders):
        for pair in all_pairs(builder, pages, random.Random(f"{seed}/{number}/{builder.name}")):
            query = normalize(pair.query)
            found.setdefault((query, pair.document), pair)
            asked[pair.task, query].add(pair.document)
    pairs = [pair for pair in found.values() if len(asked[pair.task, normalize(pair.query)]) == 1]
    return pairs, len(found) - len(pairs)


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} documents ({part / whole:.0%})"
