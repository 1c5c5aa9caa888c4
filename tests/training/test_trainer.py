from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from isometry.core.errors import InputError
from isometry.encoders.text import TextEncoder
from isometry.learners.learner import Learner, Losses
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka
from isometry.training import trainer as module
from isometry.training.trainer import Batches, Trainer, last_checkpoint
from isometry.training.unique_batches import unique_batches

STEPS = 10


class Counting(TwoTowers):
    """Counts its steps and can do something before one of them."""

    steps = 0
    before: dict[int, Any]

    def loss(self, batch: dict[str, Any]) -> Losses:
        self.steps += 1
        getattr(self, "before", {}).get(self.steps, lambda: None)()
        return super().loss(batch)


def make_learner(folder: Path) -> Counting:
    objective = Matryoshka(InfoNCE(0.1), MRL((32, 16)))
    encoder = TextEncoder.load(folder)
    return Counting(encoder, objective, query_tokens=16, document_tokens=32)


def make_batches(pairs: Sequence[Sequence[str]], steps: int = STEPS) -> Batches:
    rows = [PairRow(query, code, code, (), ()) for query, code in pairs]
    order = unique_batches([(row.key, row.query) for row in rows], 8, steps, 0)
    return Batches(rows, list(order))


def make_trainer(learner: Counting, batches: Batches, folder: Path, **options: Any) -> Trainer:
    settings = {"learning_rate": 2e-3, "checkpoint_every": 3, **options}
    return Trainer(learner, batches, folder, **settings)


def weights(learner: Counting) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert set(one) == set(other)
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.fixture(scope="module")
def finished(
    tiny_folder: Path, pairs: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Tensor], Path]:
    """The weights of a training that nothing interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("finished")
    learner = make_learner(tiny_folder)
    trained = make_trainer(learner, make_batches(pairs), folder).run()
    assert trained.steps == learner.steps == STEPS and trained.stopped_early is None
    return weights(learner), folder


# What a training in another process is killed in the middle of.
KILLED = """
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_trainer as here
from isometry.training import trainer as module

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

tiny, folder, moment = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
learner = here.make_learner(tiny)
batches = here.make_batches(json.load(sys.stdin))
if moment == "a step":
    learner.before = {8: die}
else:
    write, written = module.write_json, []
    def write_json(path, value):
        written.append(path)
        die() if len(written) == 2 else write(path, value)
    module.write_json = write_json
