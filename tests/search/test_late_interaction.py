from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers.util import maxsim

from isometry.encoders.text import TextEncoder
from isometry.search import late_interaction
from isometry.search.late_interaction import max_sim, max_sims


def padded(
    rng: np.random.Generator, lengths: list[int], dim: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of as many tokens as said, in front of padding that would win every maximum."""
    mask = np.arange(max(lengths))[None] < np.array(lengths)[:, None]
    vectors = rng.normal(size=(*mask.shape, dim))
    vectors[~mask] = 100.0
    return vectors, mask


def test_the_surveys_example() -> None:
    # dense-retrieval.md, correctness check (a).
    query, document = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.6, 0.8]])
    assert max_sim(query, document) == pytest.approx(1.8)
    # The maximum is over the document's tokens, the sum over the query's: not the other way round.
    assert max_sim(document, query) == pytest.approx(1.0 + 0.8)
    assert max_sim(query[:1], document) == 1.0
    assert max_sim(query, document[:1]) == 1.0
    assert max_sim(query, document, document_mask=np.array([True, False])) == 1.0
    assert max_sim(query, document, query_mask=np.array([False, True])) == pytest.approx(0.8)


def test_a_batch_is_every_query_with_every_document_without_their_padding() -> None:
    rng = np.random.default_rng(0)
    queries, query_mask = padded(rng, [3, 1, 4])
    documents, document_mask = padded(rng, [2, 6, 1, 5, 3])
    found = max_sims(queries, documents, query_mask, document_mask)
    for i, (query, inside) in enumerate(zip(queries, query_mask, strict=True)):
        for j, (document, within) in enumerate(zip(documents, document_mask, strict=True)):
            expected = (query[inside] @ document[within].T).max(axis=1).sum()
            assert found[i, j] == pytest.approx(expected)
            assert max_sim(query, document, inside, within) == pytest.approx(expected)


def test_all_products_may_be_negative() -> None:
    query, document = np.array([[1.0, 0.0]]), np.array([[-0.5, 0.0], [0.0, 0.0]])
    assert max_sim(query, document, document_mask=np.array([True, False])) == -0.5


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    queries, query_mask = padded(rng, [3, 2])
    documents, document_mask = padded(rng, [4, 2, 3, 1, 4, 4, 2])
    whole = max_sims(queries, documents, query_mask, document_mask)
    monkeypatch.setattr(late_interaction, "_SCORES_AT_ONCE", 3 * 4 * 2)
    np.testing.assert_allclose(max_sims(queries, documents, query_mask, document_mask), whole)


def test_as_sentence_transformers_on_the_states_of_real_tokens(
    minilm: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    sides = []
    for texts in ([words for words, _ in pairs[:4]], [code for _, code in pairs[:6]]):
        with torch.no_grad():
            encoded = minilm(minilm.collate(texts, "query", tokens=24))
        sides.append((torch.nn.functional.normalize(encoded.tokens, dim=-1), encoded.mask))
    (a, a_mask), (b, b_mask) = sides
    found = max_sims(a.numpy(), b.numpy(), a_mask.numpy(), b_mask.numpy())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, maxsim(a, b, a_mask, b_mask).numpy(), atol=1e-4)


def test_a_side_without_a_token_is_refused() -> None:
    vectors = np.ones((2, 3, 2))
    mask = np.array([[True, False, False], [False, False, False]])
    with pytest.raises(ValueError, match="query 1 has no token"):
        max_sims(vectors, vectors, query_mask=mask)
    with pytest.raises(ValueError, match="document 1 has no token"):
        max_sims(vectors, vectors, document_mask=mask)
    with pytest.raises(ValueError, match="document 0 has no token"):
        max_sim(np.ones((1, 2)), np.ones((0, 2)))
