"""Addresses of PostgreSQL servers, and what they say, without the passwords in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from isometry.core.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from psycopg import Connection

SCHEMES = ("postgresql://", "postgres://")
_CONNECT_SECONDS = 10


def without_password(spec: str) -> str:
    """An address as it may be shown: with neither the user's password nor a key's.

    >>> without_password("postgresql://me:secret@host/db?sslpassword=x#public.notes")
    'postgresql://me@host/db?sslpassword=***#public.notes'
    """
    scheme, mark, rest = spec.partition("://")
    place, question, query = rest.partition("?")
    if "@" in query and not set("@/") & set(place):
        # It was a "?" in the user's password that nobody quoted.
        place, question, query = rest, "", ""
    # Up to the last "@", since a password may hold one too.
    user, at, place = place.rpartition("@")
    shown = f"{scheme}{mark}{user.partition(':')[0]}{at}{place}{question}{query}"
    return re.sub(r"(?i)(password=)[^&#]*", r"\1***", shown)


def no_place(target: str) -> InputError:
    """What there is to say of an address that is neither a server's nor of object storage."""
    return InputError(
        f"{without_password(target)} is no place for a Space.",
        "Give postgresql://USER@HOST/DATABASE#SCHEMA or s3://BUCKET/PREFIX.",
    )


def split_address(spec: str, form: str) -> tuple[str, str]:
    """The address of a database, and what stands behind its "#".

    Args:
        spec: What the user typed.
        form: What it should look like, as in "postgresql://USER@HOST/DATABASE#SCHEMA".

    Raises:
        InputError: For what libpq would misread, and then repeat in a message with the password.
    """
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise MissingExtraError("psycopg", "postgres") from None
    address, _, wanted = spec.partition("#")
    try:
        values = conninfo_to_dict(address)
    except ProgrammingError:
        values = {"host": "@"}
    parts = [str(values.get(part) or "") for part in ("host", "dbname")]
    port = str(values.get("port") or "").replace(",", "0")
    if any("@" in part for part in [*parts, wanted]) or (port and not port.isdigit()):
        raise InputError(
            f"{without_password(spec)} is not of the form {form}.",
            "In a user's name or password '@', '/', ':', '#' and '%' are written as %40, %2F, %3A,"
            " %23 and %25.",
        )
    return address, wanted


def connect(address: str) -> Connection:
    """A connection that speaks UTF-8 and keeps no prepared statements, for the sake of pools.

    Raises:
        psycopg.Error: When the server cannot be reached.
    """
    import psycopg

    return psycopg.connect(
        address,
        connect_timeout=_CONNECT_SECONDS,
        client_encoding="utf8",
        prepare_threshold=None,
    )


def reason(error: Exception, address: str) -> str:
    """The first line of what the server or libpq says, without the password."""
    from psycopg.conninfo import conninfo_to_dict

    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    said = next(iter(str(primary or error).strip().splitlines()), type(error).__name__)
    for name, value in conninfo_to_dict(address).items():
        if "password" in name and value:
            said = said.replace(str(value), "***")
    return said.rstrip(".")
