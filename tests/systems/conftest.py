"""A system small enough to see through, and a library that rankers search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder
from isometry.systems.catalogue import Entry
from isometry.systems.rankers import Asked, Library
from isometry.systems.run import Run
from isometry.systems.system import AnySystem, Arm, Gate, Scale, Splits, System

Words = set[str]
Said = list[tuple[Words, Words]]


@dataclass(frozen=True)
class Given(Entry):
    """A system that stands in no folder.

    Attributes:
        system: What it is.
        code: Stands for its source.
    """

    system: AnySystem = field(kw_only=True)
    code: str = field(default="code", kw_only=True)

    @property
    def code_hash(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.code

    def load(self) -> AnySystem:
        return self.system


SECTIONS = 90


@pytest.fixture(scope="module")
def library(pairs: list[tuple[str, str]], small_folder: Path) -> Library:
    """Functions of the standard library, under their docstrings."""
    few = pairs[:SECTIONS]
    return Library(str(small_folder), 2, [f"{row:02}" for row in range(len(few))], few)


@pytest.fixture(scope="module")
def asked(library: Library) -> Asked:
    """Each docstring, backwards, asks for its function."""
    queries = [" ".join(reversed(header.split())) for header, _ in library.texts]
    return Asked(library, queries[:30], [{row: 1} for row in range(30)])


@pytest.fixture(scope="module")
def encoder(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> CachedEncoder:
    folder = tmp_path_factory.mktemp("vectors")
    return CachedEncoder(TextEncoder.load(small_folder), folder, "float32")


@pytest.fixture
def calls() -> list[tuple[str, int]]:
    """Which arm was made with which seed, in order."""
    return []


@pytest.fixture
def make_entry(pairs: list[tuple[str, str]], calls: list[tuple[str, int]]) -> Callable[..., Entry]:
    """Makes a system of two arms that rank functions by the words they share with a docstring."""

    def words(text: str) -> Words:
        return set(text.lower().replace("_", " ").split())

    asked = [(words(query), words(code)) for query, code in pairs]

    def data(scale: Scale) -> Splits[None, Said]:
        return Splits(None, asked[:30], asked[30:70])

    def measure(run: Run[Any, Any, Any], model: int, held: Said) -> dict[str, Any]:
        found = []
        for row, (query, _) in enumerate(held):
            seen = {word for word in query if len(word) >= model}
            scores = [len(seen & code) for _, code in held]
            found.append(float(scores[row] == max(scores) and scores[row] > 0))
        return {"found": np.array(found), "length": float(model)}

    def arm(name: str, length: int) -> Arm[Any, Any, Any, int]:
        def make(run: Run[Any, Any, Any]) -> int:
            calls.append((name, run.seed))
            return length

        return Arm(f"words of {length} letters or more", make)

    def make(code: str = "code", **changed: Any) -> Entry:
        scale = Scale(model="none", steps={}, seeds=2)
        settings: dict[str, Any] = {
            "title": "Short words do not find",
            "arxiv": "",
            "claim": "Words of every length find more.",
            "differs": "All of it.",
            "data": data,
            "measure": measure,
            "arms": {"long": arm("long", 12), "all": arm("all", 1)},
            "baseline": "long",
            "method": "all",
            "gates": (Gate("found", 0.1, "long"), Gate("length", 2, lower_is_better=True)),
            "scales": {"small": scale, "miniature": scale},
        }
        system = System(**(settings | changed))
        return Given("short-words", "words", Path(__file__), system=system, code=code)

    return make
