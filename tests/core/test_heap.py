"""In a process of its own: an allocator's settings are those of a whole process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Threads that each fill and free many small pieces, one after the other.
_THREADS = """
import sys, threading
from pathlib import Path
from isometry.core import heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

def work():
    kept = [bytes(1000) for _ in range(40_000)]
    # Something stays at the end of each heap, as it does in a real process.
    left.append(bytes(1000))
    del kept

left = []
if "shared" in sys.argv:
    heap.share_one_heap()
# All alive at once, so that each has a heap, and taking turns.
turns = [threading.Semaphore(0) for _ in range(8)]
done = threading.Semaphore(0)

def run(turn):
    turn.acquire()
    work()
    done.release()
    turn.acquire()

threads = [threading.Thread(target=run, args=(turn,)) for turn in turns]
for thread in threads:
    thread.start()
before = resident()
for turn in turns:
    turn.release()
    done.acquire()
grown = resident() - before
heap.give_back()
print(grown, resident() - before)
for turn in turns:
    turn.release()
"""


def grown(*arguments: str) -> tuple[float, float]:
    command = [sys.executable, "-c", _THREADS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    held, kept = map(float, done.stdout.split())
    return held, kept


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries have no heaps")
def test_threads_that_take_turns_share_their_memory() -> None:
    alone, _ = grown()
    shared, kept = grown("shared")
    assert shared < alone / 2
    # What one thread used at least, and then next to nothing.
    assert shared > 20
    assert kept < 10


def test_what_is_given_back_may_be_none() -> None:
    from isometry.core.heap import give_back

    give_back()
