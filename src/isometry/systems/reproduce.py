"""Runs a system: every arm on the same data, seeds and budget, then its gates."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from isometry.core.clock import utc
from isometry.core.errors import InputError
from isometry.core.files import hash_value
from isometry.core.fingerprint import fingerprint
from isometry.core.machine import machine, versions
from isometry.core.progress import say
from isometry.core.workspace import Workspace, discard_finished_work
from isometry.core.writing import write_text
from isometry.systems.catalogue import Entry
from isometry.systems.comparison import judge, passed
from isometry.systems.rates import best_rate
from isometry.systems.records import (
    Identity,
    read_record,
    record_path,
    results_folder,
    write_record,
)
from isometry.systems.run import Run
from isometry.systems.system import AnySystem, Arm, Scale, ScaleName, Splits

WORK = Path(".cache/systems")
# What is said of weights, vectors and figures after a training that diverged.
_DIVERGED = ("NaN", "not finite")


def reproduce(
    entry: Entry,
    *,
    scale: ScaleName = "small",
    seeds: int | None = None,
    arm: str | None = None,
    results: Path | None = None,
    work: Path = WORK,
) -> dict[str, Any]:
    """Runs a system, or reads the record of a run with the same settings, data and code.

    A killed run goes on at the arm and seed, and within a training at the step, where it was.

    Args:
        entry: The system.
        scale: How big.
        seeds: How many seeds; the scale's own number by default. With another number no record is
            written: it would stand where that of the whole scale belongs.
        arm: Only this arm: then nothing is compared, and no record written.
        results: The folder of the records.
        work: Where unfinished work is kept.

    Returns:
        The record; `fresh` says whether it was computed now.

    Raises:
        InputError: When the machine lacks what the scale needs, or something else is wrong.
    """
    system, settings, path, known = check(entry, scale=scale, seeds=seeds, arm=arm, results=results)
    data: Splits[Any, Any] = system.data(settings)
    identity = Identity(hash_value(asdict(settings)), fingerprint(data), entry.code_hash)
    if known is not None and arm is None:
        other = identity.differences(known["identity"])
        if not other:
            return {**known, "fresh": False}
        say(f"{path} is of other {' and '.join(other)}: it is not used.")
    kept = arm is None and settings.seeds == system.scales[scale].seeds
    if kept:
        # Now, rather than after hours.
        write_text(path.with_name(".writable"), "")
        path.with_name(".writable").unlink(missing_ok=True)
    elif arm is None:
        say(f"No record is kept of {settings.seeds} seeds: the scale '{scale}' has others.")

    folder = work / entry.slug / f"{scale}-{identity.hash()[:12]}"
    with Workspace(folder, identity.hash()) as steps, _spared_collection():
        steps.worth_keeping = True
        names = [name for name in system.arms if arm in (None, name)]
        runner = _Runner(system, settings, data, steps, names)
        arms = {name: runner.run(name) for name in names}
    record: dict[str, Any] = {
        "slug": entry.slug,
        "family": entry.family,
        "title": system.title,
        "scale": scale,
        "settings": asdict(settings),
        "identity": asdict(identity),
        "created": utc(),
        **runner.cost(),
        "versions": versions(),
        "machine": machine(),
        "baseline": system.baseline,
        "method": system.method,
        "trade": system.trade and list(system.trade),
        "arms": arms,
    }
    if arm is not None:
        return {**record, "gates": [], "passed": None, "fresh": True}
    figures = {name: [run["figures"] for run in done["runs"]] for name, done in arms.items()}
    verdicts = judge(system, figures)
    record |= {
        "gates": [verdict.to_json() for verdict in verdicts],
        "passed": passed(verdicts),
    }
    if not kept:
        return {**record, "fresh": True}
    write_record(path, record)
    # All that it was computed from; what else lies there is of other code, data or settings.
    discard_finished_work(folder, identity.hash())
    return {**(read_record(path) or {}), "fresh": True}


def check(
    entry: Entry, *, scale: ScaleName, seeds: int | None, arm: str | None, results: Path | None
) -> tuple[AnySystem, Scale, Path, dict[str, Any] | None]:
    """Refuses what `reproduce` could not do, as far as it is known without the data.

    Args:
        entry: As for `reproduce`.
        scale: As for `reproduce`.
        seeds: As for `reproduce`.
        arm: As for `reproduce`.
        results: As for `reproduce`.

    Returns:
        The system, its settings, the place of its record, and the record, if there is one.

    Raises:
        InputError: As `reproduce` does.
    """
    if seeds is not None and seeds < 1:
        raise InputError(f"--seeds must be at least 1, not {seeds}.")
    if results is not None and results.exists() and not results.is_dir():
        raise InputError(f"{results} is no folder of records.")
    system = entry.load()
    settings: Scale = system.scales[scale]
    if seeds is not None:
        settings = replace(settings, seeds=seeds)
    if arm is not None and arm not in system.arms:
        raise InputError(
            f"{entry.slug} has no arm '{arm}'.", f"There are: {', '.join(system.arms)}."
        )
    check_needs(entry.slug, scale, settings)
    path = record_path(results or results_folder(), entry.slug, scale)
    return system, settings, path, read_record(path)


def check_needs(slug: str, name: str, scale: Scale) -> None:
    """Refuses a scale that this machine cannot run; nothing is ever made smaller in silence.

    Raises:
        InputError: With what it needs.
    """
    if not scale.gpu_gib:
        return
    import torch

    has = torch.cuda.get_device_properties(0).total_memory / 2**30 if _cuda() else 0.0
    # What is sold as so many GiB reports some less.
    if has < 0.9 * scale.gpu_gib:
        downloads = f" and downloads {', '.join(scale.hub)}" if scale.hub else ""
        raise InputError(
            f"{slug} at the scale '{name}' needs a GPU with {scale.gpu_gib:g} GiB{downloads}; this"
            f" machine has {f'one with {has:.0f} GiB' if has else 'none'}.",
            "Run it with --scale small.",
        )


@contextmanager
def _spared_collection() -> Generator[None]:
    """Inside, the garbage collector leaves alone what lives now.

    That is the data, millions of objects; every training starts with a full collection, which took
    longer than a short one itself.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _rates(arm: Arm[Any, Any, Any, Any], scale: Scale) -> tuple[float, ...]:
    """The learning rates that an arm chooses from; none where there is no choice."""
    return scale.rates if arm.stages and len(scale.rates) > 1 else ()


