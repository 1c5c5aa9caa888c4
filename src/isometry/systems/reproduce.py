"""Runs a system: every arm on the same data, seeds and budget, then its gates."""

from __future__ import annotations

import gc
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from isometry.core.clock import utc
from isometry.core.errors import InputError
from isometry.core.files import hash_value
from isometry.core.fingerprint import fingerprint
from isometry.core.machine import machine, versions
from isometry.core.progress import say
from isometry.core.workspace import Workspace, discard_finished_work
from isometry.core.writing import check_writable
from isometry.systems.catalogue import Entry
from isometry.systems.comparison import judge, passed, same_verdicts
from isometry.systems.records import (
    Identity,
    read_record,
    record_path,
    results_folder,
    write_record,
)
from isometry.systems.runner import Runner
from isometry.systems.system import AnySystem, Scale, ScaleName, Splits
from isometry.systems.workers import workers

WORK = Path(".cache/systems")


def reproduce(
    entry: Entry,
    *,
    scale: ScaleName = "small",
    seeds: int | None = None,
    arms: Sequence[str] = (),
    jobs: int = 1,
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
        arms: Only these: then nothing is compared, and no record written.
        jobs: How many processes share the work and the processors; each has the data in memory.
        results: The folder of the records.
        work: Where unfinished work is kept.

    Returns:
        The record; `fresh` says whether it was computed now.

    Raises:
        InputError: When the machine lacks what the scale needs, or something else is wrong.
    """
    system, settings, path, known = check(
        entry, scale=scale, seeds=seeds, arms=arms, jobs=jobs, results=results
    )
    data: Splits[Any, Any] = system.data(settings)
    identity = Identity(hash_value(asdict(settings)), fingerprint(data), entry.code_hash)
    if known is not None and not arms:
        other = identity.differences(known["identity"])
        if not other:
            judged = _judged(system, known)
            same = same_verdicts(judged["gates"], known["gates"])
            if not same or judged["passed"] != known["passed"]:
                say(f"{path} is judged anew: what judges has changed since.")
                write_record(path, judged)
                known = judged
            return {**known, "fresh": False}
        say(f"{path} is of other {' and '.join(other)}: it is not used.")
    kept = not arms and settings.seeds == system.scales[scale].seeds
    if kept:
        # Now, rather than after hours.
        check_writable(path)
    elif not arms:
        say(f"No record is kept of {settings.seeds} seeds: the scale '{scale}' has others.")

    folder = work / entry.slug / f"{scale}-{identity.hash()[:12]}"
    with Workspace(folder, identity.hash()) as steps, _spared_collection():
        steps.worth_keeping = True
        names = [name for name in system.arms if not arms or name in arms]
        runner = Runner(system, settings, data, steps, names)
        with workers(jobs, entry, settings, names, steps):
            if jobs > 1:
                runner.share()
            done = {name: runner.run(name) for name in names}
            # Threads are those of each process here, and others afterwards.
            where = {**machine(), "processes": jobs}
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
        "machine": where,
        "baseline": system.baseline,
        "method": system.method,
        "trade": system.trade and list(system.trade),
        "arms": done,
    }
    if arms:
        return {**record, "gates": [], "passed": None, "fresh": True}
    record = _judged(system, record)
    if not kept:
        return {**record, "fresh": True}
    write_record(path, record)
    # All that it was computed from; what else lies there is of other code, data or settings.
    discard_finished_work(folder, identity.hash())
    return {**(read_record(path) or {}), "fresh": True}


def _judged(system: AnySystem, record: dict[str, Any]) -> dict[str, Any]:
    """A record with the verdicts on its figures."""
    figures = {
        name: [run["figures"] for run in arm["runs"]] for name, arm in record["arms"].items()
    }
    verdicts = judge(system, figures)
    return {
        **record,
        "gates": [verdict.to_json() for verdict in verdicts],
        "passed": passed(verdicts),
    }


def check(
    entry: Entry,
    *,
    scale: ScaleName,
    seeds: int | None,
    arms: Sequence[str],
    jobs: int,
    results: Path | None,
) -> tuple[AnySystem, Scale, Path, dict[str, Any] | None]:
    """Refuses what `reproduce` could not do, as far as it is known without the data.

    Args:
        entry: As for `reproduce`.
        scale: As for `reproduce`.
        seeds: As for `reproduce`.
        arms: As for `reproduce`.
        jobs: As for `reproduce`.
        results: As for `reproduce`.

    Returns:
        The system, its settings, the place of its record, and the record, if there is one.

    Raises:
        InputError: As `reproduce` does.
    """
    if seeds is not None and seeds < 1:
        raise InputError(f"--seeds must be at least 1, not {seeds}.")
    if jobs < 1:
        raise InputError(f"--jobs must be at least 1, not {jobs}.")
    folder = results_folder(results)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{results} is no folder of records.")
    # The hash before the code: what is edited from here on is not what ran.
    _ = entry.code_hash
    system = entry.load()
    if scale not in system.scales:
        raise InputError(
            f"{entry.slug} has no scale '{scale}'.", f"There are: {', '.join(system.scales)}."
        )
    settings: Scale = system.scales[scale]
    if seeds is not None:
        settings = replace(settings, seeds=seeds)
    for arm in arms:
        if arm not in system.arms:
            raise InputError(
                f"{entry.slug} has no arm '{arm}'.", f"There are: {', '.join(system.arms)}."
            )
    check_needs(entry.slug, scale, settings)
    path = record_path(folder, entry.slug, scale)
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
    longer than a short one itself. What whoever calls this had spared already stays so.
    """
    spared = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not spared:
            gc.unfreeze()


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
