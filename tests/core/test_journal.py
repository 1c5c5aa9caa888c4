from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.core import journal as journals
from isometry.core.errors import InputError
from isometry.core.journal import Journal, NotWrittenError

KILLS = int(os.environ.get("ISOMETRY_KILLS", "3"))

# Every example flushes files many times.
Few = settings(deadline=None, max_examples=10)


def write(folder: Path, payloads: list[bytes]) -> None:
    with Journal.open(folder) as journal:
        for payload in payloads:
            journal.append(payload).result()


def read(folder: Path) -> list[bytes]:
    with Journal.open(folder) as journal:
        found = list(journal.records())
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    return [payload for _, payload in found]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def test_what_is_acknowledged_is_there_again_in_order(tmp_path: Path) -> None:
    payloads = [b"", b"one", b"\xf1REC" * 9, os.urandom(100_000), b"ISOJ"]
    with Journal.open(tmp_path / "new" / "journal") as journal:
        assert (journal.first, journal.last) == (1, 0)
        numbers = [journal.append(payload).result() for payload in payloads]
        assert numbers == [1, 2, 3, 4, 5]
        assert list(journal.records(3)) == [(4, payloads[3]), (5, payloads[4])]
    with Journal.open(tmp_path / "new" / "journal") as journal:
        assert journal.recovered == journals.Recovered(5, 0)
        assert [payload for _, payload in journal.records()] == payloads
        assert journal.append(b"six").result() == 6
    assert read(tmp_path / "new" / "journal") == [*payloads, b"six"]


def test_segments_follow_each_other_and_whole_ones_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "_SEGMENT_BYTES", 200)
    payloads = [bytes([number]) * 50 for number in range(20)]
    write(tmp_path, payloads)
    assert len(segments(tmp_path)) > 4
    assert read(tmp_path) == payloads
    with Journal.open(tmp_path) as journal:
        journal.forget(10)
        # The segment with record 11 stays whole.
        assert 8 <= journal.first <= 11
        first = journal.first
        assert list(journal.records()) == list(enumerate(payloads, 1))[first - 1 :]
        journal.forget(20)
        assert (journal.first, journal.last) == (21, 20)
        assert list(journal.records()) == []
    # The numbers go on, whatever was forgotten.
    assert len(segments(tmp_path)) == 1
    with Journal.open(tmp_path) as journal:
        assert journal.append(b"more").result() == 21
        journal.forget(20)
        assert list(journal.records()) == [(21, b"more")]
    with Journal.open(tmp_path / "late", first=7) as journal:
        assert journal.append(b"x").result() == 7


@Few
@given(
    st.lists(st.binary(max_size=9), max_size=3),
    st.lists(st.binary(max_size=9), min_size=1, max_size=2),
)
def test_a_write_that_was_cut_off_anywhere_leaves_all_before_it(
    tmp_path_factory: pytest.TempPathFactory, before: list[bytes], last: list[bytes]
) -> None:
    """A crash within the last write: at every byte of it."""
    folder = tmp_path_factory.mktemp("journal")
    with Journal.open(folder) as journal:
        for payload in before:
            journal.append(payload).result()
        # It begins here, or in a segment that is still to come.
        start = sum(path.stat().st_size for path in segments(folder))
        for payload in last:
            journal.append(payload).result()
    path = segments(folder)[-1]
    whole = path.read_bytes()
    ends = [start]
    for payload in last:
        ends.append(ends[-1] + 20 + len(payload))
    assert ends[-1] == len(whole)
    for cut in range(start, len(whole) + 1):
        path.write_bytes(whole[:cut])
        with Journal.open(folder) as journal:
            kept = sum(end <= cut for end in ends) - 1
            expected = [*before, *last[:kept]]
            assert [payload for _, payload in journal.records()] == expected
            assert journal.recovered.torn_bytes == cut - ends[kept]
        assert path.stat().st_size == ends[kept]
    # And it goes on from there.
    path.write_bytes(whole[:-1])
    write(folder, [b"again"])
    assert read(folder) == [*before, *last[:-1], b"again"]


