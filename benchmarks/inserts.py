"""What very many documents cost that come one by one: memory, time, and searches afterwards.

    python benchmarks/inserts.py SPACE [--documents 100000] [--clients 64] [--json]

WordNet's synsets are cut and encoded by SPACE's encoder beforehand. Then a process without the
model puts each of them by itself into a copy of SPACE, as `isometry serve --write` does, so many
at a time; none is counted before it is on the disk. Beside that, the same documents go into another
copy by the thousand. Both copies are compacted by processes of their own, and asked the same in
turns: `growth` is the median time of a search in the first over that in the second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import isometry
from isometry.core.errors import InputError
from isometry.core.heap import share_one_heap
from isometry.core.progress import progress_shown, say
from isometry.corpora.documents import Document, from_table, to_batches
from isometry.corpora.readers import ReadingReport, open_source
from isometry.jobs.store import Store, StoreBusyError

# How many documents one file holds: a process reads one at a time.
BLOCK = 1000
MODES = ("dense", "lexical", "hybrid")


def prepare(space: isometry.Space, folder: Path, count: int) -> list[str]:
    """Writes blocks of documents, their passages and vectors; gives titles to ask for."""
    from isometry.jobs.ranking import passages_of

    encoder, said = space.encoder, space.manifest["encoder"]
    documents = list(open_source("wordnet:", limit=count).documents(ReadingReport()))
    if len(documents) < count:
        raise InputError(f"WordNet has {len(documents):,} synsets, not {count:,}.")
    for start in range(0, count, BLOCK):
        block = documents[start : start + BLOCK]
        texts = [(document.header(), document.body()) for document in block]
        passages = passages_of(encoder, [document.id for document in block], texts)
        vectors = encoder.encode(
            passages["text"].to_pylist(), "document", precision=said["precision"]
        )
        place = folder / f"{start:08d}"
        place.mkdir(parents=True)
        write(place / "documents.arrow", pa.Table.from_batches(list(to_batches(block))))
        write(place / "passages.arrow", passages)
        np.save(place / "vectors.npy", vectors)
        if start % 10_000 == 0:
            say(f"{start:,} of {count:,} documents are encoded.")
    return sorted({document.title for document in documents if document.title})


def write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def read(path: Path) -> pa.Table:
    # Not mapped: what is mapped counts as memory.
    return pa.ipc.open_file(path.read_bytes()).read_all()


Block = tuple[list[Document], pa.Table, np.ndarray]


def blocks(folder: Path) -> Iterator[Block]:
    for place in sorted(folder.iterdir()):
        documents = from_table(read(place / "documents.arrow"))
        yield documents, read(place / "passages.arrow"), np.load(place / "vectors.npy")


def one_by_one(block: Block) -> Iterator[Block]:
    """A block as one of each document; its passages lie together."""
    documents, passages, vectors = block
    names = passages["document"].to_pylist()
    first = 0
    for document in documents:
        last = first
        while last < len(names) and names[last] == document.id:
            last += 1
        yield [document], passages.slice(first, last - first), vectors[first:last]
        first = last


def memory_mib(name: str) -> float:
    """What this process has in memory (`VmRSS`), or had at most (`VmHWM`).

    What `wait4` says of a child counts its parent's memory too, out of which it was started.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def insert(folder: Path, data: Path, clients: int, *, single: bool) -> None:
    """Puts all that was prepared, and prints a line for every ten blocks and for the end."""
    begun = time.perf_counter()
    waiting: deque[Future[int]] = deque()
    count = refused = 0

    def report(**more: Any) -> None:
        figures = {"documents": count, "seconds": time.perf_counter() - begun}
        print(json.dumps({**figures, "resident_mib": memory_mib("VmRSS"), **more}), flush=True)

    # As `isometry serve --write` does.
    share_one_heap()
    with Store.open(folder, "benchmarks/inserts.py") as store:
        fingerprint = store.space.manifest["encoder"]["fingerprint"]
        for number, block in enumerate(blocks(data), 1):
            for documents, passages, vectors in one_by_one(block) if single else [block]:
                while True:
                    try:
                        waiting.append(store.put(documents, passages, vectors, fingerprint))
                        break
                    except StoreBusyError:
                        refused += 1
                        time.sleep(0.1)
                if len(waiting) >= clients:
                    waiting.popleft().result()
                count += len(documents)
            if number % 10 == 0:
                report()
        while waiting:
            waiting.popleft().result()
        report(acknowledged=True, refused=refused)
        store.apply()
    if "torch" in sys.modules:
        raise RuntimeError("the process that stores has loaded torch")
    report(applied=True, peak_mib=memory_mib("VmHWM"))


