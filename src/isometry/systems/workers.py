"""Processes that run a system's arms beside this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path

from isometry.core.errors import InputError
from isometry.core.progress import progress_shown, say, shown
from isometry.core.workspace import Workspace
from isometry.systems.catalogue import Entry
from isometry.systems.runner import Runner
from isometry.systems.system import Scale


@contextmanager
def workers(
    jobs: int, entry: Entry, settings: Scale, names: list[str], steps: Workspace
) -> Generator[None]:
    """Inside, so many processes less one share the work with this one, and with its processors.

    Each reads the data anew. Those that are still at it at the end are stopped: what they have not
    finished, whoever needs it does.

    Args:
        jobs: How many processes work, this one included.
        entry: The system; a process that finds other code in its files does nothing.
        settings: Its scale.
        names: The arms.
        steps: Where finished runs are kept; this process holds it.
    """
    if jobs == 1:
        yield
        return
    import torch

    before = torch.get_num_threads()
    threads = max(1, before // jobs)
    context = multiprocessing.get_context("spawn")
    helpers = [
        context.Process(
            target=_help,
            args=(
                replace(entry),
                entry.code_hash,
                settings,
                names,
                steps.path,
                steps.fingerprint,
                threads,
                shown(),
            ),
            daemon=True,
        )
        for _ in range(jobs - 1)
    ]
    with _threads(threads), _deaf():
        for helper in helpers:
            helper.start()
    torch.set_num_threads(threads)
    try:
        with progress_shown(shown(), bars=False):
            yield
    finally:
        torch.set_num_threads(before)
        for helper in helpers:
            helper.terminate()
            helper.join()


@contextmanager
def _deaf() -> Generator[None]:
    """What is started inside hears no Ctrl-C, which a terminal sends to all: its owner ends it.

    The owner hears one that comes meanwhile behind it.
    """
    # Starting it unblocks the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads(threads: int) -> Generator[None]:
    """What processes that are started inside find in their environment, before any import."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _help(
    entry: Entry,
    code: str,
    settings: Scale,
    names: list[str],
    folder: Path,
    fingerprint: str,
    threads: int,
    aloud: bool,
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    if entry.code_hash != code:
        say(f"A process of {entry.slug} stopped: its code was edited.")
        return
    system = entry.load()
    # Its owner holds the folder's lock: here only what has locks of its own is written.
    steps = Workspace(folder, fingerprint)
    with progress_shown(aloud, bars=False):
        try:
            Runner(system, settings, system.data(settings), steps, names).share()
        except InputError as error:
            # The owner comes to the same end, and says it.
            say(f"A process of {entry.slug} stopped: {error.message}")


def _end_with_parent() -> None:
    """A process whose owner was killed must not go on in a folder that another one may take."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
