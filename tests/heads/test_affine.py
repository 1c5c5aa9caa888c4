from __future__ import annotations

import numpy as np
import torch

from isometry.geometry.whitening import Whitening
from isometry.heads.affine import affine_layer


def test_it_starts_as_the_identity_or_as_a_whitening_and_can_be_trained() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([1.0, 2.0, 3.0, 4.0]) + 5
    values = torch.from_numpy(vectors).float()
    same = affine_layer(np.eye(4))
    torch.testing.assert_close(same(values), values)
    whitening = Whitening.pca(vectors)
    # Not as many dimensions come out as go in, and a rotation is no symmetric matrix.
    some = affine_layer(whitening.matrix[:, :3], whitening.mean)
    expected = torch.from_numpy(whitening.transform(vectors)[:, :3]).float()
    torch.testing.assert_close(some(values), expected, atol=1e-5, rtol=1e-4)
    assert {name for name, own in some.named_parameters() if own.requires_grad} == {
        "weight", "bias",
    }  # fmt: skip
