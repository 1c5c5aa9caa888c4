"""Writes what the server was measured to do into `docs/operations.md`.

    python scripts/write_measured.py [--check]

The figures are those of the files that `benchmarks/serve.py`, `inserts.py` and `mixed_load.py`
print with `--json`, kept in `benchmarks/results`. With `--check` nothing is written: it exits with
1 when the table is stale.
"""

from __future__ import annotations

import sys
from typing import Any

from generated_page import ROOT, with_part, write_or_check

from isometry.core.files import read_json

PAGE = "docs/operations.md"
COMMAND = "python scripts/write_measured.py"


def render() -> str:
    """The page with a table of what was done, and what was seen."""
    serve, inserts, mixed = (
        read_json(ROOT / "benchmarks" / "results" / f"{name}.json")
        for name in ("serve", "inserts", "mixed_load")
    )
    cores = {each["machine"]["cores"] for each in (serve, inserts, mixed)}
    lines = [
        f"| on {' and '.join(map(str, sorted(cores)))} cores | |",
        "| --- | --- |",
        *_of_clients(serve),
        _of_inserts(inserts),
        _of_mixed_load(mixed),
        "",
    ]
    return with_part(PAGE, "measured", "\n".join(lines))


def _of_clients(found: dict[str, Any]) -> list[str]:
    ours, theirs = found["load"]
    alone = found["alone"]
    rates = [f"{each['requests_per_second']:.0f}" for each in (ours, theirs)]
    waits = [f"{each['p99_ms'] / 1000:.2f} s" for each in (ours, theirs)]
    return [
        f"| {found['clients']} clients, a short text a request; in brackets {theirs['server']} |"
        f" {ours['throughput_ratio']:.1f} times as many requests: {rates[0]} a second ({rates[1]});"
        f" 99 % are answered within {waits[0]} ({waits[1]}) |",
        f"| one client | a short text takes {alone['served_ms']:.1f} ms, `encode` itself"
        f" {alone['encode_ms']:.1f} ms; an empty handler takes {alone['empty_ms']:.1f} ms |",
    ]


def _of_inserts(found: dict[str, Any]) -> str:
    single, compacted = found["single"], found["single"]["compacted"]
    searches = ", ".join(f"{row['mode']} {row['growth']:.2f}" for row in found["searches"])
    return (
        f"| {found['documents']:,} documents, one by one, into a process without the model |"
        f" {found['documents'] / single['seconds']:,.0f} a second, {single['peak_mib']:.0f} MiB at"
        f" most; compacting takes {compacted['seconds'] / 60:.1f} minutes and"
        f" {compacted['peak_mib']:.0f} MiB; then a search takes as long as in a Space that was"
        f" filled by the thousand, times {searches} |"
    )


def _of_mixed_load(found: dict[str, Any]) -> str:
    requests = sum(found["requests"].values())
    return (
        f"| {found['minutes']:.0f} minutes of {found['clients']} clients that search, write,"
        f" delete, and send broken bodies | {requests:,} requests, {found['wrong']} wrong answers;"
        f" memory {100 * (found['growth'] - 1):+.1f} % after the first five minutes |"
    )


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render, COMMAND))
