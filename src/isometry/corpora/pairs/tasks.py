"""The tasks that make pairs: one class each.

Inverse cloze, body first and link prediction: Chang et al. (2020), "Pre-training Tasks for
Embedding-based Large-scale Retrieval", section 3.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import words
from isometry.corpora.documents import Document
from isometry.corpora.pairs.queries import (
    QUERY_WORDS,
    TITLE_WORDS,
    further_queries,
    heading_query,
    inverse_cloze,
    one_line,
    sentence_queries,
    shown,
    split_identifier,
    summary_query,
    unit_spans,
)

Pages = Mapping[str, Sequence[Document]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and the passage that answers it.

    Attributes:
        query: One line of text.
        document: The id of the document that holds the passage.
        header: The passage's heading path, without what gave the query.
        body: The passage, without what gave the query.
        task: The name of the builder.
        asker: The page whose sentence asks, where that is not the passage's own.
    """

    query: str
    document: str
    header: str
    body: str
    task: str
    asker: str = ""


class Builder(Protocol):
    """Makes pairs out of one page at a time."""

    name: ClassVar[str]

    def view(self, document: Document) -> tuple[str, str]:
        """Header and body of any document, as candidates show them when this task evaluates."""
        ...

    def pairs(self, page: Sequence[Document], rng: random.Random, /) -> Iterator[Pair]:
        """The pairs of one page, whose documents come in order."""
        ...


@dataclass(frozen=True, slots=True)
class SummaryBody:
    """The first paragraph of a docstring or abstract asks for the text that it describes.

    Attributes:
        everything: Further paragraphs that read as prose, and the words of the title, ask too.
            For training only: such queries are vaguer.
    """

    everything: bool = False
    name: ClassVar[str] = "summary"

    def view(self, document: Document) -> tuple[str, str]:
        """The document without its summary."""
        return document.header(), document.text

    def pairs(self, page: Sequence[Document], _: random.Random, /) -> Iterator[Pair]:
        """One pair for each document with a usable summary, or several (`everything`)."""
        for document in page:
            header, body = self.view(document)
            candidates = [(summary_query(document.summary), header)]
            if self.everything:
                candidates += [(query, header) for query in further_queries(document.summary)]
                name = split_identifier(document.title)
                if document.summary and len(words(name)) >= TITLE_WORDS:
                    candidates.append((name, document.context))
            for query, above in candidates:
                if query and body.strip() and not shown(query, above, body):
                    yield Pair(query, document.id, above, body, self.name)


@dataclass(frozen=True, slots=True)
class HeadingSection:
    """A heading asks for the section below it, whose passage shows no heading at all."""

    name: ClassVar[str] = "heading"

    def view(self, document: Document) -> tuple[str, str]:
        """The body alone."""
        return "", document.body()

    def pairs(self, page: Sequence[Document], _: random.Random, /) -> Iterator[Pair]:
        """One pair for each document with a usable heading that its body does not repeat."""
        for document in page:
            query, (header, body) = heading_query(document), self.view(document)
            if query and body.strip() and not shown(query, header, body):
                yield Pair(query, document.id, header, body, self.name)


@dataclass(frozen=True, slots=True)
class InverseCloze:
    """A sentence asks for the passage that it was taken out of (ICT).

    Attributes:
        keep: The probability that the sentence stays in the passage, so that a model learns to
            match words too (Lee et al., 2019, section 4.1); 0 when the task evaluates.
    """

    keep: float = 0.1
    name: ClassVar[str] = "inverse_cloze"

    def view(self, document: Document) -> tuple[str, str]:
        """The whole document."""
        return document.header(), document.body()

    def pairs(self, page: Sequence[Document], rng: random.Random, /) -> Iterator[Pair]:
        """One pair for each document of two sentences or more."""
        for document in page:
            header, body = self.view(document)
            spans = unit_spans(document)
            for index in rng.sample(range(len(spans)), len(spans)) if len(spans) > 1 else ():
                start, end = spans[index]
                # Of a table of numbers no line serves, and each rest is a copy of the whole.
                if len(words(one_line(body[start:end]))) < QUERY_WORDS:
                    continue
                query, rest = inverse_cloze(body, spans, index)
                if not shown(query, header, rest):
                    passage = body if rng.random() < self.keep else rest
                    yield Pair(query, document.id, header, passage, self.name)
                    break


