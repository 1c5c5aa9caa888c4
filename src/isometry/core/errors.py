"""The errors that Isometry raises on purpose."""

from __future__ import annotations


class IsometryError(Exception):
    """Base class of every error that Isometry raises on purpose."""


class InputError(IsometryError):
    """Something the user gave cannot be used; one line says what, another what to do.

    The command line prints it without a traceback and exits with code 2.

    Args:
        message: What is wrong, in one line.
        hint: What to do about it, in one line; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())
        super().__init__(f"{self.message} {self.hint}".strip())


class MissingExtraError(InputError):
    """A package that is not installed is needed; names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package '{package}', which is not installed.",
            f"Install the extra '{extra}': pip install -e '.[{extra}]' in the clone.",
        )
