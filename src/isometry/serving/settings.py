"""What bounds a server, and who may call it."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from isometry.core.errors import InputError

# Where a token may stand; on a command line, every user of the machine would see it.
TOKEN_VARIABLE = "ISOMETRY_TOKEN"
# So short a token can be guessed.
_SHORTEST = 16


@dataclass(frozen=True)
class Limits:
    """How much a client may ask for, and how long that may take.

    Attributes:
        body_bytes: Of a request's body.
        body_seconds: For a body to arrive, and for the headers before it.
        header_bytes: Of all headers and the address together.
        json_depth: Lists and objects within each other.
        inputs: Texts in a request.
        request_characters: Of all texts in a request, without what `truncate` lets be cut.
        request_tokens: Tokens of all texts in a request; also what a text may have for a model
            without a limit of its own.
        request_seconds: For an answer, once the body is there; for each part of one that comes in
            parts.
        concurrent: Requests that are answered at once.
        connections: That are open at once.
        queued_tokens: That wait for a model; more are refused until it has caught up.
        batch_tokens: That a core computes in a row before newcomers have their turn.
        cache_bytes: For the vectors of texts that were asked for before; 0 keeps none.
        query_characters: In the query of a search.
        results: That a search gives at most.
        lines: In a body of documents.
        batch_passages: Of documents that come together, written at once.
        refresh_seconds: Between looks whether a Space was changed.
        shutdown_seconds: For what was accepted to finish after Ctrl-C.
    """

    body_bytes: int = 8 * 2**20
    body_seconds: float = 30.0
    header_bytes: int = 32 * 2**10
    json_depth: int = 16
    inputs: int = 2048
    request_characters: int = 2_400_000
    request_tokens: int = 300_000
    request_seconds: float = 60.0
    concurrent: int = 512
    connections: int = 1024
    queued_tokens: int = 1_000_000
    batch_tokens: int = 2048
    cache_bytes: int = 64 * 2**20
    query_characters: int = 50_000
    results: int = 1000
    lines: int = 100_000
    batch_passages: int = 256
    refresh_seconds: float = 5.0
    shutdown_seconds: float = 30.0


@dataclass(frozen=True)
class Settings:
    """How a server is reached.

    Attributes:
        host: The address that it listens on.
        port: The port; 0 takes a free one.
        token: What clients must send as bearer; nobody is asked for one where it is empty.
        writable: Whether documents are taken; this process alone writes into its Spaces then.
        limits: What a client may ask for.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = field(default="", repr=False)
    writable: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def on_loopback(self) -> bool:
        """Whether only programs of this machine can connect."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own; other names than `localhost` are not looked up."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_token(file: Path | None) -> str:
    """The token in a file, else in the environment, else none.

    Raises:
        InputError: When the file cannot be read, or the token is short or cannot stand in a header.
    """
    if file is None:
        token, place = os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
        if not token:
            return ""
    else:
        place = str(file)
        try:
            token = file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
            raise InputError(f"Cannot read the token file {file}: {reason}.") from error
    if len(token) < _SHORTEST or not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError(
            f"The token in {place} is not {_SHORTEST} or more visible ASCII characters.",
            "Make one with: openssl rand -hex 32",
        )
    return token


def check_reachable(settings: Settings) -> None:
    """Refuses to open a server to other machines without a token.

    Raises:
        InputError: When it would be.
    """
    if not settings.on_loopback and not settings.token:
        raise InputError(
            f"Other machines can reach {settings.host}, so a token is needed.",
            f"Give --token-file FILE or set {TOKEN_VARIABLE}; or leave --host away.",
        )