here.make_trainer(learner, batches, folder).run()
"""


@pytest.mark.parametrize(("moment", "kept"), [("a step", 6), ("a checkpoint", 3)])
def test_a_killed_training_goes_on_to_the_same_weights(
    tiny_folder: Path,
    pairs: list[tuple[str, str]],
    finished: tuple[dict[str, Tensor], Path],
    tmp_path: Path,
    moment: str,
    kept: int,
) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-c", KILLED, str(Path(__file__).parent)),
            *(str(tiny_folder), str(tmp_path), moment),
        ],
        input=json.dumps(pairs),
        text=True,
        capture_output=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert (tmp_path / "checkpoint-6").exists()
    learner = make_learner(tiny_folder)
    trained = make_trainer(learner, make_batches(pairs), tmp_path).run()
    assert learner.steps == STEPS - kept
    assert trained.steps == STEPS and trained.stopped_early is None
    assert_same(weights(learner), finished[0])


def test_a_checkpoint_that_is_not_complete_is_ignored_and_removed(
    tiny_folder: Path,
    pairs: list[tuple[str, str]],
    finished: tuple[dict[str, Tensor], Path],
    tmp_path: Path,
) -> None:
    shutil.copytree(finished[1], tmp_path, dirs_exist_ok=True)
    # What a kill leaves: a folder whose files are not all there, or not whole.
    broken = tmp_path / "checkpoint-10"
    (broken / "complete.json").unlink()
    (broken / "model.safetensors").write_bytes(b"half")
    (tmp_path / "checkpoint-11").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-9"]
    learner = make_learner(tiny_folder)
    make_trainer(learner, make_batches(pairs), tmp_path).run()
    assert learner.steps == 1
    assert_same(weights(learner), finished[0])


def test_a_training_that_is_done_gives_its_weights_without_a_step(
    tiny_folder: Path,
    pairs: list[tuple[str, str]],
    finished: tuple[dict[str, Tensor], Path],
    tmp_path: Path,
) -> None:
    shutil.copytree(finished[1], tmp_path, dirs_exist_ok=True)
    learner = make_learner(tiny_folder)
    trained = make_trainer(learner, make_batches(pairs), tmp_path).run()
    assert learner.steps == 0 and trained.steps == STEPS and trained.stopped_early is None
    assert len(trained.loss) == STEPS
    assert_same(weights(learner), finished[0])


def test_a_second_training_repeats_the_first(
    tiny_folder: Path,
    pairs: list[tuple[str, str]],
    finished: tuple[dict[str, Tensor], Path],
    tmp_path: Path,
) -> None:
    torch.manual_seed(7)
    learner = make_learner(tiny_folder)
    before = weights(learner)
    make_trainer(learner, make_batches(pairs), tmp_path, checkpoint_every=100).run()
    assert_same(weights(learner), finished[0])
    assert not torch.equal(next(iter(before.values())), next(iter(finished[0].values())))


def test_checkpoints_hold_no_pickled_arguments_and_only_the_last_two_are_kept(
    finished: tuple[dict[str, Tensor], Path],
) -> None:
    folder = finished[1]
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-10", "checkpoint-9"]
    assert last_checkpoint(folder) == folder / "checkpoint-10"
    for checkpoint in folder.iterdir():
        names = {path.name for path in checkpoint.iterdir()}
        assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "complete.json"} <= names
        assert "training_args.bin" not in names and "pytorch_model.bin" not in names
        for name in ("optimizer.pt", "scheduler.pt"):
            torch.load(checkpoint / name, weights_only=True)


def test_checkpoints_are_compared_by_number(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "not there") is None
    for step in (9, 100, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "complete.json").write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-100"


def test_training_finds_the_code_for_its_description(
    tiny_folder: Path, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    steps = 80
    learner = make_learner(tiny_folder)
    batches = make_batches(pairs[:64], steps)
    trained = make_trainer(learner, batches, tmp_path, checkpoint_every=steps).run()
    first, last = trained.loss[0], trained.loss[-1]
    assert (first[0], last[0]) == (2, steps) and len(trained.loss) == 40
    assert last[1] < 0.5 * first[1]
    assert first[1] > 0.5 * math.log(8)


def test_the_clock_ends_a_training_and_says_so(
    tiny_folder: Path, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    learner = make_learner(tiny_folder)
    trained = make_trainer(learner, make_batches(pairs), tmp_path, seconds=0.0).run()
    assert trained.steps == learner.steps == 1
    assert trained.stopped_early is not None
    assert trained.stopped_early.startswith("the clock")
    assert f"after 1 of {STEPS} steps" in trained.stopped_early


def test_the_clock_at_the_last_step_stops_nothing(
    tiny_folder: Path, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    learner = make_learner(tiny_folder)
    trained = make_trainer(learner, make_batches(pairs, 1), tmp_path, seconds=0.0).run()
    assert trained.steps == 1 and trained.stopped_early is None


def test_frozen_parameters_stay_and_dropout_is_off(
    tiny_folder: Path, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    from isometry.encoders.surgery.freezing import freeze_below

    learner = make_learner(tiny_folder)
    freeze_below(learner.encoder, 1)
    before = weights(learner)
    modes: list[bool] = []
    learner.before = {2: lambda: modes.extend(part.training for part in learner.encoder.modules())}
    make_trainer(learner, make_batches(pairs, 3), tmp_path).run()
    assert modes and not any(modes)
    for name, tensor in weights(learner).items():
        assert torch.equal(tensor, before[name]) != (".layer.1." in name), name


def test_the_steps_come_in_the_planned_order(
    tiny_folder: Path,
    pairs: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[str]] = []
    collate = TwoTowers.collate

    def watched(learner: TwoTowers, rows: Sequence[PairRow]) -> dict[str, Any]:
        seen.append([row.query for row in rows])
        return collate(learner, rows)

    monkeypatch.setattr(Counting, "collate", watched)
    batches = make_batches(pairs)
    make_trainer(make_learner(tiny_folder), batches, tmp_path).run()
    assert seen == [[batches.rows[row].query for row in step] for step in batches.order]


def test_the_rate_rises_and_falls_in_a_line(
    tiny_folder: Path, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    learner = make_learner(tiny_folder)
    trainer = make_trainer(learner, make_batches(pairs), tmp_path, warmup=0.2, learning_rate=1.0)
    rates: list[float] = []

    def look() -> None:
        scheduler: Any = trainer.lr_scheduler
        rates.extend(scheduler.get_last_lr()[:1])

    learner.before = dict.fromkeys(range(1, STEPS + 1), look)
    trainer.run()
    expected = [0.0, 0.5, *(1 - step / 8 for step in range(8))]
    assert rates == pytest.approx(expected)


class Pulled(Learner):
    """All of its numbers are pulled alike."""

    def __init__(self, pull: float) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.pull = pull

    def collate(self, rows: Sequence[int]) -> dict[str, Any]:
        return {"rows": torch.tensor(rows)}

    def loss(self, batch: dict[str, Any]) -> Losses:
        return {"loss": self.pull * (self.layer.weight.sum() + self.layer.bias.sum())}


def test_weights_decay_and_biases_do_not(tmp_path: Path) -> None:
    learner = Pulled(0.0)
    before = learner.layer.weight.detach().clone(), learner.layer.bias.detach().clone()
    batches = Batches([0], [[0]] * STEPS)
    Trainer(learner, batches, tmp_path, learning_rate=0.1, weight_decay=0.5).run()
    # The rate rises in one step, and falls in nine.
    left = math.prod(1 - 0.5 * 0.1 * step / 9 for step in range(1, 10))
    torch.testing.assert_close(learner.layer.weight.detach(), left * before[0])
    assert torch.equal(learner.layer.bias, before[1])


def test_long_gradients_are_cut_to_a_length_of_1(tmp_path: Path) -> None:
    trainer: Any = Trainer(Pulled(1000.0), Batches([0], [[0]]), tmp_path, learning_rate=1e-3)
    trainer.run()
    # Of the first gradient, Adam keeps a tenth.
    kept = [state["exp_avg"] for state in trainer.optimizer.state.values()]
    assert sum(float(part.square().sum()) for part in kept) ** 0.5 == pytest.approx(0.1, rel=1e-3)


def test_bfloat16_computes_coarsely_but_trains_float32_weights(
    tiny_folder: Path,
    pairs: list[tuple[str, str]],
    finished: tuple[dict[str, Tensor], Path],
    tmp_path: Path,
) -> None:
    learner = make_learner(tiny_folder)
    kinds: set[torch.dtype] = set()
    product = learner.encoder.layers()[0].get_submodule("output.dense")
    product.register_forward_hook(lambda module, given, output: kinds.add(output.dtype))
    make_trainer(learner, make_batches(pairs), tmp_path, bfloat16=True).run()
    assert kinds == {torch.bfloat16}
    for name, tensor in weights(learner).items():
        if tensor.is_floating_point():
            assert tensor.dtype == torch.float32
            # Ten steps of Adam go so far at most.
            torch.testing.assert_close(tensor, finished[0][name], rtol=0, atol=10 * 2e-3)


def test_a_full_disk_is_one_line_and_the_bar_goes_away(
    tiny_folder: Path,
    pairs: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_bars: list[str] = []

    class Bar:
        def advance(self, amount: float = 1) -> None:
            pass

        def note(self, text: str) -> None:
            pass

    @contextmanager
    def track(title: str, total: float | None = None, unit: str = "") -> Iterator[Bar]:
        open_bars.append(title)
        yield Bar()
        open_bars.remove(title)

    def full(*_: Any, **__: Any) -> None:
        assert open_bars == ["Training"]
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(module, "track", track)
    monkeypatch.setattr(module, "save_file", full)
    learner = make_learner(tiny_folder)
    with pytest.raises(InputError, match="No room left"):
        make_trainer(learner, make_batches(pairs), tmp_path).run()
    assert learner.steps == 3 and open_bars == []
