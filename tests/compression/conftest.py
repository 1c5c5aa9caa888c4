from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open

from isometry.encoders.packaged_models import packaged_folder


@pytest.fixture(scope="session")
def words() -> np.ndarray:
    """MiniLM's vectors of 3,000 words: their 32 principal dimensions, of length 1, shuffled."""
    with safe_open(packaged_folder("minilm") / "model.safetensors", "np") as file:
        table = file.get_tensor("embeddings.word_embeddings.weight")[2000::9][:3000]
    table = table - table.mean(axis=0)
    directions = np.linalg.svd(table, full_matrices=False)[2][:32]
    vectors = table @ directions.T
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.random.default_rng(0).permutation(vectors).astype(np.float32)
