"""What `isometry add` of a few new documents costs, and whether search is as in a new Space.

    python benchmarks/add.py SPACE [--share 0.01] [--queries 200] [--json]

SPACE was fitted from a JSONL file that is still there. In a copy of it, a random share of the
documents is removed; then they come back by `add`. Beside it the same encoder encodes and indexes
everything anew. Each of the two is a process of its own, start and imports included, in turns, the
better of two; figures are processor seconds. `against the fit` sets the wall seconds of `add`
against those that SPACE's own fit took, on whatever machine that was. Then both Spaces are asked
the titles of random documents, in every mode; `same` is the share of queries with the same ten
documents in the same order, and `same set` without the order.
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
from pathlib import Path
from typing import Any

import isometry
from isometry.core.errors import InputError
from isometry.core.progress import progress_shown, say
from isometry.corpora.readers import ReadingReport, open_source

MODES = ("dense", "lexical", "hybrid")


def new_index(space: isometry.Space, source: str, folder: Path) -> None:
    """Reads, cuts, encodes and indexes everything, as the end of a fit does."""
    from isometry.encoders.cached import CachedEncoder
    from isometry.jobs import ranking
    from isometry.search.lancedb import ChunkIndex

    documents = list(open_source(source).documents(ReadingReport()))
    views = [(document.header(), document.body()) for document in documents]
    names = [document.id for document in documents]
    chunks = ranking.passages_of(space.encoder, names, views)
    precision = space.manifest["encoder"]["precision"]
    cached = CachedEncoder(space.encoder, folder / "vectors", precision)
    vectors = cached.encode(ranking.collection(names, chunks).passages)
    ranking.build_index(folder / "index", chunks, vectors, space.lexical)
    ChunkIndex.open(folder / "index").prepare_view()


def timed(*arguments: str) -> dict[str, float]:
    """Seconds of this script as a child."""
    command = [sys.executable, __file__, *arguments]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise InputError(f"{' '.join(command)} ended with {process.returncode}.")
    return {"cpu": usage.ru_utime + usage.ru_stime, "wall": time.perf_counter() - start}


def without(source: str, share: float, out: Path) -> int:
    """The documents of a source but a random share, as JSONL; how many are missing."""
    lines = Path(source).read_text(encoding="utf-8").splitlines()
    missing = set(random.Random(0).sample(range(len(lines)), max(1, round(share * len(lines)))))
    kept = [line for row, line in enumerate(lines) if row not in missing]
    out.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return len(missing)


def same(one: isometry.Space, other: isometry.Space, count: int) -> list[dict[str, Any]]:
    """How often two Spaces find the same."""
    source = open_source(one.manifest["source"]["name"])
    titles = sorted({each.title for each in source.documents(ReadingReport()) if each.title})
    queries = random.Random(1).sample(titles, min(count, len(titles)))
    rows = []
    for mode in MODES:
        pairs = [
            [
                [result.document for result in space.search(query, 10, mode)]
                for space in (one, other)
            ]
            for query in queries
        ]
        rows.append(
            {
                "mode": mode,
                "queries": len(queries),
                "same": sum(a == b for a, b in pairs) / len(pairs),
                "same set": sum(set(a) == set(b) for a, b in pairs) / len(pairs),
            }
        )
    return rows


def compare(folder: Path, share: float, queries: int) -> dict[str, Any]:
    """The costs of both, and what they find."""
    space = isometry.Space.open(folder)
    source = space.manifest["source"]["name"]
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        smaller = work / "smaller.jsonl"
        added = without(source, share, smaller)
        for turn in range(2):
            copy = work / f"copy-{turn}"
            shutil.copytree(folder, copy)
            isometry.add(copy, smaller, name=source)
            say(f"Turn {turn + 1}: adding {added} documents, and all of them anew ...")
            for name, arguments in (
                ("add", ("--add", str(copy), source)),
                ("new", ("--new", str(folder), source, str(work / f"new-{turn}"))),
            ):
                took = timed(*arguments)
                if name not in best or took["cpu"] < best[name]["cpu"]:
                    best[name] = took
        fit = sum(space.manifest["figures"]["seconds"].values())
        return {
            "documents": added,
            "add": best["add"],
            "new": best["new"],
            "against a new index": best["add"]["cpu"] / best["new"]["cpu"],
            "against the fit": best["add"]["wall"] / fit,
            "searches": same(space, isometry.Space.open(copy), queries),
        }


def main() -> None:
    if sys.argv[1:2] == ["--add"]:
        isometry.add(sys.argv[2], sys.argv[3])
        return
    if sys.argv[1:2] == ["--new"]:
        new_index(isometry.Space.open(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("space", type=Path)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with progress_shown(sys.stderr.isatty()):
        found = compare(given.space, given.share, given.queries)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    add, new = found["add"], found["new"]
    print(
        f"add of {found['documents']}: {add['cpu']:.1f} CPU s ({add['wall']:.1f} s); a new index:"
        f" {new['cpu']:.1f} CPU s ({new['wall']:.1f} s), of which it is"
        f" {100 * found['against a new index']:.1f} %; and of the fit's wall time"
        f" {100 * found['against the fit']:.2f} %"
    )
    for row in found["searches"]:
        print(
            f"{row['mode']}: of {row['queries']} queries {100 * row['same']:.1f} % the same,"
            f" {100 * row['same set']:.1f} % the same set"
        )


if __name__ == "__main__":
    main()
