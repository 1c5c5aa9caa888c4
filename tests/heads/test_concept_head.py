from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from isometry.core.errors import InputError
from isometry.encoders.counts import ExplicitSemanticAnalysis, TfIdf
from isometry.encoders.text import TextEncoder
from isometry.heads.concept_head import ConceptHead, keep_largest

NAMES = ("dog", "cat", "tax", "sea")


def vectors(seed: int, rows: int, dim: int) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def test_each_activation_is_a_function_of_the_logits() -> None:
    torch.manual_seed(0)
    h = vectors(1, 5, 6)
    expected = {
        "identity": lambda x: x,
        "relu": functional.relu,
        "softplus": functional.softplus,
        "sigmoid": torch.sigmoid,
    }
    for activation, apply in expected.items():
        head = ConceptHead(NAMES, 6, activation=activation)  # type: ignore[arg-type]
        torch.nn.init.normal_(head.bias)
        logits = h @ head.rows.T + head.bias
        torch.testing.assert_close(head.logits(h), logits)
        torch.testing.assert_close(head(h), apply(logits))
    assert ConceptHead(NAMES, 6).activation == "relu"
    assert ConceptHead(NAMES, 6)(vectors(2, 12, 6).reshape(3, 4, 6)).shape == (3, 4, 4)


def test_with_tf_idf_concepts_and_no_activation_it_is_esa(texts: list[str]) -> None:
    # sesa, correctness check 3.
    words = TfIdf(texts[:100])
    esa = ExplicitSemanticAnalysis(words, texts[:4])
    head = ConceptHead(NAMES, len(words.words), activation="identity")
    with torch.no_grad():
        head.rows.copy_(torch.from_numpy(esa.concepts.toarray()))
        active = head(torch.from_numpy(words.encode(texts[90:130]).toarray()))
    np.testing.assert_allclose(active.numpy(), esa.encode(texts[90:130]).toarray(), atol=1e-6)


def test_a_tied_head_starts_as_the_cosine_with_each_concepts_text(minilm: TextEncoder) -> None:
    concepts = torch.from_numpy(minilm.encode(list(NAMES)))
    h = torch.from_numpy(minilm.encode(["a puppy", "a kitten", "a levy", "an ocean"]))
    head = ConceptHead(NAMES, 384, activation="identity", concept_vectors=concepts)
    torch.testing.assert_close(head(h), h @ concepts.T)
    assert head(h).argmax(dim=1).tolist() == [0, 1, 2, 3]
    assert {name for name, _ in head.named_parameters()} == {"bias", "projection", "gain"}
    assert "concept_vectors" in head.state_dict()


def test_a_tied_head_is_its_equation() -> None:
    concepts, h = vectors(0, 4, 3), vectors(1, 5, 6)
    head = ConceptHead(NAMES, 6, activation="softplus", concept_vectors=concepts)
    with torch.no_grad():
        head.projection.copy_(vectors(2, 3, 6))
        head.bias.copy_(vectors(3, 1, 4)[0])
        head.gain.fill_(2.5)
    # f(g <P h, v_k> + b_k)
    logits = 2.5 * (h @ head.projection.T) @ concepts.T + head.bias
    torch.testing.assert_close(head(h), functional.softplus(logits))
    other = head.with_concepts(["new", "tax"], torch.stack([vectors(5, 1, 3)[0], concepts[2]]))
    assert other.names == ("new", "tax")
    torch.testing.assert_close(other(h)[:, 1], head(h)[:, 2])
    torch.testing.assert_close(other.bias[0], head.bias.mean())
    assert other.activation == "softplus"
    # What was given may change afterwards.
    concepts.zero_()
    torch.testing.assert_close(head(h), functional.softplus(logits))


def test_concepts_and_names_change_places_together() -> None:
    # sesa, correctness check 2.
    torch.manual_seed(0)
    head, order = ConceptHead(NAMES, 6), [2, 0, 3, 1]
    moved = ConceptHead([NAMES[row] for row in order], 6)
    with torch.no_grad():
        moved.rows.copy_(head.rows[order])
    a, b = vectors(1, 5, 6), vectors(2, 7, 6)
    torch.testing.assert_close(moved(a) @ moved(b).T, head(a) @ head(b).T)
    torch.testing.assert_close(moved(a), head(a)[:, order])


def test_without_an_activation_a_rotation_changes_no_ranking_with_one_it_does() -> None:
    # sesa, correctness check 5: nothing but the tags keeps a dimension at its name.
    names = [str(number) for number in range(8)]
    rotation = torch.linalg.qr(vectors(0, 8, 8).double()).Q.float()
    a, b = vectors(1, 20, 6), vectors(2, 30, 6)
    for activation, same in (("identity", True), ("relu", False)):
        torch.manual_seed(1)
        head = ConceptHead(names, 6, activation=activation)  # type: ignore[arg-type]
        before = (head(a) @ head(b).T).argsort(dim=1)
        with torch.no_grad():
            head.rows.copy_(rotation @ head.rows)
        after = (head(a) @ head(b).T).argsort(dim=1)
        assert torch.equal(before, after) is same


def test_the_largest_values_stay() -> None:
    active = torch.tensor([[0.5, -2.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    assert keep_largest(active, 2).tolist() == [[0, -2, 1, 0], [1, 1, 0, 0]]
    assert torch.equal(keep_largest(active, 9), active)
    with pytest.raises(ValueError, match="at least one"):
        keep_largest(active, 0)


def test_what_cannot_be_named_is_refused() -> None:
    with pytest.raises(InputError, match="at least one name"):
        ConceptHead([], 3)
    with pytest.raises(InputError, match="'dog' comes 2 times"):
        ConceptHead(["dog", "cat", "dog"], 3)
    with pytest.raises(InputError, match="2 names for 3 concept vectors"):
        ConceptHead(["dog", "cat"], 3, concept_vectors=torch.eye(3))
    tied = ConceptHead(["dog", "cat"], 3, concept_vectors=torch.eye(2))
    with pytest.raises(InputError, match="have 3 dimensions, those of the head 2"):
        tied.with_concepts(["sea"], torch.ones(1, 3))
    with pytest.raises(ValueError, match="free rows"):
        ConceptHead(["dog"], 3).with_concepts(["sea"], torch.ones(1, 3))
