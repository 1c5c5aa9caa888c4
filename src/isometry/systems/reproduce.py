"""Runs a system: every arm on the same data, seeds and budget, then its gates."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from isometry.core.errors import InputError
from isometry.core.files import hash_value
from isometry.core.fingerprint import fingerprint
from isometry.core.progress import say
from isometry.core.workspace import Workspace
from isometry.jobs.proof import machine, versions
from isometry.systems.catalogue import Entry
from isometry.systems.comparison import judge, passed
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
        seeds: How many seeds; the scale's own number by default.
        arm: Only this arm: then nothing is compared, and no record written.
        results: The folder of the records.
        work: Where unfinished work is kept.

    Returns:
        The record; `fresh` says whether it was computed now.

    Raises:
        InputError: When the machine lacks what the scale needs, or something else is wrong.
    """
    system = entry.load()
    settings: Scale = system.scales[scale]
    if seeds is not None:
        if seeds < 1:
            raise InputError(f"--seeds must be at least 1, not {seeds}.")
        settings = replace(settings, seeds=seeds)
    if arm is not None and arm not in system.arms:
        raise InputError(
            f"{entry.slug} has no arm '{arm}'.", f"There are: {', '.join(system.arms)}."
        )
    check_needs(entry.slug, scale, settings)
    data: Splits[Any, Any] = system.data(settings)
    identity = Identity(hash_value(asdict(settings)), fingerprint(data), entry.code_hash)
    path = record_path(results or results_folder(), entry.slug, scale)
    known = read_record(path)
    if known is not None and arm is None:
        other = identity.differences(known["identity"])
        if not other:
            return {**known, "fresh": False}
        say(f"{path} is of other {' and '.join(other)}: it is not used.")

    started = time.monotonic()
    folder = work / entry.slug / f"{scale}-{identity.hash()[:12]}"
    with Workspace(folder, identity.hash()) as steps:
        steps.worth_keeping = True
        names = [name for name in system.arms if arm in (None, name)]
        runs = sum(len(_rates(system.arms[name], settings)) + settings.seeds for name in names)
        places = iter(f"{place} of {runs}" for place in range(1, runs + 1))
        arms = {name: _run_arm(system, name, settings, data, steps, places) for name in names}
    record: dict[str, Any] = {
        "slug": entry.slug,
        "family": entry.family,
        "title": system.title,
        "scale": scale,
        "settings": asdict(settings),
        "identity": asdict(identity),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.monotonic() - started, 1),
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
    write_record(path, record)
    return {**(read_record(path) or {}), "fresh": True}


def check_needs(slug: str, name: str, scale: Scale) -> None:
    """Refuses a scale that this machine cannot run; nothing is ever made smaller in silence.

    Raises:
        InputError: With what it needs.
    """
    if not scale.gpu_gib:
        return
    import torch

    has = torch.cuda.get_device_properties(0).total_memory / 2**30 if _cuda() else 0.0
    if has < scale.gpu_gib:
        downloads = f" and downloads {', '.join(scale.hub)}" if scale.hub else ""
        raise InputError(
            f"{slug} at the scale '{name}' needs a GPU with {scale.gpu_gib:g} GiB{downloads}; this"
            f" machine has {f'one with {has:.0f} GiB' if has else 'none'}.",
            "Run it with --scale small.",
        )


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _rates(arm: Arm[Any, Any, Any, Any], scale: Scale) -> tuple[float, ...]:
    """The learning rates that an arm chooses from; none where there is no choice."""
    return scale.rates if arm.stages and len(scale.rates) > 1 else ()


def _run_arm(
    system: AnySystem,
    name: str,
    scale: Scale,
    data: Splits[Any, Any],
    steps: Workspace,
    places: Iterator[str],
) -> dict[str, Any]:
    """An arm at the learning rate that validation prefers, with every seed.

    Args:
        system: The system.
        name: Of the arm.
        scale: How big.
        data: What all arms share.
        steps: Where finished runs are kept.
        places: Says of each run, also of a finished one, which it is among all.
    """
    arm = system.arms[name]
    chooser = system.chooser(name)

    def folder(rate: float, seed: int) -> str:
        return f"training-{name}-{rate:g}-{seed}"

    def run(rate: float, seed: int) -> Run[Any, Any, Any]:
        return Run(
            scale, data.train, data.validation,
            seed=seed, rate=rate, folder=steps.path / folder(rate, seed), shared=steps.path,
        )  # fmt: skip

    def validate(rate: float, place: str) -> float:
        say(f"{place}: {name}, trying the learning rate {rate:g}")
        one = run(rate, 0)
        figures = system.measure(one, _make(arm, one, name), data.validation)
        return float(np.mean(figures[chooser.metric]))

    def measure(rate: float, seed: int, place: str) -> dict[str, Any]:
        say(f"{place}: {name}, seed {seed}")
        wall, cpu = time.monotonic(), time.process_time()
        one = run(rate, seed)
        figures = system.measure(one, _make(arm, one, name), data.test)
        return {
            "seed": seed,
            "steps": one.steps,
            "rows": one.rows,
            "seconds": round(time.monotonic() - wall, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "figures": _plain(figures),
        }

    rate, tried = scale.rates[0], dict[str, float]()
    for one in _rates(arm, scale):
        tried[f"{one:g}"] = steps.json(f"{name}-rate-{one:g}", partial(validate, one, next(places)))
    if tried:
        sign = -1 if chooser.lower_is_better else 1
        rate = max(scale.rates, key=lambda rate: sign * tried[f"{rate:g}"])
    runs: list[dict[str, Any]] = []
    for seed in range(scale.seeds):
        # The first seed's training at this rate is done: its last checkpoint is taken up.
        runs.append(steps.json(f"{name}-seed-{seed}", partial(measure, rate, seed, next(places))))
        steps.discard(folder(rate, seed))
    for one in scale.rates:
        steps.discard(folder(one, 0))
    return {
        "about": arm.about,
        "rate": rate if arm.stages else None,
        "rates": tried,
        "chosen_on": chooser.metric if tried else None,
        "runs": runs,
    }


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
