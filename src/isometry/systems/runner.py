"""Runs the arms of a system, each at its best rate and with every seed; several processes may."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from isometry.core.errors import InputError
from isometry.core.files import hash_value
from isometry.core.progress import say
from isometry.core.workspace import Workspace
from isometry.systems.rates import best_rate
from isometry.systems.run import Run
from isometry.systems.system import AnySystem, Arm, Scale, Splits

# What is said of weights, vectors and figures after a training that diverged.
_DIVERGED = ("NaN", "not finite")
# Seconds until it is looked again whether others have finished what is waited for.
_PAUSE = 0.2


class Runner:
    """Runs arms, each at the learning rate that validation prefers and with every seed.

    Arms that make their models alike and choose by different metrics share what they train: only
    where they choose different rates is more to be done.

    Several processes may run the same arms in the same folder: every training and its measurement
    has a lock, and is done once.

    Args:
        system: The system.
        scale: How big.
        data: What all arms share.
        steps: Where finished runs are kept.
        names: The arms that will be run, in this order.
    """

    def __init__(
        self,
        system: AnySystem,
        scale: Scale,
        data: Splits[Any, Any],
        steps: Workspace,
        names: list[str],
    ) -> None:
        self.system, self.scale, self.data, self.steps = system, scale, data, steps
        self._names = names
        self._owners = {
            name: next(other for other in system.arms if self._alike(other, name)) for name in names
        }
        # What there is to do, as far as it is known before the rates are chosen.
        self._keys = {self._rate_key(name, rate) for name in names for rate in self._rates(name)}
        self._chosen: set[str] = set()
        self._complete: set[str] = set()
        self._done: dict[str, dict[str, Any]] = {}
        self._waits = True

    def run(self, name: str) -> dict[str, Any]:
        """An arm, with what it chose and the figures of every seed."""
        arm = self.system.arms[name]
        rate, tried = self._choose(name)
        runs = [self._seed(name, rate, seed) for seed in range(self.scale.seeds)]
        self._finish(name)
        return {
            "about": arm.about,
            "rate": rate if arm.stages else None,
            "rates": {f"{one:g}": tried[one] for one in sorted(tried)},
            "chosen_on": self.system.chooser(name).metric if tried else None,
            "runs": [
                {key: run[key] for key in ("seed", "steps", "rows", "figures")} for run in runs
            ],
        }

    def share(self) -> None:
        """Does what no other process is doing, until all that the arms need is done."""
        self._waits, left = False, self._names
        while left := [name for name in left if not self._advance(name)]:
            time.sleep(_PAUSE)
        self._waits = True

    def cost(self) -> dict[str, float]:
        """Seconds of all that was trained and measured, also in runs that were killed later."""
        return {
            name: round(sum(run[name] for run in self._done.values()), 1)
            for name in ("seconds", "cpu_seconds")
        }

    def _advance(self, name: str) -> bool:
        """Does what is free of an arm, and tells whether all of it is done."""
        tried = [self._free(self._try, name, rate) for rate in self._rates(name)]
        if not all(tried):
            return False
        try:
            # Beyond the grid each rate decides about the next.
            rate, _ = self._choose(name)
        except Timeout:
            return False
        tested = [self._free(self._seed, name, rate, seed) for seed in range(self.scale.seeds)]
        if not all(tested):
            return False
        self._finish(name)
        return True

    @staticmethod
    def _free(make: Callable[..., Any], *arguments: Any) -> bool:
        try:
            make(*arguments)
        except Timeout:
            return False
        return True

    def _alike(self, one: str, other: str) -> bool:
        return self.system.arms[one].make is self.system.arms[other].make

    def _rates(self, name: str) -> tuple[float, ...]:
        """The learning rates that an arm chooses from; none where there is no choice."""
        rates = self.scale.rates
        return rates if self.system.arms[name].stages and len(rates) > 1 else ()

    def _rate_key(self, name: str, rate: float) -> str:
        return f"{self._owners[name]}-rate-{rate:g}"

    def _seed_key(self, name: str, rate: float, seed: int) -> str:
        return f"{self._owners[name]}-{rate:g}-seed-{seed}"

    def _choose(self, name: str) -> tuple[float, dict[float, float]]:
        """The rate that validation prefers for an arm, and what each that was tried reaches."""
        chooser = self.system.chooser(name)
        tried: dict[float, float] = {}

        def score(rate: float) -> float:
            figures = self._try(name, rate)["figures"]
            if figures is None:
                return -math.inf
            tried[rate] = float(np.mean(figures[chooser.metric]))
            return -tried[rate] if chooser.lower_is_better else tried[rate]

        rate = best_rate(self._rates(name) or self.scale.rates[:1], score)
        self._chosen.add(name)
        self._keys |= {self._seed_key(name, rate, seed) for seed in range(self.scale.seeds)}
        return rate, tried

    def _try(self, name: str, rate: float) -> dict[str, Any]:
        """The figures on validation; none at a rate at which training diverges."""

        def make() -> dict[str, Any]:
            wall, cpu = time.monotonic(), time.process_time()
            try:
                return self._measured(name, rate, 0, self.data.validation)
            except InputError as error:
                if not any(word in error.message for word in _DIVERGED):
                    raise
                say(f"{error.message} So this rate is not taken.")
                return {
                    "seconds": round(time.monotonic() - wall, 1),
                    "cpu_seconds": round(time.process_time() - cpu, 1),
                    "figures": None,
                }

        about = f"{name}, trying the learning rate {rate:g}"
        return self._once(self._rate_key(name, rate), about, make)

    def _seed(self, name: str, rate: float, seed: int) -> dict[str, Any]:
        """The figures on test."""

        def make() -> dict[str, Any]:
            # The first seed's training at this rate is done: its last checkpoint is taken up.
            made = self._measured(name, rate, seed, self.data.test)
            if seed:
                self.steps.discard(self._folder(name, rate, seed))
            return made

        return self._once(self._seed_key(name, rate, seed), f"{name}, seed {seed}", make)

    def _finish(self, name: str) -> None:
        """Discards the trainings that no arm needs any more."""
        self._complete.add(name)
        if all(other in self._complete for other in self._names if self._alike(name, other)):
            folder = f"training-{self._owners[name]}"
            with self._lock(folder):
                self.steps.discard(folder)

    def _lock(self, name: str) -> FileLock:
        return lock_of(self.steps.path, name)

    def _once(self, key: str, about: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was or is made, once by all processes together.

        Raises:
            Timeout: When another process is making it, while this one does not wait.
        """
        if key in self._done:
            return self._done[key]
        self._keys.add(key)

        def make_aloud() -> dict[str, Any]:
            seeds = self.scale.seeds * len(set(self._names) - self._chosen)
            say(f"{len(self._done) + 1} of about {len(self._keys) + seeds}: {about}")
            return make()

        with self._lock(key).acquire(timeout=-1 if self._waits else 0):
            self._done[key] = self.steps.json(key, make_aloud)
        return self._done[key]

    def _measured(self, name: str, rate: float, seed: int, held: Any) -> dict[str, Any]:
        wall, cpu = time.monotonic(), time.process_time()
        run = _SharedRun(
            self.scale, self.data.train, self.data.validation, seed=seed, rate=rate,
            folder=self.steps.path / self._folder(name, rate, seed), shared=self.steps.path,
        )  # fmt: skip
        figures = self.system.measure(run, _make(self.system.arms[name], run, name), held)
        if run.steps and (metric := self.system.chooser(name).metric) not in figures:
            raise ValueError(
                f"the arm {name!r} chooses its rate by {metric!r}, which is not measured; it has"
                f" {', '.join(figures)}"
            )
        for metric, values in figures.items():
            if not np.isfinite(values).all():
                raise InputError(
                    f"{name} at the learning rate {rate:g} has NaN or infinity for {metric}."
                )
        return {
            "seed": seed,
            "steps": run.steps,
            "rows": run.rows,
            "seconds": round(time.monotonic() - wall, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "figures": _plain(figures),
        }

    def _folder(self, name: str, rate: float, seed: int) -> str:
        return f"training-{self._owners[name]}/{rate:g}-{seed}"


class _SharedRun(Run[Any, Any, Any]):
    """A run among others in processes of their own: what all share is made by one."""

    def once(self, name: str, make: Callable[[Path], None]) -> Path:
        with lock_of(self._shared, f"once/{name}"):
            return super().once(name, make)


def lock_of(folder: Path, name: str) -> FileLock:
    """The lock of a piece of work in a folder; a process that ends in any way lets it go."""
    locks = folder / "locks"
    locks.mkdir(exist_ok=True)
    return FileLock(locks / hash_value(name)[:24])


def _make(arm: Arm[Any, Any, Any, Any], run: Run[Any, Any, Any], name: str) -> Any:
    import torch

    torch.manual_seed(run.seed)
    model = arm.make(run)
    if set(run.steps) != set(arm.stages):
        used, planned = (", ".join(stages) or "none" for stages in (run.steps, arm.stages))
        raise ValueError(f"the arm {name!r} trained in the stages {used}, not in {planned}")
    return model


def _plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as JSON has them, with six digits."""
    return {
        name: np.round(np.asarray(value, dtype=np.float64), 6).tolist()
        for name, value in figures.items()
    }
