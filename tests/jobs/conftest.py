"""A Space of a test's own with its documents; one with a smaller size; a table for a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from living_spaces import living
from safetensors.torch import load_file
from tokenizers import Tokenizer

import isometry
from isometry.core.files import read_json
from isometry.core.writing import write_json
from isometry.corpora.packaged.locate import make_once
from isometry.encoders.packaged_models import packaged_folder
from isometry.encoders.static import StaticEncoder


@pytest.fixture
def pair(tiny_space: Path, tiny_docs: Path, tmp_path: Path) -> tuple[Path, Path]:
    return living(tiny_space, tiny_docs, tmp_path)


@pytest.fixture
def space(pair: tuple[Path, Path]) -> Path:
    return pair[0]


@pytest.fixture
def docs(pair: tuple[Path, Path]) -> Path:
    return pair[1]


@pytest.fixture(scope="session")
def few_origin(tiny_space: Path, tiny_docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Space of few documents, and so a quick one, beside its source, which it calls "docs"."""
    folder = tmp_path_factory.mktemp("few")
    space, docs = living(tiny_space, tiny_docs, folder)
    manifest = read_json(space / "space.json")
    manifest["source"] |= {"name": "docs", "place": None}
    write_json(space / "space.json", manifest)
    for path in docs.glob("*.py"):
        if path.stem not in ("calendar", "heapq", "queue", "random", "shelve", "textwrap"):
            path.unlink()
    isometry.add(space, docs, name="docs")
    isometry.compact(space, keep_hours=0)
    return folder


@pytest.fixture
def few(few_origin: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A Space of few documents and its source "docs", which a test may change."""
    shutil.copytree(few_origin, tmp_path, dirs_exist_ok=True)
    return tmp_path / "space", tmp_path / "docs"


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM's own word embeddings, where only words count."""
    place = packaged_folder("minilm")
    weights = load_file(place / "model.safetensors")["embeddings.word_embeddings.weight"]
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    counts = torch.ones(len(weights))
    counts[:1037] = 0
    folder = tmp_path_factory.mktemp("static") / "table"
    StaticEncoder(weights, tokenizer, counts).save(folder)
    return folder


@pytest.fixture(scope="session")
def nested_plan(tiny_plan: Path, shared: Path) -> Path:
    """The plan for the small model, with a smaller size; a speed as if it had been measured."""
    values = json.loads(tiny_plan.read_text())
    measured = {"encode_tokens_per_second_float32": 1000, "encode_tokens_per_second_1x48": 1900}
    values |= {"nested": [[1, 48]], "dims": [64], "alphas": [1.0], "measured": measured}
    path = shared / "nested.json"
    make_once(path, "1 MB", lambda: write_json(path, values))
    return path


@pytest.fixture(scope="session")
def nested_space(tiny_docs: Path, small_folder: Path, nested_plan: Path, shared: Path) -> Path:
    """A finished Space whose model was trained for 1x48 too; do not change it."""
    out = shared / "nested-space"

    def make() -> None:
        isometry.fit(tiny_docs, base=small_folder, plan=nested_plan, nested="1x48", out=out)

    make_once(out, "10 MB", make)
    return out
