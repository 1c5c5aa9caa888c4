"""The proof of a fit as plain figures: the verdict, and base and tuned on the held-out test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isometry.report.figures import METRICS, SYSTEMS, look_up, safe_line

_DIFFERENCE = ("what", "metric", "difference", "low", "high")


def proof_figures(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a Space's manifest says of its fit; none where it says nothing.

    Args:
        manifest: What `space.json` says.
    """
    test = look_up(manifest, "figures.test")
    headline = look_up(manifest, "figures.verdict.headline")
    if not isinstance(test, Mapping) or not headline:
        return None
    return {
        "headline": safe_line(headline),
        "kept": look_up(manifest, "figures.verdict.kept"),
        "queries": test.get("queries"),
        "artificial": test.get("kind") == "artificial",
        "migrated": bool(manifest.get("migrated")),
        "rows": [
            {"system": row["system"], "label": SYSTEMS[row["system"]], "metrics": _metrics(row)}
            for row in test.get("rows") or ()
            if row["system"] in SYSTEMS
        ],
        "differences": [
            {key: row[key] for key in _DIFFERENCE} for row in test.get("differences") or ()
        ],
    }


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: row[name] for name in METRICS if isinstance(row.get(name), float | int)}
