"""Training queries that a language model writes, kept where the retriever finds their documents.

Dai et al. (2022), "Promptagator: Few-shot Dense Retrieval From 8 Examples", section 3.2, after the
round trip of Alberti et al. (2019), "Synthetic QA Corpora Generation with Roundtrip Consistency".
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from isometry.core.progress import say, track
from isometry.core.workspace import Workspace
from isometry.core.writing import clear_disk_errors
from isometry.corpora.curation.dedup import normalize, words
from isometry.corpora.documents import Document
from isometry.corpora.pairs.query_writer import OpenAIWriter
from isometry.corpora.pairs.structure import Pair
from isometry.corpora.pairs.written import TASK, parse_queries, query_prompt
from isometry.encoders.cached import CachedEncoder
from isometry.jobs.ranking import (
    Collection,
    Rankings,
    dense_rankings,
    fused_rankings,
    lexical_rankings,
)
from isometry.search.lancedb import ChunkIndex

MOST_DOCUMENTS = 2000
PER_DOCUMENT = 3
SHARE_OF_TIME = 1 / 3
FOUND_WITHIN = 3
STEP = "written"
ANSWERS = "written.jsonl"
_FEWEST_WORDS = 10
_MOST_FAILURES = 8


def written_pairs(
    work: Workspace,
    documents: Sequence[Document],
    sides: Sequence[str],
    writer: OpenAIWriter,
    *,
    limit: int = MOST_DOCUMENTS,
    seed: int = 0,
    seconds: float,
) -> tuple[list[Pair], dict[str, Any]]:
    """Pairs whose queries a language model wrote, about documents of the training side only.

    Each answer is on disk as soon as it is there; a killed run asks on where it stopped. Where the
    server fails many times in a row or the time is over, what there is will do.

    Args:
        work: Where the answers go.
        documents: All of them.
        sides: "train", "validation" or "test" for each.
        writer: Writes the queries.
        limit: How many documents it is asked about at most: a random sample.
        seed: Of the sample.
        seconds: How long that may take, over all the runs that it takes.

    Returns:
        The pairs in the order of the documents, and figures for the report.
    """
    chosen = sample_documents(documents, sides, limit, seed)
    path = work.path / ANSWERS
    facts = work.json(STEP, lambda: _ask(path, chosen, writer, seconds))
    answers = {row["document"]: row["queries"] for row in _recover(path)}
    known = {document.id for document in chosen}
    pairs = [
        Pair(query, document.id, document.header(), document.body(), TASK)
        for document in documents
        if document.id in known
        for query in answers.get(document.id, ())
    ]
    return pairs, facts | {"written": len(pairs)}


def sample_documents(
    documents: Sequence[Document], sides: Sequence[str], limit: int, seed: int
) -> list[Document]:
    """A random sample of the training documents of ten words or more, in random order."""
    eligible = [
        document
        for document, side in zip(documents, sides, strict=True)
        if side == "train" and len(words(document.body())) >= _FEWEST_WORDS
    ]
    order = np.random.default_rng(seed).permutation(len(eligible))[:limit]
    return [eligible[row] for row in order]


def filter_pairs(
    pairs: Sequence[Pair],
    ranked: Collection,
    clusters: Int[np.ndarray, " documents"],
    index: ChunkIndex,
    encoder: CachedEncoder,
    *,
    dense_weight: float,
    held_out: Sequence[str] = (),
    k: int = FOUND_WITHIN,
) -> tuple[list[Pair], dict[str, Any]]:
    """The pairs whose query finds its document among the first `k`.

    Dropped before that: queries of the other sides, and queries of documents that are no
    near-duplicates of each other, since any of them would be right.

    Args:
        pairs: Query and answer.
        ranked: The documents of the training side, or some of them, and their passages.
        clusters: Documents of one cluster answer each other's queries.
        index: Ranks the same passages by words.
        encoder: Ranks by vectors.
        dense_weight: How much vectors count beside words.
        held_out: The queries of validation and test.
        k: How far down the document may stand.

    Returns:
        The pairs, and figures for the report.
    """
    number = {document: row for row, document in enumerate(ranked.documents)}
    asked: dict[str, set[int]] = defaultdict(set)
    for pair in pairs:
        asked[normalize(pair.query)].add(int(clusters[number[pair.document]]))
    elsewhere = {normalize(query) for query in held_out}
    usable = [
        pair
        for pair in pairs
        if len(asked[normalize(pair.query)]) == 1 and normalize(pair.query) not in elsewhere
    ]
    kept: list[Pair] = []
    if usable:
        queries = [pair.query for pair in usable]
        rankings = fused_rankings(
            ranked.documents,
            dense_rankings(encoder, ranked, queries),
            lexical_rankings(index, ranked.documents, queries),
            dense_weight,
        )
        answers = np.array([number[pair.document] for pair in usable])
        found = round_trip(answers, rankings, clusters, k)
        kept = [pair for pair, own in zip(usable, found, strict=True) if own]
    return kept, {
        "written": len(pairs),
        "dropped": len(pairs) - len(usable),
        "kept": len(kept),
        "share": round(len(kept) / len(pairs), 4) if pairs else 0.0,
        "k": k,
    }


def round_trip(
    answers: Int[np.ndarray, " queries"],
    rankings: Rankings,
    clusters: Int[np.ndarray, " documents"],
    k: int,
) -> Bool[np.ndarray, " queries"]:
    """Which queries find their document, or a near-duplicate of it, among the first `k`.

    Args:
        answers: The document number of each query.
        rankings: What was found for each.
        clusters: The near-duplicate cluster of each document.
        k: How far down it may stand.
    """
    first = rankings.order[:, :k]
    return ((first >= 0) & (clusters[first] == clusters[answers][:, None])).any(axis=1)


def _ask(
    path: Path,
    chosen: Sequence[Document],
    writer: OpenAIWriter,
    seconds: float,
) -> dict[str, Any]:
    rows = _recover(path)
    spent = max((row["seconds"] for row in rows), default=0.0)
    answered = {row["document"] for row in rows}
    left = [document for document in chosen if document.id not in answered]
    prompts = [query_prompt(document, PER_DOCUMENT) for document in left]
    started = time.monotonic()
    asked, failed, in_a_row, ended = len(answered), 0, 0, None
    if left:
        say(
            f"Sending passages of up to {len(left):,} training documents to {writer.model} at"
            f" {writer.url}, which writes queries ..."
        )
    with (
        clear_disk_errors(path),
        path.open("a", encoding="utf-8") as file,
        closing(writer.ask(prompts, max(0.0, seconds - spent))) as answers,
        track("Writing queries", len(left), "documents") as task,
    ):
        for answer in answers:
            asked += 1
            task.advance()
            if answer.text is None:
                failed += 1
                in_a_row += 1
                if in_a_row == _MOST_FAILURES:
                    ended = f"it failed {in_a_row} times in a row, at last with {answer.error}"
                    break
                continue
            in_a_row = 0
            document = left[answer.number]
            row = {
                "document": document.id,
                "queries": parse_queries(answer.text, document, PER_DOCUMENT),
                "seconds": round(spent + time.monotonic() - started, 1),
            }
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
    if ended is None and asked < len(chosen):
        ended = "the time for it was over"
    if ended is not None:
        goes_on = "what it wrote is used" if asked > failed else "training goes on without it"
        say(
            f"The query writer answered for {asked - failed:,} of {len(chosen):,} documents, since"
            f" {ended}; {goes_on}."
        )
    return {
        "model": writer.model,
        "documents": len(chosen),
        "asked": asked,
        "answered": asked - failed,
        "failed": failed,
        "ended": ended,
        "seconds": round(spent + time.monotonic() - started, 1),
    }


def _recover(path: Path) -> list[dict[str, Any]]:
    """The answers in a file; what a killed process was writing at its end is cut off."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    whole = 0
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            rows.append(row)
            whole += len(line)
    if whole < path.stat().st_size:
        with clear_disk_errors(path):
            os.truncate(path, whole)
    return rows