def compact(folder: Path) -> None:
    """Joins the pieces, and prints what that took."""
    begun = time.perf_counter()
    isometry.compact(folder, keep_hours=0)
    figures = {"seconds": time.perf_counter() - begun, "peak_mib": memory_mib("VmHWM")}
    print(json.dumps(figures), flush=True)


def ran(way: str, *arguments: object) -> tuple[list[dict[str, Any]], float]:
    """What a process of this script prints, and its CPU seconds."""
    command = [sys.executable, __file__, f"--{way}", *map(str, arguments)]
    lines: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(json.loads(line))
            say(f"{way}: {line.strip()}")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise InputError(f"{' '.join(command)} ended with {process.returncode}.")
    return lines, usage.ru_utime + usage.ru_stime


def stored(folder: Path, data: Path, clients: int, way: str) -> dict[str, Any]:
    """What it takes to put everything in this way, and to compact it then."""
    lines, cpu_seconds = ran(way, folder, data, clients)
    (compacted,), _ = ran("compact", folder)
    return {
        "lines": lines,
        "peak_mib": lines[-1]["peak_mib"],
        "cpu_seconds": cpu_seconds,
        "compacted": compacted,
        "seconds": next(line["seconds"] for line in lines if "acknowledged" in line),
        "refused": next(line["refused"] for line in lines if "refused" in line),
    }


def searches(spaces: Sequence[isometry.Space], queries: Sequence[str]) -> list[dict[str, Any]]:
    """Median times of both, asked in turns, and how often they find the same."""
    vectors = spaces[0].encode(queries)
    rows = []
    for mode in MODES:
        took: list[list[float]] = [[], []]
        same = 0
        for number, (query, vector) in enumerate(zip(queries, vectors, strict=True)):
            found = []
            for which in (0, 1) if number % 2 else (1, 0):
                start = time.perf_counter()
                results = spaces[which].search(query, 10, mode, vector=vector)
                took[which].append(time.perf_counter() - start)
                found.append({result.document for result in results})
            same += found[0] == found[1]
        # The first searches open files.
        one, other = (float(np.median(some[5:])) for some in took)
        rows.append(
            {
                "mode": mode,
                "p50_ms": 1000 * one,
                "p50_ms_by_the_thousand": 1000 * other,
                "growth": one / other,
                "same set": same / len(queries),
            }
        )
    return rows


def measure(folder: Path, count: int, clients: int, asked: int) -> dict[str, Any]:
    """Both ways of putting, and the searches afterwards."""
    # Not above: it needs torch, which the processes that put must not have.
    from isometry.core.machine import machine

    space = isometry.Space.open(folder)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        titles = prepare(space, work / "data", count)
        found: dict[str, Any] = {"documents": count, "clients": clients, "machine": machine()}
        for way in ("single", "thousand"):
            copy = Path(shutil.copytree(folder, work / way))
            found[way] = stored(copy, work / "data", clients if way == "single" else 1, way)
        spaces = [isometry.Space.open(work / way) for way in ("single", "thousand")]
        for each in spaces:
            each.verify()
        queries = random.Random(0).sample(titles, min(asked, len(titles)))
        return found | {"searches": searches(spaces, queries)}


def main() -> None:
    if sys.argv[1:2] == ["--compact"]:
        compact(Path(sys.argv[2]))
        return
    if sys.argv[1:2] in (["--single"], ["--thousand"]):
        folder, data, clients = sys.argv[2:]
        insert(Path(folder), Path(data), int(clients), single=sys.argv[1] == "--single")
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("space", type=Path)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with progress_shown(sys.stderr.isatty()):
        found = measure(given.space, given.documents, given.clients, given.queries)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for way in ("single", "thousand"):
        one = found[way]
        print(
            f"{way}: {found['documents'] / one['seconds']:,.0f} documents/s,"
            f" {one['cpu_seconds']:.0f} CPU s, {one['peak_mib']:.0f} MiB at most; compacted in"
            f" {one['compacted']['seconds']:.0f} s, {one['compacted']['peak_mib']:.0f} MiB at most"
        )
    for row in found["searches"]:
        print(
            f"{row['mode']}: p50 {row['p50_ms']:.1f} ms, {row['growth']:.2f} times that of the"
            f" Space that was filled by the thousand; the same ten in {100 * row['same set']:.1f} %"
        )


if __name__ == "__main__":
    main()
