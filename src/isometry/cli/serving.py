"""`isometry serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_LIMITS = "Limits"


def serve(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SPACE_OR_MODEL...",
            help="Spaces, model folders, packaged:minilm: NAME=PLACE, or called as their folder.",
            show_default=False,
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token that clients must send; else ISOMETRY_TOKEN is read.",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Take documents too; nobody else can write into the Spaces meanwhile."
        ),
    ] = False,
    beside_base: Annotated[
        bool,
        typer.Option(
            "--beside-base",
            help="Search each Space by the model that its fit began with as well, as NAME.base; its"
            " passages are encoded at the start.",
        ),
    ] = False,
    max_body_mib: Annotated[
        int, typer.Option(min=1, help="Largest body of a request.", rich_help_panel=_LIMITS)
    ] = 8,
    max_seconds: Annotated[
        float,
        typer.Option(min=0.1, help="Longest time for an answer.", rich_help_panel=_LIMITS),
    ] = 60.0,
    cache_mib: Annotated[
        int,
        typer.Option(
            min=0, help="Memory for vectors of texts asked for before.", rich_help_panel=_LIMITS
        ),
    ] = 64,
    log_requests: Annotated[
        bool,
        typer.Option("--log-requests", help="A JSON line on standard error for every request."),
    ] = False,
) -> None:
    """Serve Spaces and models over HTTP: embeddings, reranking, search, documents.

    Clients of OpenAI's embeddings and of Cohere's, Jina's and TEI's rerank work as they are. What
    `isometry add` changes in a Space is taken up meanwhile. Ctrl-C finishes what was accepted.

    Examples:
      isometry serve docs-space

      isometry serve docs-space small=packaged:minilm --port 0

      isometry serve docs-space --write

      isometry serve docs-space --host 0.0.0.0 --token-file token.txt
    """
    from isometry.serving.start import start

    start(
        sources,
        host=host,
        port=port,
        token_file=token_file,
        writable=write,
        beside_base=beside_base,
        max_body_mib=max_body_mib,
        max_seconds=max_seconds,
        cache_mib=cache_mib,
        log_requests=log_requests,
        on_started=lambda lines: typer.echo("\n".join(lines)),
    )