@dataclass(frozen=True, slots=True)
class BodyFirst:
    """A sentence of a page's first section asks for another section of the page (BFS)."""

    name: ClassVar[str] = "body_first"

    def view(self, document: Document) -> tuple[str, str]:
        """The whole document."""
        return document.header(), document.body()

    def pairs(self, page: Sequence[Document], rng: random.Random, /) -> Iterator[Pair]:
        """As many pairs as both sentences and other sections last: each serves once."""
        others = [document for document in page[1:] if document.body().strip()]
        queries = sentence_queries(page[0]) if others else []
        rng.shuffle(queries)
        for query, document in zip(queries, rng.sample(others, len(others)), strict=False):
            header, body = self.view(document)
            if not shown(query, header, body):
                yield Pair(query, document.id, header, body, self.name)


@dataclass(frozen=True, slots=True)
class LinkPrediction:
    """A sentence of page A's first section asks for a page that links to A (WLP)."""

    name: ClassVar[str] = "link_prediction"

    def view(self, document: Document) -> tuple[str, str]:
        """The whole document."""
        return document.header(), document.body()

    def pairs(self, pages: Pages, rng: random.Random, /) -> Iterator[Pair]:
        """A random passage of a page B that holds a link to A, for a sentence of A.

        Each sentence of A, and each page that links to A, serves once.

        Raises:
            InputError: When no page links to another.
        """
        sources = linking_pages(pages)
        if not sources:
            raise InputError(
                "No page links to another, so links give no pairs.", "Choose another task."
            )
        for target, linking in sources.items():
            queries = sentence_queries(pages[target][0])
            rng.shuffle(queries)
            for query, source in zip(queries, rng.sample(linking, len(linking)), strict=False):
                passages = [document for document in pages[source] if document.body().strip()]
                document = rng.choice(passages)
                header, body = self.view(document)
                if not shown(query, header, body):
                    yield Pair(query, document.id, header, body, self.name, target)


@dataclass(frozen=True, slots=True)
class Mix:
    """Several tasks, of which each pair's is drawn by weight.

    It ends where the task drawn has no pairs left, so that the shares hold to the end.

    Attributes:
        builders: The tasks.
        weights: One for each; only their ratios matter.
    """

    builders: Sequence[Builder | LinkPrediction]
    weights: Sequence[float]
    name: ClassVar[str] = "mix"

    def pairs(self, pages: Pages, rng: random.Random, /) -> Iterator[Pair]:
        """Pairs of all tasks, in random order."""
        left = [list(all_pairs(builder, pages, rng)) for builder in self.builders]
        for pool in left:
            rng.shuffle(pool)
        while (pool := rng.choices(left, self.weights)[0]) != []:
            yield pool.pop()


def group_pages(documents: Sequence[Document]) -> dict[str, list[Document]]:
    """The documents of each page in order; pages in the order of their first documents."""
    pages: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        pages[document.group].append(document)
    return {name: sorted(page, key=lambda document: document.order) for name, page in pages.items()}


def linking_pages(pages: Pages) -> dict[str, list[str]]:
    """For each page that is linked to, the other pages that link to it and hold text."""
    sources: dict[str, dict[str, None]] = defaultdict(dict)
    for source, page in pages.items():
        if any(document.body().strip() for document in page):
            for target in (link for document in page for link in document.links):
                if target != source and target in pages:
                    sources[target][source] = None
    return {target: list(linking) for target, linking in sources.items()}


def all_pairs(
    builder: Builder | LinkPrediction | Mix, pages: Pages, rng: random.Random
) -> Iterator[Pair]:
    """The pairs of a task over all pages."""
    if isinstance(builder, LinkPrediction | Mix):
        yield from builder.pairs(pages, rng)
    else:
        for page in pages.values():
            yield from builder.pairs(page, rng)
