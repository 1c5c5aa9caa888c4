"""A real server for the tests of clients; models with prompts, and a table."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from running import Running, running

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
