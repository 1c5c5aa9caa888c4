"""Excel and OpenDocument spreadsheets -> rows."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from isometry.core.errors import InputError, MissingExtraError
from isometry.corpora.readers.compressed import check_zip
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.rows import Row, clear_read_errors

_MOST_BYTES = 4 << 30


@dataclass(frozen=True)
class Spreadsheet:
    """The first sheet with rows under a header, and every further one with the same header.

    A process of its own opens the file, since the parser holds a sheet whole, as a full rectangle:
    one stray cell in the last column of the last row would take the memory of this machine.
    """

    path: Path
    key: None = None

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.path)

    def names(self) -> list[str]:
        """The first row that is not empty; see `Rows.names`."""
        lines = self._lines()
        try:
            return [name for name in next(lines)[1] if name]
        finally:
            lines.close()

    def read(
        self, columns: Sequence[str] | None, report: ReadingReport, shown: str
    ) -> Generator[Row]:
        """See `Rows.read`; empty rows are passed over, and a sheet with another header is noted.

        A row of a further sheet is named as Excel names its cells: "Sheet!7".
        """
        lines = self._lines()
        try:
            first, header = next(lines)
            sheet = first
            for place, cells in lines:
                if isinstance(place, str):
                    sheet = place
                    if cells != header:
                        other = f"only sheets with the columns of '{first}' are read"
                        report.skip(f"{shown}#{sheet}", other)
                    continue
                named = zip(header, cells, strict=True)
                number = place if sheet == first else f"{sheet}!{place}"
                yield number, {name: cell for name, cell in named if name}
        finally:
            lines.close()

    def _lines(self) -> Generator[tuple[str | int, list]]:
        """The sheets by name, each with its header, and the rows with their number in the sheet."""
        if importlib.util.find_spec("python_calamine") is None:
            raise MissingExtraError("python-calamine", "office")
        with clear_read_errors(self.shown):
            with self.path.open("rb") as file:
                is_zip = file.read(2) == b"PK"
            if is_zip:
                check_zip(self.path)
        worker = Path(__file__).with_name("spreadsheet_worker.py")
        # -P: the worker's folder has modules that are named as Python's own are.
        command = [sys.executable, "-P", str(worker), str(self.path), str(_MOST_BYTES)]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    value = json.loads(line)
                    if isinstance(value, str):
                        raise InputError(f"Cannot read {self.path}: {value}")
                    yield value[0], value[1]
                if process.wait() != 0:
                    raise InputError(
                        f"Cannot read {self.path}: its cells need more memory than"
                        f" {_MOST_BYTES >> 30} GiB.",
                        "Save the sheet as CSV; a stray cell far away from the others can do it.",
                    )
            finally:
                process.kill()