class _Runner:
    """Runs arms, each at the learning rate that validation prefers and with every seed.

    Arms that make their models alike and choose by different metrics share what they train: only
    where they choose different rates is more to be done.

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
        self._left = list(names)
        self._owners = {
            name: next(other for other in system.arms if self._alike(other, name)) for name in names
        }
        self._place = 0
        self._runs = sum(scale.seeds + len(_rates(system.arms[name], scale)) for name in names)
        self._done: dict[str, dict[str, Any]] = {}

    def _alike(self, one: str, other: str) -> bool:
        return self.system.arms[one].make is self.system.arms[other].make

    def run(self, name: str) -> dict[str, Any]:
        """An arm, with what it chose and the figures of every seed."""
        arm, scale = self.system.arms[name], self.scale
        owner = self._owners[name]
        rate, tried = self._choose(name)
        runs: list[dict[str, Any]] = []
        for seed in range(scale.seeds):
            # The first seed's training at this rate is done: its last checkpoint is taken up.
            made = self._once(
                f"{owner}-{rate:g}-seed-{seed}",
                f"{name}, seed {seed}",
                partial(self._measured, name, rate, seed, self.data.test),
            )
            runs.append({key: made[key] for key in ("seed", "steps", "rows", "figures")})
            if seed:
                self.steps.discard(self._folder(owner, rate, seed))
        self._left.remove(name)
        if not any(self._alike(name, other) for other in self._left):
            self.steps.discard(f"training-{owner}")
        return {
            "about": arm.about,
            "rate": rate if arm.stages else None,
            "rates": {f"{one:g}": tried[one] for one in sorted(tried)},
            "chosen_on": self.system.chooser(name).metric if tried else None,
            "runs": runs,
        }

    def _choose(self, name: str) -> tuple[float, dict[float, float]]:
        """The rate that validation prefers for an arm, and what each that was tried reaches."""
        chooser, owner = self.system.chooser(name), self._owners[name]
        tried: dict[float, float] = {}

        def score(rate: float) -> float:
            self._runs += rate not in self.scale.rates
            found = self._once(
                f"{owner}-rate-{rate:g}",
                f"{name}, trying the learning rate {rate:g}",
                partial(self._tried, name, rate),
            )
            if found["figures"] is None:
                return -math.inf
            tried[rate] = float(np.mean(found["figures"][chooser.metric]))
            return -tried[rate] if chooser.lower_is_better else tried[rate]

        rates = _rates(self.system.arms[name], self.scale) or self.scale.rates[:1]
        return best_rate(rates, score), tried

    def cost(self) -> dict[str, float]:
        """Seconds of all that was trained and measured, also in runs that were killed later."""
        return {
            name: round(sum(run[name] for run in self._done.values()), 1)
            for name in ("seconds", "cpu_seconds")
        }

    def _once(self, key: str, about: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if key in self._done:
            self._runs -= 1
            return self._done[key]
        self._place += 1

        def make_aloud() -> dict[str, Any]:
            say(f"{self._place} of about {self._runs}: {about}")
            return make()

        self._done[key] = self.steps.json(key, make_aloud)
        return self._done[key]

    def _tried(self, name: str, rate: float) -> dict[str, Any]:
        """As `_measured`, on validation; at a rate at which training diverges, no figures."""
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

    def _measured(self, name: str, rate: float, seed: int, held: Any) -> dict[str, Any]:
        wall, cpu = time.monotonic(), time.process_time()
        folder = self.steps.path / self._folder(self._owners[name], rate, seed)
        run = Run(
            self.scale, self.data.train, self.data.validation,
            seed=seed, rate=rate, folder=folder, shared=self.steps.path,
        )  # fmt: skip
        figures = self.system.measure(run, _make(self.system.arms[name], run, name), held)
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

    @staticmethod
    def _folder(owner: str, rate: float, seed: int) -> str:
        return f"training-{owner}/{rate:g}-{seed}"


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
