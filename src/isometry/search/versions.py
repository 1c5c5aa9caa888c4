"""How Lance names what it keeps of a table's versions."""

from __future__ import annotations

from pathlib import PurePath

# Where Lance begins to look for the latest version. The one file that changes; it may go, too.
HINT = "latest_version_hint.json"
# Beside the table: graphs of its vectors, which can be made again.
VIEWS = "views"


def version_of(manifest: str) -> int:
    """The version that a file `NUMBER.manifest` describes; newer tables count down from 2^64."""
    number = int(PurePath(manifest).stem)
    return (1 << 64) - 1 - number if number >> 63 else number
