from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def manifest() -> dict[str, Any]:
    """A Space's manifest with every part; tests may change it."""
    return json.loads(Path(__file__).with_name("manifest.json").read_text(encoding="utf-8"))
