"""`isometry export`."""

from __future__ import annotations

from typing import Annotated

import typer

from isometry.cli.output import Json, Quiet, print_json, print_rich, progress
from isometry.cli.spaces import SpaceFolder


def export(
    space: SpaceFolder,
    target: Annotated[
        str,
        typer.Argument(
            help="postgresql://USER@HOST/DATABASE#SCHEMA, or s3://BUCKET/PREFIX.",
            show_default=False,
        ),
    ],
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Exchange what another Space, or another encoder, has left there."
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Copy a Space's documents, passages and vectors to a PostgreSQL server or object storage.

    Run it again after add, and only what changed is written. Whoever searches there, as with search
    --at, sees the old state or the new one. The server needs the extension vector (pgvector);
    without a schema, isometry is meant. Passwords are best kept in .pgpass or PGPASSWORD; keys of
    object storage, and where it is, stand in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION
    and AWS_ENDPOINT_URL.

    Examples:
      isometry export docs-space postgresql://me@localhost/shop#docs

      isometry export docs-space s3://my-bucket/docs

      isometry search docs-space "how do I rotate the keys" --at s3://my-bucket/docs
    """
    from isometry.jobs.export import export as job

    with progress(quiet):
        figures = job(space, target, replace=replace)
    if as_json:
        print_json({"space": str(space), **figures})
        return
    if "files" in figures:
        what = f"{figures['files']:,} files written, {figures['bytes']:,} bytes"
    else:
        counts = ("added", "changed", "removed", "unchanged")
        what = ", ".join(f"{figures[name]:,} {name}" for name in counts)
        what = f"documents {what}; {figures['passages']:,} passages written"
    print_rich(
        f"{figures['target']}: {what}; {figures['documents']:,} documents in all, state"
        f" {figures['state']}. {figures['seconds']:.1f} s."
    )
