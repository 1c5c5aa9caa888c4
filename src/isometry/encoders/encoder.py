"""Whatever makes vectors of texts: a transformer, or a table of token vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from isometry.encoders.locate import is_static, locate
from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import TextEncoder

Encoder: TypeAlias = TextEncoder | StaticEncoder


def load_encoder(source: str | Path) -> Encoder:
    """Loads a model of either kind.

    Args:
        source: A Space, a sentence-transformers, transformers or model2vec folder, `packaged:NAME`,
            or a hub id such as `owner/name`, which must be a transformer's.

    Raises:
        InputError: When there is no such model, or it needs pickled weights or remote code.
    """
    place, is_local = locate(source)
    if is_local and is_static(Path(place)):
        return StaticEncoder.load(place)
    return TextEncoder.load(source)
