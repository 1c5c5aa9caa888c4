"""What all encoders do around the libraries that load and tokenize for them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator


def encodable(text: str) -> str:
    """The text with `?` for half a surrogate pair, which a terminal or JSON may bring."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


@contextlib.contextmanager
def quiet_loading() -> Generator[None]:
    """Keeps the libraries' own bars and notices off the terminal; errors still surface."""
    from transformers.utils import logging as transformers_logging

    restore: list[Callable[[], None]] = []
    for name in ("transformers", "sentence_transformers"):
        logger = logging.getLogger(name)
        restore.append(lambda logger=logger, level=logger.level: logger.setLevel(level))
        logger.setLevel(logging.ERROR)
    if transformers_logging.is_progress_bar_enabled():
        transformers_logging.disable_progress_bar()
        restore.append(transformers_logging.enable_progress_bar)
    try:
        yield
    finally:
        for undo in restore:
            undo()
