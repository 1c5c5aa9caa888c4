"""What stored tables keep of neighbours, against faiss's indexes of the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from isometry.compression.integer_table import IntegerTable
from isometry.compression.precision import round_trip
from isometry.compression.product_table import ProductTable
from isometry.encoders.packaged_models import packaged_folder

faiss: Any = pytest.importorskip("faiss", reason="faiss-cpu has no wheel here")

QUERIES = 500


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    """MiniLM's vectors of 8,000 words: their 64 principal dimensions, of length 1."""
    with safe_open(packaged_folder("minilm") / "model.safetensors", "np") as file:
        table = file.get_tensor("embeddings.word_embeddings.weight")[2000::3][:8000]
    table = table - table.mean(axis=0)
    vectors = table @ np.linalg.svd(table[::4], full_matrices=False)[2][:64].T
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.random.default_rng(0).permutation(vectors).astype(np.float32)


def recall(words: np.ndarray, found: np.ndarray) -> float:
    """The share of the 10 nearest that are found."""
    index = faiss.IndexFlatIP(words.shape[1])
    index.add(words)
    exact = index.search(words[:QUERIES], 10)[1]
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)]))


def nearest(words: np.ndarray, back: np.ndarray) -> np.ndarray:
    return np.argsort(-(words[:QUERIES] @ back.T), axis=1, kind="stable")[:, :10]


def theirs(words: np.ndarray, index: Any) -> np.ndarray:
    index.train(words)
    index.add(words)
    return index.search(words[:QUERIES], 10)[1]


def test_bytes_keep_as_many_neighbours_as_their_scalar_quantizer(words: np.ndarray) -> None:
    n, dim = words.shape
    index = faiss.IndexScalarQuantizer(
        dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    peer = recall(words, theirs(words, index))
    assert index.code_size == dim
    by_row = IntegerTable.fit(torch.from_numpy(words), n * (dim + 4)).lookup(torch.arange(n))
    for back in (by_row.numpy(), round_trip(words, "int8")):
        assert recall(words, nearest(words, back)) == pytest.approx(peer, abs=0.01)
    assert peer > 0.95


def test_the_same_codebooks_give_the_same_neighbours(words: np.ndarray) -> None:
    n, dim = words.shape
    parts, codes = 16, 64
    codec = ProductTable.fit(torch.from_numpy(words), n * parts + 4 * codes * dim, codes=codes)
    index = faiss.IndexPQ(dim, parts, 6, faiss.METRIC_INNER_PRODUCT)
    peer = recall(words, theirs(words, index))
    back = codec.lookup(torch.arange(n)).numpy()
    ours = recall(words, nearest(words, back))
    # Their k-means begins elsewhere.
    assert ours == pytest.approx(peer, abs=0.015)

    faiss.copy_array_to_vector(codec.codebooks.numpy().ravel(), index.pq.centroids)
    index.reset()
    index.add(words)
    np.testing.assert_allclose(index.reconstruct_n(0, n), back, atol=1e-6)
    assert recall(words, index.search(words[:QUERIES], 10)[1]) == pytest.approx(ours, abs=1e-3)
