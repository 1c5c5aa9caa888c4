"""From a source to everything that training and proof need: documents, sides, pairs, queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from isometry.core.errors import InputError
from isometry.core.progress import track
from isometry.core.workspace import Workspace
from isometry.core.writing import atomic_file
from isometry.corpora.curation.dedup import near_duplicates, normalize
from isometry.corpora.curation.profile import UNKNOWN, profile
from isometry.corpora.documents import SCHEMA, Document, from_table, to_batches, views_of
from isometry.corpora.pairs.structure import (
    LinkPrediction,
    Pair,
    build_pairs,
    choose_builder,
    group_pages,
)
from isometry.corpora.pairs.tasks import linking_pages
from isometry.corpora.readers import ReadingReport, Source
from isometry.corpora.readers.judgements import Judgements, read_judgements, read_pairs
from isometry.corpora.splits import SIZES, independent_parts, leakage, split
from isometry.jobs.asking import asked_of_several, hide_queries

FEWEST_DOCUMENTS = 20
FEWEST_PAIRS = 40
FEWEST_QUERIES = 10
MOST_QUERIES = 1000
# The task of pairs whose queries people gave.
GIVEN = "given"
# What may stand around words of a query and asks nothing else.
_QUOTES, _MARKS = "\"'`“”„‘’«»()", "?!.,;:…？！。，、；："
_MOST_LISTED = 200


@dataclass(frozen=True)
class Questions:
    """Queries of one side with the documents that answer them.

    Attributes:
        queries: Their texts.
        relevance: For each, the grade of every document number that answers it.
    """

    queries: list[str]
    relevance: list[dict[int, int]]


@dataclass(frozen=True)
class Prepared:
    """A source that is ready.

    Attributes:
        documents: All of them.
        sides: "train", "validation" or "test" for each.
        clusters: The near-duplicate cluster of each.
        parts: The number of what each belongs to that the split never divides.
        pairs: What is trained on.
        views: Header and body of each document as it is ranked in the evaluation: with what the
            queries were made from hidden.
        questions: By side.
        given: Whether people gave the queries, rather than the documents.
        too_little: Why nothing can be trained; None where it can.
        facts: Figures for the report.
    """

    documents: list[Document]
    sides: list[str]
    clusters: Int[np.ndarray, " documents"]
    parts: Int[np.ndarray, " documents"]
    pairs: list[Pair]
    views: list[tuple[str, str]]
    questions: dict[str, Questions]
    given: bool
    too_little: str | None
    facts: dict[str, Any]

    def parts_of(self, asked: Questions) -> list[int]:
        """What the answers to each query belong to: always one part, as the split has it."""
        return [int(self.parts[next(iter(known))]) for known in asked.relevance]


def prepare(
    work: Workspace,
    source: Source,
    *,
    seed: int,
    queries: Path | None = None,
    judgements: Path | None = None,
    pairs: Path | None = None,
) -> Prepared:
    """Reads, curates and splits a source and makes its pairs, each step once.

    Args:
        work: Where the steps leave their results.
        source: What to read.
        seed: Of the split and the pairs.
        queries: Queries that people gave; without them they are made from the documents.
        judgements: Which documents answer them.
        pairs: Queries with their documents, in one file, instead of the two.

    Raises:
        InputError: When the source holds too little, or the judgements do not fit it.
    """
    reading = work.json("reading", lambda: _read(work.path / "documents.parquet", source))
    documents = from_table(pq.read_table(work.path / "documents.parquet"))
    if len(documents) < FEWEST_DOCUMENTS:
        raise InputError(
            f"Too little text in {source.name}: {len(documents)} documents, and a held-out proof"
            f" needs at least {FEWEST_DOCUMENTS}.",
            "Add documents.",
        )
    known = {document.id: row for row, document in enumerate(documents)}
    given = None
    if queries is not None and judgements is not None:
        given = joined(read_judgements(queries, judgements, known))
    elif pairs is not None:
        given = joined(read_pairs(pairs, known))
    together = (
        ()
        if given is None
        else judged_together(
            [known[document] for document in relevant] for relevant in given.relevance.values()
        )
    )
    sides = work.table("sides", lambda: _sides(documents, together, seed))
    clusters = sides.column("cluster").to_numpy()
    side = sides.column("side").to_pylist()
    made = work.json("pairing", lambda: _pair(work, documents, clusters, side, given, known, seed))
    trained = [Pair(**row) for row in pq.read_table(work.path / "pairs.parquet").to_pylist()]
    views = pq.read_table(work.path / "views.parquet")
    questions = {
        name: Questions(
            part["queries"],
            [{int(row): grade for row, grade in known.items()} for known in part["relevance"]],
        )
        for name, part in made["questions"].items()
    }
    facts = {
        "documents": len(documents),
        "files": reading["files"],
        "skipped": reading["skipped"],
        "skipped_count": reading["skipped_count"],
        "profile": made["profile"],
        "splits": dict(Counter(side)),
        "leakage": made["leakage"],
        "pairs": made["pairs"],
    }
    return Prepared(
        documents,
        side,
        clusters,
        independent_parts(groups_of(documents), clusters, together),
        trained,
        list(
            zip(views.column("header").to_pylist(), views.column("body").to_pylist(), strict=True)
        ),
        questions,
        given is not None,
        made["too_little"],
        facts,
    )


def groups_of(documents: Iterable[Document]) -> list[str]:
    """The page or file of each document."""
    return [document.group or document.id for document in documents]


def judged_together(answers: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """Pairs of documents that answer one query, which join all that do.

    Args:
        answers: The document numbers of each query.
    """
    return [(rows[0], row) for own in answers for rows in [sorted(own)] for row in rows[1:]]


def word_language(languages: Mapping[str, int], kinds: Mapping[str, int]) -> str:
    """The language by which the words of documents are matched: an ISO 639-1 code, or "unknown".

    Args:
        languages: How many texts have each language, most common first.
        kinds: How many documents are of each kind.
    """
    language = next((code for code in languages if code != UNKNOWN), UNKNOWN)
    # Languages are found in prose; the words in source code are English as a rule.
    if language == UNKNOWN and kinds.get("code", 0) > kinds.get("prose", 0):
        return "en"
    return language


def _read(path: Path, source: Source) -> dict[str, Any]:
    report = ReadingReport()
    with (
        track("Reading", None, "documents") as task,
        atomic_file(path) as temporary,
        pq.ParquetWriter(temporary, SCHEMA) as writer,
    ):
        for batch in to_batches(source.documents(report)):
            writer.write_batch(batch)
            task.advance(batch.num_rows)
    return {
        "files": report.files,
        "documents": report.documents,
        "skipped": [asdict(skipped) for skipped in report.skipped[:_MOST_LISTED]],
        "skipped_count": len(report.skipped),
    }


def _sides(
    documents: Sequence[Document], together: Sequence[tuple[int, int]], seed: int
) -> pa.Table:
    clusters = near_duplicates([f"{document.title}\n{document.body()}" for document in documents])
    try:
        sides = split(groups_of(documents), clusters, seed=seed, mergeable=together)
    except InputError:
        # One repeated page, say: there is nothing to hold out, so nothing can be proven.
        sides = ["train"] * len(documents)
    return pa.table({"cluster": pa.array(clusters, pa.int64()), "side": sides})


def _pair(
    work: Workspace,
    documents: Sequence[Document],
    clusters: Int[np.ndarray, " documents"],
    sides: Sequence[str],
    given: Judgements | None,
    known: dict[str, int],
    seed: int,
) -> dict[str, Any]:
    members: dict[int, list[int]] = {}
    for row, cluster in enumerate(clusters.tolist()):
        members.setdefault(cluster, []).append(row)
    # Of near-duplicates one makes queries: any of them would answer.
    firsts = {rows[0] for rows in members.values()}
    judge, builders, why = choose_builder([documents[row] for row in sorted(firsts)])
    by_side = {
        side: [documents[row] for row in sorted(firsts) if sides[row] == side] for side in SIZES
    }

    # Pages that link to each other may stand on different sides.
    linked = linking_pages(group_pages(by_side["train"]))
    builders = [task for task in builders if linked or not isinstance(task, LinkPrediction)]
    train, dropped = build_pairs(by_side["train"], builders, seed)
    asked: dict[str, Questions] = {}
    views = [judge.view(document) for document in documents]
    several: set[str] = set()
    if given is None:
        held: dict[str, list[Pair]] = {}
        for side in ("validation", "test"):
            held[side], missing = build_pairs(by_side[side], [judge], seed)
            dropped += missing
        several = asked_of_several(judge, by_side, held.values(), seed)
        for side, made in held.items():
            pairs = [pair for pair in made if normalize(pair.query) not in several]
            dropped += len(made) - len(pairs)
            held[side] = _one_each(pairs, seed)
        answers = {
            pair.document: members[int(clusters[known[pair.document]])]
            for pairs in held.values()
            for pair in pairs
        }
        for side, found in hide_queries(held, views, known, answers).items():
            dropped += len(held[side]) - len(found)
            # A near-duplicate of the answer is an answer.
            asked[side] = Questions(
                [pair.query for pair in found],
                [dict.fromkeys(answers[pair.document], 1) for pair in found],
            )
    else:
        why = f"queries and judgements were given; for training also: {why}"
        views = views_of(documents)
        asked, own = _given_questions(given, documents, sides, known, seed)
        train = own + train
    # What is asked of a held-out set is no question to learn, whichever document it names.
    unlearnt = {_bare(query) for part in asked.values() for query in part.queries}
    kept = [
        pair
        for pair in train
        if normalize(pair.query) not in several and _bare(pair.query) not in unlearnt
    ]
    dropped += len(train) - len(kept)
    train = kept
    schema = pa.schema([(name, pa.string()) for name in Pair.__dataclass_fields__])
    columns = {"header": [view[0] for view in views], "body": [view[1] for view in views]}
    for name, table in (
        ("pairs", pa.Table.from_pylist([asdict(pair) for pair in train], schema=schema)),
        ("views", pa.table(columns)),
    ):
        with atomic_file(work.path / f"{name}.parquet") as temporary:
            pq.write_table(table, temporary)
    counts = {side: len(questions.queries) for side, questions in asked.items()}
    return {
        "profile": profile(documents, clusters),
        "leakage": leakage(
            sides,
            groups_of(documents),
            clusters,
            [f"{header}\n{body}" for header, body in views],
            {side: questions.queries for side, questions in asked.items()}
            | {"train": [pair.query for pair in train]},
        ),
        "pairs": {
            "task": "given queries" if given is not None else judge.name,
            "why": why,
            "train": len(train),
            **counts,
            "dropped_ambiguous": dropped,
            "by_task": dict(Counter(pair.task for pair in train)),
        },
        "questions": {side: asdict(questions) for side, questions in asked.items()},
        "too_little": _too_little(len({pair.document for pair in train}), counts),
    }


def _one_each(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """One query a document, and a sample where there are very many."""
    generator = np.random.default_rng(seed)
    by_document: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_document.setdefault(pair.document, []).append(pair)
    kept = [own[int(generator.integers(len(own)))] for own in by_document.values()]
    if len(kept) > MOST_QUERIES:
        rows = np.sort(generator.permutation(len(kept))[:MOST_QUERIES])
        kept = [kept[row] for row in rows]
    return kept


def _given_questions(
    given: Judgements,
    documents: Sequence[Document],
    sides: Sequence[str],
    known: dict[str, int],
    seed: int,
) -> tuple[dict[str, Questions], list[Pair]]:
    asked = {side: Questions([], []) for side in ("validation", "test")}
    pairs: list[Pair] = []
    sampled = _sampled(given, sides, known, seed)
    for query, text in given.queries.items():
        relevant = {known[document]: grade for document, grade in given.relevance[query].items()}
        side = sides[next(iter(relevant))]
        if side in asked:
            if query not in sampled:
                continue
            asked[side].queries.append(text)
            asked[side].relevance.append(relevant)
            continue
        for row in relevant:
            document = documents[row]
            pairs.append(Pair(text, document.id, document.header(), document.body(), GIVEN))
    return asked, pairs


def _sampled(given: Judgements, sides: Sequence[str], known: dict[str, int], seed: int) -> set[str]:
    """The queries of validation and test that are asked: a sample where there are very many."""
    by_side: dict[str, list[str]] = {}
    for query, relevance in given.relevance.items():
        by_side.setdefault(sides[known[next(iter(relevance))]], []).append(query)
    generator = np.random.default_rng(seed)
    return {
        queries[row]
        for side, queries in sorted(by_side.items())
        if side != "train"
        for row in generator.permutation(len(queries))[:MOST_QUERIES].tolist()
    }


def _bare(query: str) -> str:
    """A query without quotes and marks around its words: with a question mark it asks the same."""
    words = (word.lstrip(_QUOTES).rstrip(_QUOTES + _MARKS) for word in normalize(query).split())
    return " ".join(filter(None, words)) or normalize(query)


def joined(given: Judgements) -> Judgements:
    """The same with queries of one text made one, which all their documents answer."""
    first: dict[str, str] = {}
    found = Judgements({}, dropped=given.dropped)
    for query, text in given.queries.items():
        name = first.setdefault(normalize(text), query)
        found.queries.setdefault(name, text)
        own = found.relevance.setdefault(name, {})
        for document, grade in given.relevance[query].items():
            own[document] = max(grade, own.get(document, 0))
    return found


def _too_little(train: int, counts: dict[str, int]) -> str | None:
    if train >= FEWEST_PAIRS and min(counts.values()) >= FEWEST_QUERIES:
        return None
    return (
        f"too few independent pairs: {train} documents to train on (at least {FEWEST_PAIRS}), and"
        f" {counts['validation']} and {counts['test']} queries to validate and test on"
        f" (at least {FEWEST_QUERIES})"
    )
