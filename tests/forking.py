"""Fresh processes with their imports behind them, for tests that kill them while they work."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

# Of all tests that do so: a process has one server that forks. Not LanceDB: its threads do not
# live on in a forked process.
_IMPORTED = [
    "isometry.encoders.text",
    "isometry.jobs.add",
    "isometry.jobs.migrate",
    "isometry.jobs.proof",
    "isometry.jobs.ranking",
    "isometry.report.page",
    "isometry.systems.causes_study",
    "isometry.systems.run",
    "isometry.training.trainer",
]


def forking() -> ForkServerContext:
    """What starts such processes; its own imports are done before anything is timed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    imported = context.Process(target=int)
    imported.start()
    imported.join()
    return context
