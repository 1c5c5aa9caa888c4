"""The program `isometry`."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from functools import cache
from typing import Annotated, Any

import typer
from typer.main import get_command

from isometry.cli import (
    checklists,
    cutting,
    distilling,
    encoding,
    evaluation,
    exporting,
    fitting,
    merging,
    pages,
    serving,
    spaces,
    states,
    systems,
    upkeep,
)

# What Typer, too, makes of Ctrl-C: 128 and the number of the signal.
_INTERRUPTED = 130
# Nothing more can be written.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
# What no command can make of a path that it was given.
_UNUSABLE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES)
_TERMINATED = 143
_RESUMING = ("fit", "encode", "distill", "add", "migrate", "reproduce")

app = typer.Typer(
    name="isometry",
    help="Turn a pretrained encoder and your own unlabelled documents into a measurably better"
    " embedding space.\n\nStart with: isometry fit FOLDER",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("fit")(fitting.fit)
app.command("search")(spaces.search)
app.command("serve")(serving.serve)
app.command("page")(pages.page)
app.command("encode")(encoding.encode)
app.command("evaluate")(evaluation.evaluate)
app.command("merge")(merging.merge)
app.command("distill")(distilling.distill)
app.command("cut")(cutting.cut)
app.command("add")(upkeep.add)
app.command("migrate")(upkeep.migrate)
app.command("compact")(upkeep.compact)
app.command("export")(exporting.export)
app.add_typer(states.app)
app.command("info")(spaces.info)
app.command("verify")(spaces.verify)
app.command("models")(spaces.models)
app.command("systems")(systems.systems)
app.command("reproduce")(systems.reproduce)
app.command("checklist")(checklists.checklist)


def _version(wanted: bool) -> None:
    if wanted:
        from isometry import __version__

        typer.echo(f"isometry {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> int:
    """Runs the program and gives its exit code.

    0, 1 for a gate that fails, 2 for bad input, 130 when interrupted.

    Args:
        arguments: What follows the program's name; `sys.argv` when not given.
    """
    from isometry.core.errors import InputError

    given = sys.argv[1:] if arguments is None else arguments
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        # It was closed (`>&-`).
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    try:
        _check_text(given)
        code = _command()(args=arguments, prog_name="isometry", standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except InputError as error:
        _complain(error.message, error.hint)
        return 2
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            # Standard output, or a file. What waits is tried again when the interpreter ends.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            _complain(f"Cannot write: {error.strerror}.", "")
            return 2
        if error.errno not in _UNUSABLE or error.filename is None:
            raise
        _complain(f"{str(error.filename)[:200]}: {error.strerror}.", "")
        return 2
    except RuntimeError as error:
        # What pathlib says of "~somebody"; a query may begin so, too, and is no path.
        if "home directory" not in str(error):
            raise
        homes = [part.partition("/")[0] for part in given if part.startswith("~")]
        _complain(f"Nobody has the home {' or '.join(homes)}.", "")
        return 2
    except typer.TyperException as error:
        # An unknown command or option, a value of the wrong kind, or no argument at all.
        error.show()  # pyright: ignore[reportAttributeAccessIssue]
        return 2
    except (KeyboardInterrupt, typer.Abort):
        _complain("Stopped.", "The same command goes on from where it was." * _goes_on(given))
        return _INTERRUPTED


@cache
def _command() -> Any:
    # Made of all signatures, which takes 25 ms each time.
    return get_command(app)


def _check_text(arguments: list[str]) -> None:
    """Refuses what no file of ours could repeat.

    Raises:
        InputError: For an argument that is not UTF-8.
    """
    from isometry.core.errors import InputError

    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            raise InputError(
                f"'{shown}' is not UTF-8.", "Give files and folders such names."
            ) from None


def _goes_on(arguments: list[str]) -> bool:
    """Whether a command leaves what it has done so far, and the same again goes on with it."""
    command = next((part for part in arguments if not part.startswith("-")), "")
    return command in _RESUMING and "--dry-run" not in arguments


def _complain(message: str, hint: str) -> None:
    from isometry.report.figures import safe_line

    print(f"isometry: {safe_line(f'{message} {hint}')}", file=sys.stderr)  # noqa: T201


def run() -> None:
    """The entry point of the installed program."""
    # Threads that spin while they wait take the cores from each other as soon as any other program
    # wants one, and short products then take many times as long. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # As if by Ctrl-C, so that no half of a folder stays; `serve` finishes what it has accepted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    sys.exit(main())
