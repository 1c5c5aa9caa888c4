"""Speed of encoding beside sentence-transformers, on docstrings of mixed length.

    python benchmarks/encode.py [--texts N] [--repeats N] [--threads N] [--model MODEL] [--json]

All ways run in one process, in turn, with the same threads and the same maximal length; of the
repeats the fastest counts. CPU seconds are those of all threads together, and the only ones that
another program on the same cores leaves about right. The cosine is the lowest of all texts, to
sentence-transformers in float32.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import random
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# As the command `isometry` sets it, before torch is loaded; for every row.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from isometry.core.errors import InputError

PEER = "sentence-transformers float32"


def real_texts(count: int, seed: int = 0) -> list[str]:
    """Docstrings of the standard library and of networkx where it is installed, all different."""
    places = [Path(sysconfig.get_path("stdlib"))]
    if (found := importlib.util.find_spec("networkx")) and found.origin:
        places.append(Path(found.origin).parent)
    texts: dict[str, None] = {}
    for place in places:
        for path in sorted(place.rglob("*.py")):
            if "site-packages" in path.relative_to(place).parts:
                continue
            try:
                tree = ast.parse(path.read_text(encoding="utf-8"))
            except (SyntaxError, ValueError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and (
                    text := ast.get_docstring(node)
                ):
                    texts[text] = None
    chosen = list(texts)
    random.Random(seed).shuffle(chosen)
    return chosen[:count]


def measure(
    ways: dict[str, Callable[[], np.ndarray]], repeats: int, tokens: int
) -> list[dict[str, Any]]:
    """One row for each way."""
    wall = dict.fromkeys(ways, float("inf"))
    cpu = dict(wall)
    vectors: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for name, encode in ways.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            vectors[name] = np.asarray(encode(), dtype=np.float32)
            wall[name] = min(wall[name], time.perf_counter() - start)
            cpu[name] = min(cpu[name], time.process_time() - cpu_start)
    unit = {
        name: some / np.linalg.norm(some, axis=1, keepdims=True) for name, some in vectors.items()
    }
    return [
        {
            "way": name,
            "texts_per_second": len(unit[name]) / wall[name],
            "tokens_per_second": tokens / wall[name],
            "times_as_fast": wall[PEER] / wall[name],
            "cpu_seconds": cpu[name],
            "times_less_cpu": cpu[PEER] / cpu[name],
            "lowest_cosine": float((unit[name] * unit[PEER]).sum(axis=1).min()),
            "largest_difference": float(np.abs(unit[name] - unit[PEER]).max()),
        }
        for name in ways
    ]


def ways_of(source: str, texts: list[str]) -> tuple[dict[str, Callable[[], np.ndarray]], int]:
    """The ways to encode, and how many tokens there are to read, padding aside."""
    import copy

    import torch

    from isometry.encoders.text import TextEncoder

    encoder = TextEncoder.load(source)
    peer = encoder.model
    rounded = copy.deepcopy(peer).bfloat16()

    def theirs(model: Any) -> np.ndarray:
        made = model.encode(texts, show_progress_bar=False, convert_to_tensor=True)
        return made.float().cpu().numpy()

    def autocast() -> np.ndarray:
        with torch.autocast(peer.device.type, torch.bfloat16):
            return theirs(peer)

    ways: dict[str, Callable[[], np.ndarray]] = {
        PEER: lambda: theirs(peer),
        "sentence-transformers autocast": autocast,
        "sentence-transformers bfloat16": lambda: theirs(rounded),
        "isometry float32": lambda: encoder.encode(texts),
        "isometry bfloat16": lambda: encoder.encode(texts, precision="bfloat16"),
    }
    lengths = encoder.lengths(texts, "document")
    return ways, sum(min(length, encoder.max_tokens) for length in lengths)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="packaged:minilm")
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch; as it chooses where not given")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)

    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    texts = real_texts(options.texts)
    try:
        ways, tokens = ways_of(options.model, texts)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    rows = measure(ways, options.repeats, tokens)
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(
        *("", "texts/s", "tokens/s", "as fast", "CPU s", "less CPU", "lowest cosine"),
        title=f"{len(texts):,} texts, {tokens:,} tokens, {torch.get_num_threads()} threads",
    )
    for row in rows:
        table.add_row(
            row["way"],
            f"{row['texts_per_second']:,.1f}",
            f"{row['tokens_per_second']:,.0f}",
            f"x {row['times_as_fast']:.2f}",
            f"{row['cpu_seconds']:.2f}",
            f"x {row['times_less_cpu']:.2f}",
            f"{row['lowest_cosine']:.6f}",
        )
    Console(width=100).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
