"""Progress on standard error, for people; silent for scripts."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

_WORTH_A_LINE = 2.0

_quiet: ContextVar[bool] = ContextVar("quiet", default=True)
_bars: ContextVar[bool] = ContextVar("bars", default=True)


class Task(Protocol):
    """A running piece of work that reports how far it has come."""

    def advance(self, amount: float = 1) -> None:
        """Adds to what is done."""
        ...

    def note(self, text: str) -> None:
        """Shows a few words beside the bar (a loss, a file name)."""
        ...


class _Silent:
    def advance(self, amount: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


@contextmanager
def progress_shown(shown: bool, *, bars: bool = True) -> Generator[None]:
    """Turns progress on or off inside the block (off by default).

    Args:
        shown: Whether messages and bars are shown.
        bars: Whether bars are; those of several processes would overwrite one another.
    """
    tokens = _quiet.set(not shown), _bars.set(bars)
    try:
        yield
    finally:
        _quiet.reset(tokens[0])
        _bars.reset(tokens[1])


def shown() -> bool:
    """Whether messages are."""
    return not _quiet.get()


def say(text: str) -> None:
    """Prints one line to standard error, unless progress is off."""
    if not _quiet.get():
        from rich.console import Console

        # What stands in brackets is a part of a name, and no markup.
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        # In a log a line stays one line, so that a path can be found and copied.
        console.print(text, soft_wrap=not console.is_terminal)


@contextmanager
def track(title: str, total: float | None = None, unit: str = "") -> Generator[Task]:
    """Shows a bar with rate and time left while the block runs.

    Args:
        title: What is being done.
        total: How much there is to do; `None` where nobody knows.
        unit: What is counted ("texts", "steps"), for the rate.
    """
    if _quiet.get() or not _bars.get():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Task as Row
    from rich.text import Text

    class _Rate(TextColumn):
        def render(self, task: Row) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if not speed else f"{speed:,.1f} {unit}/s", style="dim")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.completed:,.0f}" + ("/{task.total:,.0f}" if total else "") + f" {unit}"),
        _Rate(""),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[extra]}"),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        row = bar.add_task(title, total=total, extra="")

        class _Shown:
            def advance(self, amount: float = 1) -> None:
                bar.advance(row, amount)

            def note(self, text: str) -> None:
                bar.update(row, extra=text)

        yield _Shown()
        # What was over in a moment leaves no line behind.
        bar.live.transient = (bar.tasks[row].elapsed or 0.0) < _WORTH_A_LINE
