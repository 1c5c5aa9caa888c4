from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from isometry.learners.learner import Learner, Losses
from isometry.training.stages import Stage, Weights, run_stages
from isometry.training.trainer import Batches, Trainer

STEPS = 6


class Line(Learner):
    """Fits `y = body(x)` under an output of its own; counts its steps, and may die in one."""

    def __init__(self, weights: Weights | None = None, *, dies_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(3, 4)
        self.out = nn.Linear(4, 1)
        if weights is not None:
            body = {n.removeprefix("body."): t for n, t in weights.items() if "body." in n}
            self.body.load_state_dict(body)
        self.dies_at = dies_at
        self.steps = 0

    def collate(self, rows: Sequence[tuple[float, ...]]) -> dict[str, Any]:
        return {"rows": torch.tensor(rows)}

    def loss(self, batch: dict[str, Any]) -> Losses:
        self.steps += 1
        if self.steps == self.dies_at:
            raise KeyboardInterrupt
        x, y = batch["rows"][:, :3], batch["rows"][:, 3:]
        return {"loss": functional.mse_loss(self.out(torch.tanh(self.body(x))), y)}


class Log:
    """Makes learners and keeps them, with what each was given."""

    def __init__(self, dies: tuple[str, int] | None = None) -> None:
        self.dies = dies
        self.made: dict[str, Line] = {}
        self.given: dict[str, Weights | None] = {}

    def learner(self, name: str) -> Callable[[Weights | None], Learner]:
        def make(weights: Weights | None) -> Learner:
            self.given[name] = weights
            dies_at = self.dies[1] if self.dies and self.dies[0] == name else None
            self.made[name] = Line(weights, dies_at=dies_at)
            return self.made[name]

        return make

    def stages(self, *given: tuple[str, str]) -> list[Stage]:
        return [
            Stage(name, self.learner(name), batches(seed), 0.05, start)
            for seed, (name, start) in enumerate(given)
        ]


def batches(seed: int) -> Batches:
    rows = torch.randn(40, 4, generator=torch.Generator().manual_seed(seed)).tolist()
    return Batches(rows, [range(5 * step, 5 * step + 5) for step in range(STEPS)])


def assert_same(one: Weights, other: Weights) -> None:
    assert set(one) == set(other)
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_each_stage_starts_from_the_weights_that_it_names(tmp_path: Path) -> None:
    log = Log()
    stages = log.stages(
        ("one", "previous"), ("two", "base"), ("three", "previous"), ("four", "one")
    )
    files = run_stages(stages, tmp_path)
    assert list(files) == ["one", "two", "three", "four"]
    assert files["two"] == tmp_path / "two" / "weights.safetensors"
    ends = {name: load_file(file) for name, file in files.items()}
    assert log.given["one"] is None and log.given["two"] is None
    for name, start in (("three", "two"), ("four", "one")):
        given = log.given[name]
        assert given is not None
        assert_same(given, ends[start])
    for name, learner in log.made.items():
        assert learner.steps == STEPS
        assert_same(dict(learner.state_dict()), ends[name])
    assert not torch.equal(ends["one"]["body.weight"], ends["two"]["body.weight"])


def test_a_stage_is_a_training_like_any_other(tmp_path: Path) -> None:
    log = Log()
    files = run_stages(log.stages(("one", "base"), ("two", "previous")), tmp_path / "stages")
    first = Line()
    Trainer(first, batches(0), tmp_path / "first", learning_rate=0.05).run()
    second = Line(dict(first.state_dict()))
    Trainer(second, batches(1), tmp_path / "second", learning_rate=0.05).run()
    assert_same(load_file(files["two"]), dict(second.state_dict()))


@pytest.mark.parametrize(("name", "at", "left"), [("two", 4, STEPS - 2), ("three", 1, STEPS)])
def test_an_interrupted_run_goes_on_in_its_stage_to_the_same_weights(
    tmp_path: Path, name: str, at: int, left: int
) -> None:
    given = (("one", "base"), ("two", "previous"), ("three", "one"))
    whole = run_stages(Log().stages(*given), tmp_path / "whole", checkpoint_every=2)
    broken = Log(dies=(name, at))
    with pytest.raises(KeyboardInterrupt):
        run_stages(broken.stages(*given), tmp_path / "broken", checkpoint_every=2)
    again = Log()
    files = run_stages(again.stages(*given), tmp_path / "broken", checkpoint_every=2)
    # What was finished is not even made.
    assert list(again.made) == [
        each for each, _ in given if each not in broken.made or each == name
    ]
    assert again.made[name].steps == left
    for each, file in files.items():
        assert_same(load_file(file), load_file(whole[each]))
    done = Log()
    assert run_stages(done.stages(*given), tmp_path / "broken") == files
    assert done.made == {}


def test_batches_may_be_planned_with_the_learner_as_it_starts(tmp_path: Path) -> None:
    log = Log()
    seen: list[Tensor] = []

    def plan(learner: Learner) -> Batches:
        assert learner is log.made["two"]
        seen.append(learner.get_parameter("body.weight").detach().clone())
        return batches(7)

    stages = log.stages(("one", "base"))
    stages.append(Stage("two", log.learner("two"), plan, 0.05))
    files = run_stages(stages, tmp_path)
    assert len(seen) == 1 and torch.equal(seen[0], load_file(files["one"])["body.weight"])
    other = Log().stages(("one", "base"), ("two", "previous"))  # its batches are batches(1)
    others = run_stages(other, tmp_path / "other")
    assert not torch.equal(
        load_file(files["two"])["body.weight"], load_file(others["two"])["body.weight"]
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no stage"),
        ([("one", "base"), ("one", "base")], "two stages are called 'one'"),
        ([("one", "two"), ("two", "base")], "'one' starts from 'two'"),
        ([("one", "one")], "'one' starts from 'one'"),
        ([("previous", "base")], "cannot be called 'previous'"),
        ([("one", "base"), ("", "base")], "cannot be called ''"),
        ([("one", "base"), ("..", "base")], "cannot be called '..'"),
        ([("one", "base"), ("a/b", "base")], "cannot be called 'a/b'"),
    ],
)
def test_stages_that_cannot_follow_each_other_are_refused_before_any_is_trained(
    tmp_path: Path, given: list[tuple[str, str]], words: str
) -> None:
    log = Log()
    with pytest.raises(ValueError, match=words):
        run_stages(log.stages(*given), tmp_path)
    assert log.made == {} and list(tmp_path.iterdir()) == []
