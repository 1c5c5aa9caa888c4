"""Times as they stand in files."""

from __future__ import annotations

import time


def utc(at: float | None = None) -> str:
    """A time in UTC by ISO 8601, to the second.

    Args:
        at: In seconds since 1970; the present one when not given.
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
