"""Real servers for the tests of clients; models with prompts, a table; hostile documents."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hostile_documents import HOSTILE
from running import Running, running

import isometry
from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import TextEncoder


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    """The command sets up the log of its process, which here is that of all tests."""
    loggers = [logging.getLogger(f"isometry.serving{part}") for part in ("", ".observing")]
    loggers.append(logging.getLogger("uvicorn"))
    before = [(each.level, each.propagate, each.handlers) for each in loggers]
    yield
    for each, (level, propagate, handlers) in zip(loggers, before, strict=True):
        each.setLevel(level)
        each.propagate, each.handlers = propagate, handlers


@pytest.fixture(scope="session")
def prompted_folder(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model with a prompt for each role."""
    folder = tmp_path_factory.mktemp("models") / "prompted"
    encoder = TextEncoder.load(
        small_folder, query_prompt="search for: ", document_prompt="this is: "
    )
    encoder.save(folder)
    return folder


@pytest.fixture(scope="session")
def static_folder(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with the small model's word vectors."""
    encoder = TextEncoder.load(small_folder)
    words = encoder.model[0].model.get_input_embeddings().weight.detach()
    weights = torch.ones(len(words))
    weights[:1037] = 0
    folder = tmp_path_factory.mktemp("models") / "table"
    StaticEncoder(words, encoder.tokenizer, weights).save(folder)
    return folder


@pytest.fixture(scope="session")
def prompted(prompted_folder: Path) -> TextEncoder:
    return TextEncoder.load(prompted_folder)


@pytest.fixture(scope="session")
def server(tiny_space: Path, prompted_folder: Path, static_folder: Path) -> Iterator[Running]:
    """A Space, an encoder with prompts, and a table, behind one port."""
    with running(f"docs={tiny_space}", str(prompted_folder), f"table={static_folder}") as one:
        yield one


@pytest.fixture(scope="session")
def hostile_space(tiny_space: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small Space with documents that want to be more than text."""
    folder = tmp_path_factory.mktemp("hostile")
    space = Path(shutil.copytree(tiny_space, folder / "space"))
    rows = [{"id": id, "title": title, "text": text} for id, (title, text) in HOSTILE.items()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "hostile.parquet")
    isometry.add(space, folder / "hostile.parquet", text="text", title="title", id="id")
    return space


@pytest.fixture(scope="session")
def hostile(hostile_space: Path, tiny_space: Path) -> Iterator[Running]:
    """Two Spaces, one of them with hostile documents."""
    with running(f"hostile={hostile_space}", f"docs={tiny_space}") as one:
        yield one
