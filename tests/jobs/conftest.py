"""A Space of a test's own, with the folder of its documents; and a table for a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from living_spaces import living
from safetensors.torch import load_file
from tokenizers import Tokenizer

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
