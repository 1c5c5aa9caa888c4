"""What stands between a user's command and a running server; refuses cheaply first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from isometry.core.errors import InputError, MissingExtraError
from isometry.core.heap import share_one_heap
from isometry.serving.settings import Limits, Settings, check_reachable, read_token

# Where OpenAI's clients look for an address.
OPENAI_VARIABLE = "OPENAI_BASE_URL"
# What the extra brings; each is needed.
_PACKAGES = ("fastapi", "uvicorn", "httptools", "prometheus_client")


def start(
    arguments: Sequence[str],
    *,
    host: str,
    port: int,
    token_file: Path | None,
    writable: bool,
    beside_base: bool,
    max_body_mib: int,
    max_seconds: float,
    cache_mib: int,
    log_requests: bool,
    on_started: Callable[[list[str]], None],
) -> None:
    """Serves until Ctrl-C or SIGTERM.

    Args:
        arguments: What to serve, each `NAME=PLACE` or a place.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        token_file: Where the clients' token stands.
        writable: Whether documents are taken.
        beside_base: Whether Spaces are searched by their bases as well.
        max_body_mib: The largest body.
        max_seconds: The longest time for an answer.
        cache_mib: For vectors of former texts.
        log_requests: Whether every request is logged.
        on_started: Called with lines that say how to call the server.

    Raises:
        InputError: For anything that the user can cause and cure.
        MissingExtraError: When the extra `serve` is not installed.
    """
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve")
    limits = Limits(
        body_bytes=max_body_mib * 2**20, request_seconds=max_seconds, cache_bytes=cache_mib * 2**20
    )
    token = read_token(token_file)
    settings = Settings(host=host, port=port, token=token, writable=writable, limits=limits)
    check_reachable(settings)
    if writable:
        # Each state that is written goes through large tables; one client alone waits for longer.
        share_one_heap()
    from isometry.serving.sources import read_sources

    if writable and beside_base:
        raise InputError(
            "What is being written cannot be compared with its base.",
            "Leave --write or --beside-base away.",
        )
    sources = read_sources(arguments, beside_base=beside_base)
    from isometry.serving.observing import log_to_stderr
    from isometry.serving.server import run

    log_to_stderr(requests=log_requests)
    name = next((source.name for source in sources if source.is_space), sources[0].name)
    searched = any(source.is_space for source in sources)
    if writable and not searched:
        raise InputError("There is no Space among these that could take documents.")
    if beside_base and not searched:
        raise InputError(
            "There is no Space among these that has a base.", "Leave --beside-base away."
        )
    run(
        sources,
        settings,
        lambda address: on_started(
            how_to_call(address, [source.name for source in sources], name, searched, settings)
        ),
    )


def how_to_call(
    address: str, names: Sequence[str], name: str, searched: bool, settings: Settings
) -> list[str]:
    """The address, and one request that can be copied.

    Args:
        address: Of the server.
        names: What it serves.
        name: The one to call in the example.
        searched: Whether that is a Space.
        settings: Who may call it.
    """
    token = " -H 'Authorization: Bearer TOKEN'" if settings.token else ""
    body = f'"space": "{name}", "query"' if searched else f'"model": "{name}", "input"'
    path = "/search" if searched else "/v1/embeddings"
    return [
        f"Serving {', '.join(names)} at {address} ({OPENAI_VARIABLE}={address}/v1); Ctrl-C ends.",
        f"curl {address}{path}{token} --json '{{{body}: \"how do I rotate the keys\"}}'",
    ]
