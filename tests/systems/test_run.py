from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from isometry.encoders.text import TextEncoder
from isometry.learners.classification import Classification, LabelledText
from isometry.systems.run import Run
from isometry.systems.system import Scale
from isometry.training.unique_batches import unique_batches

KEYS = [(f"text {row % 7}", row) for row in range(20)]


def run_of(folder: Path, model: str, name: str = "one", seed: int = 0) -> Run[Any, Any, Any]:
    scale = Scale(model=model, steps={"long": 6, "short": 2}, precision="float32")
    return Run(scale, [], [], seed=seed, rate=1e-3, folder=folder / name, shared=folder / "shared")


def test_batches_are_as_many_as_the_stage_has_steps_and_depend_on_the_seed_alone(
    tmp_path: Path,
) -> None:
    run = run_of(tmp_path, "none")
    batches = run.batches("long", KEYS, 4)
    assert batches == list(unique_batches(KEYS, 4, 6, 0))
    assert len(run.batches("short", KEYS, 4)) == 2
    assert run_of(tmp_path, "none", "other").batches("long", KEYS, 4) == batches
    assert run_of(tmp_path, "none", seed=1).batches("long", KEYS, 4) != batches
    with pytest.raises(KeyError):
        run.batches("none", KEYS, 4)


def test_the_pretrained_encoder_is_loaded_once_and_its_vectors_are_kept_for_all(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path, str(tiny_folder))
    texts = ["a file", "a path"]
    found = run.pretrained.encode(texts)
    assert run.pretrained is run.pretrained
    # A copy to train is another one.
    assert run.encoder() is not run.pretrained.encoder
    np.testing.assert_allclose(found, run.encoder().encode(texts, "document"), atol=1e-6)
    other = run_of(tmp_path, str(tiny_folder), "other", seed=1)
    assert other.pretrained
    monkeypatch.setattr(TextEncoder, "encode", None)
    assert np.array_equal(other.pretrained.encode(texts), found)


def test_what_is_made_once_is_shared_by_all_runs_and_never_half(tmp_path: Path) -> None:
    made: list[int] = []

    def make(folder: Path) -> None:
        (folder / "part").write_text("half")
        if not made:
            made.append(0)
            raise KeyboardInterrupt
        made.append(1)
        (folder / "part").write_text("whole")

    with pytest.raises(KeyboardInterrupt):
        run_of(tmp_path, "none").once("experts-1", make)
    first = run_of(tmp_path, "none").once("experts-1", make)
    assert run_of(tmp_path, "none", "other", 1).once("experts-1", make) == first
    assert made == [0, 1] and (first / "part").read_text() == "whole"
    run_of(tmp_path, "none", seed=1).once("experts-2", make)
    assert made == [0, 1, 1]


def test_what_is_drawn_does_not_depend_on_what_was_made_before(tmp_path: Path) -> None:
    """A run that goes on after a kill, or finds what another has made, draws as if it had not."""

    def make(folder: Path) -> None:
        np.save(folder / "drawn.npy", torch.rand(3).numpy())

    def drawn(name: str, made: str) -> torch.Tensor:
        torch.manual_seed(0)
        path = run_of(tmp_path, "none", name).once(made, make)
        assert (path / "drawn.npy").exists()
        return torch.rand(3)

    first, found = drawn("one", "experts-1"), drawn("other", "experts-1")
    assert torch.equal(first, found)
    drawn("one", "experts-2")
    one, other = (np.load(path) for path in (tmp_path / "shared" / "once").rglob("*.npy"))
    assert not np.array_equal(one, other)


def test_a_stage_leaves_the_same_random_state_trained_or_resumed(
    tmp_path: Path, tiny_folder: Path
) -> None:
    rows = [LabelledText(text, label) for label, text in enumerate(("a file", "a path"))]

    def after(seed: int = 0) -> list[float]:
        run = run_of(tmp_path, str(tiny_folder), f"kept-{seed}", seed)
        torch.manual_seed(0)
        encoder = run.encoder()
        learner = Classification(encoder, nn.Linear(encoder.dim, 2), tokens=8)
        run.fit("short", learner, rows, [[0, 1], [1, 0]])
        return torch.rand(3).tolist()

    trained, resumed = after(), after()
    assert trained == resumed != after(1)
