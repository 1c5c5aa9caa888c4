"""What a Space's manifest says about the fit that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from isometry import __version__
from isometry.core.clock import utc
from isometry.core.machine import machine, versions
from isometry.corpora.readers import Source
from isometry.jobs import ranking
from isometry.jobs.places import place_of
from isometry.search.lancedb import ChunkIndex
from isometry.space_files import DOCUMENTS, FORMAT, INDEX, MODEL, Current

if TYPE_CHECKING:
    from isometry.encoders.cached import CachedEncoder
    from isometry.jobs.fitting import Fitting


def make_manifest(
    job: Fitting,
    source: Source,
    fingerprint: str,
    choice: Mapping[str, Any],
    figures: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest of a fit whose index is built, but for the hashes of the files.

    Args:
        job: The fit.
        source: What it read.
        fingerprint: Of the source, the base and all settings.
        choice: What `selection.choose` or `keep_base` gave.
        figures: All that was measured.
    """
    version = ChunkIndex.open(job.work.path / "space" / INDEX).version
    return {
        "format": FORMAT,
        "isometry": __version__,
        "created": utc(),
        "fingerprint": fingerprint,
        "source": {
            "name": source.name,
            "place": place_of(source.name),
            "fingerprint": source.fingerprint(),
        },
        "settings": asdict(job.settings),
        "plan": None if job.data.too_little else job.plan.to_json(),
        "encoder": describe_encoder(
            job.cached(job.merged(choice["alpha"])), job.settings.base, job.base.fingerprint
        ),
        "search": describe_search(job, choice["dense_weight"]),
        "current": asdict(Current(MODEL, INDEX, version, DOCUMENTS)),
        "figures": dict(figures),
        "versions": versions(),
        "machine": machine(),
    }


def describe_encoder(cached: CachedEncoder, base: str, base_fingerprint: str) -> dict[str, Any]:
    """What made the vectors.

    Args:
        cached: The encoder.
        base: What it was made from, as the user calls it; itself where nothing changed it.
        base_fingerprint: That one's.
    """
    encoder = cached.encoder
    return {
        "base": base,
        "base_fingerprint": base_fingerprint,
        "fingerprint": cached.fingerprint,
        "dim": encoder.dim,
        "max_tokens": encoder.max_tokens,
        "query_prompt": encoder.prompts["query"],
        "document_prompt": encoder.prompts["document"],
        "precision": cached.precision,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
    }


def describe_search(job: Fitting, dense_weight: float) -> dict[str, Any]:
    """How the Space searches: as it was evaluated.

    Args:
        job: The fit.
        dense_weight: How much vectors count beside words.
    """
    return {
        "lexical": {"engine": "lancedb full text", **vars(job.words)},
        "fusion": "a weighted sum of standard scores",
        "dense_weight": dense_weight,
        "depth": ranking.DEPTH,
    }
