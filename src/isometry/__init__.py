"""Isometry turns a pretrained encoder and unlabelled documents into a better embedding space."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from isometry.core.errors import InputError, IsometryError
    from isometry.encoders.text import TextEncoder
    from isometry.jobs.add import add
    from isometry.jobs.compact import compact
    from isometry.jobs.cut import cut
    from isometry.jobs.distill import distill
    from isometry.jobs.encode import encode
    from isometry.jobs.evaluate import evaluate
    from isometry.jobs.export import export
    from isometry.jobs.fit import fit
    from isometry.jobs.history import history
    from isometry.jobs.merge import TensorWeights, merge
    from isometry.jobs.migrate import migrate
    from isometry.jobs.rollback import rollback
    from isometry.space import Space

__all__ = [
    "InputError",
    "IsometryError",
    "Space",
    "TensorWeights",
    "TextEncoder",
    "add",
    "compact",
    "cut",
    "distill",
    "encode",
    "evaluate",
    "export",
    "fit",
    "history",
    "merge",
    "migrate",
    "rollback",
]

# Loaded on first use, so that `import isometry` costs nothing.
_HOMES = {
    "InputError": "isometry.core.errors",
    "IsometryError": "isometry.core.errors",
    "Space": "isometry.space",
    "TensorWeights": "isometry.jobs.merge",
    "TextEncoder": "isometry.encoders.text",
    "add": "isometry.jobs.add",
    "compact": "isometry.jobs.compact",
    "cut": "isometry.jobs.cut",
    "distill": "isometry.jobs.distill",
    "encode": "isometry.jobs.encode",
    "evaluate": "isometry.jobs.evaluate",
    "export": "isometry.jobs.export",
    "fit": "isometry.jobs.fit",
    "history": "isometry.jobs.history",
    "merge": "isometry.jobs.merge",
    "migrate": "isometry.jobs.migrate",
    "rollback": "isometry.jobs.rollback",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'isometry' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
