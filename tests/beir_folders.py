"""Folders in BEIR's layout."""

from __future__ import annotations

import json
from pathlib import Path


def write_beir(folder: Path, pairs: list[tuple[str, str]]) -> Path:
    """Functions of the standard library, asked for by the first lines of their docstrings."""
    (folder / "qrels").mkdir(parents=True)
    codes = list(dict.fromkeys(code for _, code in pairs))
    documents = [{"_id": f"d{n}", "title": "", "text": code} for n, code in enumerate(codes)]
    queries = [{"_id": f"q{n}", "text": query} for n, (query, _) in enumerate(pairs)]
    judged = [f"q{n}\td{codes.index(code)}\t1" for n, (_, code) in enumerate(pairs)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        lines = "\n".join(json.dumps(row) for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    lines = "\n".join(["query-id\tcorpus-id\tscore", *judged])
    (folder / "qrels" / "test.tsv").write_text(lines, encoding="utf-8")
    return folder
