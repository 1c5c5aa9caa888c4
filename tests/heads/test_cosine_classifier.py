from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor
from torch.nn import functional

from isometry.core.errors import InputError
from isometry.heads.cosine_classifier import CosineClassifier


@pytest.fixture
def digits() -> tuple[Tensor, Tensor]:
    """Images, and the mean image of each of ten classes."""
    data: Any = load_digits()
    images = torch.from_numpy(data.data).float()
    return images, torch.stack([images[data.target == digit].mean(dim=0) for digit in range(10)])


def test_it_is_the_cosine_over_the_temperature(digits: tuple[Tensor, Tensor]) -> None:
    images, classes = digits
    head = CosineClassifier(classes, temperature=0.05)
    expected = torch.from_numpy(cosine_similarity(images, classes)) / 0.05
    torch.testing.assert_close(head(images), expected, atol=1e-4, rtol=1e-5)
    # Means of their images tell digits apart, without any training.
    told = head(images).argmax(dim=1).numpy() == load_digits().target  # type: ignore[attr-defined]
    assert told.mean() > 0.85


def test_without_normalisation_it_is_a_linear_layer(digits: tuple[Tensor, Tensor]) -> None:
    images, classes = digits
    head = CosineClassifier(classes, normalize=False)
    assert torch.equal(head(images), functional.linear(images, classes))


def test_only_products_know_how_long_the_classes_are(digits: tuple[Tensor, Tensor]) -> None:
    images, classes = digits
    for normalize, factor in ((False, 100.0), (True, 1.0)):
        one = CosineClassifier(classes, normalize=normalize)(images)
        other = CosineClassifier(100 * classes, normalize=normalize)(images)
        torch.testing.assert_close(other, factor * one)


def test_one_logit_a_class_at_every_place(digits: tuple[Tensor, Tensor]) -> None:
    images, classes = digits
    head = CosineClassifier(classes)
    grid = images[:12].reshape(2, 3, 2, 64)
    torch.testing.assert_close(head(grid).reshape(12, 10), head(images[:12]))
    torch.testing.assert_close(head(images[0]), head(images[:1])[0])


def test_frozen_classes_never_change(digits: tuple[Tensor, Tensor]) -> None:
    images, classes = digits
    given = classes.clone()
    head = CosineClassifier(given)
    layer = torch.nn.Linear(64, 64)
    model = torch.nn.Sequential(layer, head)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    before = layer.weight.detach().clone()
    for _ in range(3):
        functional.cross_entropy(model(images[:20]), torch.arange(20) % 10).backward()
        optimizer.step()
    assert torch.equal(head.classes, classes) and not torch.equal(layer.weight, before)
    assert list(head.parameters()) == []
    # Nor with what they were made of; and they are saved.
    given.zero_()
    assert torch.equal(head.state_dict()["classes"], classes)


def test_classes_that_are_not_frozen_train(digits: tuple[Tensor, Tensor]) -> None:
    images, classes = digits
    classes.requires_grad_(True)
    head = CosineClassifier(classes, frozen=False)
    assert [name for name, _ in head.named_parameters()] == ["classes"]
    functional.cross_entropy(head(images[:20]), torch.arange(20) % 10).backward()
    assert head.classes.grad is not None and head.classes.grad.abs().sum() > 0
    assert classes.grad is None


def test_classes_that_are_none_are_refused(digits: tuple[Tensor, Tensor]) -> None:
    images, classes = digits
    with pytest.raises(InputError, match="nothing to tell apart: 1 class"):
        CosineClassifier(classes[:1])
    zero = classes.clone()
    zero[3] = 0
    with pytest.raises(InputError, match="class 3 is zero or not finite"):
        CosineClassifier(zero)
    CosineClassifier(zero, normalize=False)
    zero[4, 5] = torch.nan
    with pytest.raises(InputError, match="class 4"):
        CosineClassifier(zero, normalize=False)
    with pytest.raises(InputError, match="63 dimensions, the classes 64"):
        CosineClassifier(classes)(images[:, 1:])
    with pytest.raises(ValueError, match="temperature"):
        CosineClassifier(classes, temperature=0.0)
