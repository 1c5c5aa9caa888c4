"""Peak memory of `isometry encode` over tables of more and more texts.

    python benchmarks/memory.py [--texts N...] [--tokens N] [--precision P] [--json]

Every table is encoded by a process of its own, with the packaged MiniLM reading only the first few
tokens of each text, so that it can be waited for.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from encode import real_texts

from isometry.core.errors import InputError
from isometry.encoders.packaged_models import packaged_folder


def short_model(folder: Path, tokens: int) -> Path:
    """The packaged MiniLM, reading so many tokens of a text."""
    shutil.copytree(packaged_folder("minilm"), folder)
    config = folder / "sentence_bert_config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**values, "max_seq_length": tokens}), encoding="utf-8")
    return folder


def write_table(path: Path, texts: Sequence[str], count: int) -> None:
    """So many rows, each with one line of a real text."""
    lines = [line for text in texts for line in text.splitlines() if len(line.split()) > 2]
    with path.open("w", encoding="utf-8") as file:
        for number, line in enumerate(islice(cycle(lines), count)):
            file.write(json.dumps({"id": str(number), "text": line}) + "\n")


def measure(model: Path, table: Path, precision: str) -> dict[str, Any]:
    """One run in a process of its own: its peak, and how long it took."""
    out = table.with_suffix(".vectors.parquet")
    command = [sys.executable, "-m", "isometry", "encode", str(model), str(table)]
    command += ["--out", str(out), "--precision", precision, "--quiet"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise InputError(f"{' '.join(command)} ended with {process.returncode}.")
    # Linux counts in KiB.
    return {
        "peak_mib": usage.ru_maxrss / 1024,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "file_mib": out.stat().st_size / 2**20,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--texts", type=int, nargs="+", default=[10_000, 50_000, 200_000])
    parser.add_argument("--tokens", type=int, default=3, help="how much of a text is read")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    try:
        texts = real_texts(5000)
        with tempfile.TemporaryDirectory() as place:
            model = short_model(Path(place) / "model", options.tokens)
            for count in options.texts:
                table = Path(place) / f"{count}.jsonl"
                write_table(table, texts, count)
                rows.append({"texts": count, **measure(model, table, options.precision)})
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(
        *("texts", "peak MiB", "its file MiB", "CPU s", "seconds"),
        title=f"isometry encode, {options.tokens} tokens a text, {options.precision}",
    )
    for row in rows:
        figures = (row["peak_mib"], row["file_mib"], row["cpu_seconds"], row["seconds"])
        table.add_row(f"{row['texts']:,}", *(f"{figure:,.0f}" for figure in figures))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