@Few
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=6), st.data())
def test_no_flipped_bit_goes_unseen(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    write(folder, payloads)
    path = segments(folder)[0]
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) * 8 - 1))
    broken = bytearray(whole)
    broken[place // 8] ^= 1 << place % 8
    path.write_bytes(broken)
    last = len(whole) - 20 - len(payloads[-1])
    if place // 8 >= last:
        # As a write that was cut off: counted, and what is before it stays.
        with Journal.open(folder) as journal:
            assert journal.recovered.torn_bytes == len(whole) - last
            assert [payload for _, payload in journal.records()] == payloads[:-1]
    else:
        with pytest.raises(InputError, match=rf"{path.name} is (damaged at byte \d+|a journal of)"):
            Journal.open(folder)
        assert path.read_bytes() == broken


def test_damage_names_file_and_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_SEGMENT_BYTES", 200)
    write(tmp_path / "whole", [bytes([number]) * 50 for number in range(9)])
    paths = segments(tmp_path / "whole")
    assert len(paths) == 3

    def damaged(name: str) -> Path:
        return Path(shutil.copytree(tmp_path / "whole", tmp_path / name))

    def refused(folder: Path, place: Path, offset: int, what: str) -> None:
        before = {path: path.read_bytes() for path in segments(folder)}
        for _ in range(2):
            with pytest.raises(InputError, match=what) as failure:
                Journal.open(folder)
            assert f"{folder / place.name} is damaged at byte {offset}:" in str(failure.value)
        assert {path: path.read_bytes() for path in segments(folder)} == before

    gap = damaged("gap")
    (gap / paths[1].name).unlink()
    refused(gap, paths[2], 0, "records 4 to 6 before it are missing")
    # The end of a segment that another one follows was never an unfinished write.
    cut = damaged("cut")
    (cut / paths[0].name).write_bytes(paths[0].read_bytes()[:-1])
    refused(cut, paths[0], 20 + 2 * 70, "others follow")
    # A length that points beyond the end, with whole records behind it.
    long = damaged("long")
    data = bytearray(paths[2].read_bytes())
    data[20 + 12 + 3] = 0x7F
    (long / paths[2].name).write_bytes(data)
    refused(long, paths[2], 20, "others follow")
    head = damaged("head")
    (head / paths[2].name).write_bytes(b"")
    refused(head, paths[2], 0, "header is cut off")
    renamed = damaged("renamed")
    (renamed / paths[0].name).rename(renamed / f"{2:020}.journal")
    refused(renamed, Path(f"{2:020}.journal"), 0, "somebody renamed it")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Journal.open(tmp_path), pytest.raises(InputError, match="open in another process"):
        Journal.open(tmp_path)
    journal = Journal.open(tmp_path)
    journal.close()
    with pytest.raises(ValueError, match="closed"):
        journal.append(b"late")


def test_one_thread_tells_of_all_records_however_late_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record must not be on the disk before it is known whom to tell: the next would be first."""

    class Late(Future[int]):
        def add_done_callback(self, fn: Any) -> None:
            time.sleep(0.02)
            super().add_done_callback(fn)

    monkeypatch.setattr(journals, "Future", Late)
    told: list[tuple[int, str]] = []

    def tell(done: Future[int]) -> None:
        told.append((done.result(), threading.current_thread().name))

    with Journal.open(tmp_path) as journal:
        threads = [
            threading.Thread(target=lambda: [journal.append(b"x", tell) for _ in range(5)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert told == [(number, "journal") for number in range(1, 21)]


def test_many_threads_share_few_flushes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one flush is under way the others gather, and all of them share the next."""
    flushes = 0
    begun, go = threading.Event(), threading.Event()
    real = journals._flush_data

    def counted(file: int) -> None:
        nonlocal flushes
        flushes += 1
        begun.set()
        assert go.wait(60)
        real(file)

    monkeypatch.setattr(journals, "_flush_data", counted)
    with Journal.open(tmp_path) as journal:
        first = journal.append(b"first")
        assert begun.wait(60)
        futures: dict[bytes, Any] = {}

        def many(name: int) -> None:
            for number in range(50):
                payload = f"{name} {number}".encode()
                futures[payload] = journal.append(payload)

        threads = [threading.Thread(target=many, args=(name,)) for name in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Not one is acknowledged before it is on the disk.
        assert not first.done() and not any(future.done() for future in futures.values())
        assert not next(iter(futures.values())).cancel()
        go.set()
        numbers = {payload: future.result() for payload, future in futures.items()}
        assert {p: n for n, p in journal.records()} == {b"first": 1, **numbers}
        for name in range(16):
            own = [numbers[f"{name} {number}".encode()] for number in range(50)]
            assert own == sorted(own)
    assert flushes == 2


class Disk:
    """A disk that can be full, also in the middle of a write, or fail to flush."""

    def __init__(self, patcher: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self.flushes = True
        write, flush = os.pwrite, journals._flush_data

        def writing(file: int, data: Any, offset: int) -> int:
            if self.room is None:
                return write(file, data, offset)
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            part = write(file, data[: self.room], offset)
            self.room -= part
            return part

        def flushing(file: int) -> None:
            if not self.flushes:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            flush(file)

        patcher.setattr(os, "pwrite", writing)
        patcher.setattr(journals, "_flush_data", flushing)


@pytest.mark.parametrize("room", [0, 1, 25, 60])
def test_a_full_disk_fails_those_who_wait_and_then_it_goes_on(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with Journal.open(tmp_path) as journal:
        journal.append(b"before").result()
        disk.room = room
        for _ in range(2):
            with pytest.raises(NotWrittenError, match="No room left") as failure:
                journal.append(b"lost" * 20).result()
            assert "by itself" in failure.value.hint
        assert list(journal.records()) == [(1, b"before")]
        disk.room = None
        assert journal.append(b"after").result() == 2
    assert read(tmp_path) == [b"before", b"after"]


def test_after_a_flush_that_failed_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with Journal.open(tmp_path) as journal:
        # Also where the first record of a segment fails.
        disk.flushes = False
        with pytest.raises(NotWrittenError, match="Input/output error"):
            journal.append(b"never").result()
        disk.flushes = True
        journal.append(b"before").result()
        disk.flushes = False
        with pytest.raises(NotWrittenError, match="Input/output error"):
            journal.append(b"lost").result()
        assert b"lost" not in segments(tmp_path)[-1].read_bytes()
        crashed = Path(shutil.copytree(tmp_path, tmp_path.with_name("crashed")))
        disk.flushes = True
        assert journal.append(b"after").result() == 2
        # The segment of the failure is left alone.
        assert len(segments(tmp_path)) == 2
        assert b"after" in segments(tmp_path)[-1].read_bytes()
    assert read(tmp_path) == [b"before", b"after"]
    assert read(crashed) == [b"before"]


def test_where_not_even_cutting_off_works_nothing_is_written_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with Journal.open(tmp_path) as journal:
        journal.append(b"before").result()
        with monkeypatch.context() as patch:
            patch.setattr(
                Journal, "_cut_off", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, ""))
            )
            disk.room = 10
            for _ in range(2):
                with pytest.raises(NotWrittenError):
                    journal.append(b"lost").result()
                journal._file = None
            disk.room = None
            with pytest.raises(NotWrittenError):
                journal.append(b"lost").result()
        assert journal.append(b"after").result() == 2
    assert read(tmp_path) == [b"before", b"after"]


_CHILD = """
import sys
from pathlib import Path
from threading import Thread
from isometry.core import journal
journal._SEGMENT_BYTES = 4000
journal = journal.Journal.open(Path(sys.argv[1]))
def loop(name):
    for number in range(1_000_000):
        payload = f"{name} {number} ".encode() * (1 + number % 40)
        said = journal.append(payload).result()
        sys.stdout.write(f"{said} {name} {number}\\n")
        sys.stdout.flush()
for name in range(4):
    Thread(target=loop, args=(name,)).start()
"""


def test_killed_while_it_appends(tmp_path: Path) -> None:
    generator = random.Random(0)
    acknowledged: dict[int, tuple[int, int, int]] = {}
    for life in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(generator.randrange(1, 400)):
            number, *what = map(int, child.stdout.readline().split())
            acknowledged[number] = (life, what[0], what[1])
        child.kill()
        # What it said before it died counts, too; the last line may be cut off.
        for line in child.stdout.read().split("\n")[:-1]:
            with contextlib.suppress(ValueError):
                number, *what = map(int, line.split())
                acknowledged[number] = (life, what[0], what[1])
        child.wait()
        with Journal.open(tmp_path) as journal:
            found = dict(journal.records())
            assert list(found) == list(range(1, journal.last + 1))
        assert acknowledged.keys() <= found.keys()
        for number, payload in found.items():
            name, count = map(int, payload.split()[:2])
            assert payload == f"{name} {count} ".encode() * (1 + count % 40)
            if number in acknowledged:
                assert acknowledged[number][1:] == (name, count)
