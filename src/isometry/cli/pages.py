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
    from isometry.core.errors import InputError
    from isometry.core.writing import write_text
    from isometry.corpora.readers.archives import SKIPPED_FOLDERS
    from isometry.jobs.places import check_place
    from isometry.serving.offline import offline_page
    from isometry.space import Space

    name = space.resolve().name
    place = out or Path(f"{name}.html")
    if place.is_dir():
        raise InputError(f"{place} is a folder.", "--out is the file that is written.")
    check_place(place, {})
    if place.exists() and not force:
        raise InputError(f"{place} exists.", "Replace it with --force, or choose another --out.")
    opened = Space.open(space)
    whole = opened.manifest["source"].get("place")
    inside = Path()
    if whole and Path(whole).is_dir() and Path(whole).resolve() in place.resolve().parents:
        inside = place.resolve().relative_to(Path(whole).resolve())
    # What is hidden is not read.
    if inside.parts and not any(
        part.startswith(".") or part in SKIPPED_FOLDERS for part in inside.parts
    ):
        raise InputError(
            f"{place} lies in the source, where the next run would read it as a document.",
            "Choose another --out.",
        )
    with progress(quiet):
        text = offline_page(opened, name)
    write_text(place, text)
    size = len(text.encode())
    if as_json:
        print_json({"space": str(space), "page": str(place), "bytes": size})
        return
    print_rich(f"{place}: {size / 2**20:,.1f} MiB. Open it in a browser.")
