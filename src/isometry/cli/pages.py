"""`isometry page`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isometry.cli.output import Json, Quiet, print_json, print_rich, progress
from isometry.cli.spaces import SpaceFolder


def page(
    space: SpaceFolder,
    out: Annotated[
        Path | None,
        typer.Option(help="The file; SPACE.html in this folder if not given.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a Space's page into one file that opens without a server.

    It holds all documents, those nearest to each, and the proof of the fit. It searches by words;
    searching by meaning needs isometry serve. It asks nobody for anything.

    Example:
      isometry page docs-space
    """
    from isometry.core.writing import write_text
    from isometry.jobs.places import check_new_file, check_outside, check_place
    from isometry.serving.offline import offline_page
    from isometry.space import Space

    name = space.resolve().name
    place = Path(f"{name}.html") if out is None else out.expanduser()
    check_place(place, {})
    check_new_file(place, force, begins=b"<!doctype html>")
    opened = Space.open(space)
    if source := opened.manifest["source"].get("place"):
        check_outside(place, Path(source))
    with progress(quiet):
        text = offline_page(opened, name)
    write_text(place, text)
    size = len(text.encode())
    if as_json:
        print_json({"space": str(space), "page": str(place), "bytes": size})
        return
    print_rich(f"{place}: {size / 2**20:,.1f} MiB. Open it in a browser.")
