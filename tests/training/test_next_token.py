from __future__ import annotations

import torch
from torch import Tensor

from isometry.encoders.small_decoder import small_decoder
from isometry.encoders.text import TextEncoder
from isometry.training.next_token import Decoder, made_decoder, predict_next

TEXTS = ["a small animal", "to run away from something", "the day after today", "a path"]
SETTINGS = Decoder(16, 1, 2, steps=2, batch=4, rate=1e-2)


def weights(encoder: TextEncoder, seed: int) -> dict[str, Tensor]:
    return dict(made_decoder(encoder, TEXTS, SETTINGS, tokens=12, seed=seed).model.state_dict())


def test_a_decoder_is_made_by_its_seed_and_trained(tiny: TextEncoder) -> None:
    torch.randn(3)
    one, other, same = (weights(tiny, seed) for seed in (0, 1, 0))
    assert all(torch.equal(same[name], value) for name, value in one.items())
    assert any(not torch.equal(other[name], value) for name, value in one.items())
    fresh = small_decoder(tiny, dim=16, layers=1, heads=2, seed=0).base_model.state_dict()
    assert fresh.keys() == one.keys()
    moved = [name for name, value in one.items() if not torch.equal(fresh[name], value)]
    assert any("mlp" in name for name in moved)


def test_texts_are_cut_where_they_were_in_training(tiny: TextEncoder) -> None:
    made = made_decoder(tiny, TEXTS, SETTINGS, tokens=12, seed=0)
    assert made.max_seq_length == 12
    assert not any("lm_head" in name for name in made.model.state_dict())


def test_the_seed_decides_the_order_and_nothing_else_that_is_random_is_disturbed(
    tiny: TextEncoder,
) -> None:
    trained: list[dict[str, Tensor]] = []
    torch.manual_seed(5)
    for seed in (0, 1):
        model = small_decoder(tiny, dim=16, layers=1, heads=2, seed=0)
        predict_next(
            model, tiny.model.tokenizer, TEXTS, batch=2, steps=2, rate=1e-2, tokens=12, seed=seed
        )
        trained.append(dict(model.state_dict()))
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert any(not torch.equal(trained[1][name], value) for name, value in trained[0].items())
