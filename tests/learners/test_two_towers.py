from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isometry.encoders.surgery.layers import truncate
from isometry.encoders.text import TextEncoder
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka

OBJECTIVE = Matryoshka(InfoNCE(0.1), MRL((32, 8)))


class Seen(nn.Module):
    """An objective that keeps what it is given."""

    def forward(self, *given: Any) -> Tensor:
        self.given = given
        return torch.zeros(())


def make_rows(pairs: list[tuple[str, str]], k: int = 2) -> list[PairRow]:
    """Six pairs, each with negatives of its own."""
    documents = [code for _, code in pairs]
    return [
        PairRow(
            query,
            code,
            i,
            tuple(documents[6 + k * i : 6 + k * (i + 1)]),
            tuple(range(6 + k * i, 6 + k * (i + 1))),
        )
        for i, (query, code) in enumerate(pairs[:6])
    ]


def towers(encoder: TextEncoder, objective: nn.Module = OBJECTIVE) -> TwoTowers:
    return TwoTowers(encoder, objective, query_tokens=12, document_tokens=40)


def test_rows_with_unequal_negatives_are_refused(
    tiny: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    one, other, *_ = make_rows(pairs, 2)
    three = replace(one, negatives=(*one.negatives, "c"), negative_keys=(*one.negative_keys, 99))
    fewer = replace(other, negatives=other.negatives[:1], negative_keys=other.negative_keys[:1])
    # Four in all, as two for each: they would be handed to the wrong row.
    with pytest.raises(ValueError, match="equally many negatives"):
        towers(tiny).collate([three, fewer])
    with pytest.raises(ValueError, match="needs its key"):
        towers(tiny).collate([one, replace(other, negative_keys=())])


@pytest.mark.parametrize("k", [0, 2])
def test_the_loss_is_the_objective_on_vectors_encoded_separately(
    tiny_folder: Path, pairs: list[tuple[str, str]], k: int
) -> None:
    encoder = TextEncoder.load(tiny_folder, query_prompt="query: ", document_prompt="code: ")
    rows = make_rows(pairs, k)
    learner = towers(encoder)
    a = torch.stack(
        [torch.from_numpy(encoder.encode([row.query], "query", tokens=12)[0]) for row in rows]
    )
    b, *rest = (
        torch.from_numpy(encoder.encode(list(texts), "document", tokens=40))
        for texts in ([row.document for row in rows], *(row.negatives for row in rows if k))
    )
    negatives = torch.stack(rest)[None] if rest else None
    expected = OBJECTIVE(a[None], b[None], negatives)
    losses = learner.loss(learner.collate(rows))
    assert set(losses) == {"loss"}
    torch.testing.assert_close(losses["loss"], expected, rtol=1e-4, atol=1e-5)


def test_candidates_with_the_key_of_a_row_match_it(
    tiny: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    (q0, d0), (q1, d1), (q2, d2), (_, d3) = pairs[:4]
    rows = [
        PairRow(q0, d0, "zero", (d1, d3), ("one", "three")),
        PairRow(q1, d1, "one", (d0, d2), ("zero", "zero")),
        PairRow(q2, d0, "zero", (d2, d3), ("two", "three")),
    ]
    learner = towers(tiny, Seen())
    batch = learner.collate(rows)
    learner.loss(batch)
    a, b, negatives, same = learner.objective.given  # type: ignore[union-attr]
    assert a.shape == b.shape == (1, 3, 32) and negatives.shape == (1, 3, 2, 32)
    for i, row in enumerate(rows):
        for j, text in enumerate(row.negatives):
            vector = tiny.encode([text], tokens=40)[0]
            ours = torch.nn.functional.normalize(negatives[0, i, j].detach(), dim=0).numpy()
            np.testing.assert_allclose(ours, vector, atol=1e-5)
    assert same.dtype == torch.bool
    assert same.int().tolist() == [
        [1, 0, 1, 0, 0, 1, 1, 0, 0],
        [0, 1, 0, 1, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 1, 1, 0, 0],
    ]


def test_what_may_answer_too_is_no_negative(
    tiny: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    rows = [
        PairRow(query, code, i, answers=frozenset({2, 7}) if i == 0 else frozenset())
        for i, (query, code) in enumerate(pairs[:3])
    ]
    learner = towers(tiny, Seen())
    learner.loss(learner.collate(rows))
    same = learner.objective.given[3]  # type: ignore[union-attr]
    assert same.int().tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_padding_is_cut_away_and_the_order_kept(
    tiny: TextEncoder, pairs: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # From one word to many, so that most of a padded batch is padding.
    words = pairs[0][1].split()
    rows = [
        PairRow(" ".join(words[:n]), " ".join(words[n : 3 * n]), n) for n in (9, 1, 2, 7, 1, 4, 1)
    ]
    learner = towers(tiny, Seen())
    batch = learner.collate(rows)
    shapes: list[tuple[int, ...]] = []
    forward = tiny.forward

    def watched(batch: Any) -> Any:
        shapes.append(tuple(batch["input_ids"].shape))
        return forward(batch)

    monkeypatch.setattr(tiny, "forward", watched)
    learner.loss(batch)
    encoded = sum(height * width for height, width in shapes)
    a, b = (vectors[0].detach() for vectors in learner.objective.given[:2])  # type: ignore[union-attr]
    for vectors, texts, role, tokens in (
        (a, [row.query for row in rows], "query", 12),
        (b, [row.document for row in rows], "document", 40),
    ):
        alone = tiny.encode(texts, role, tokens=tokens)
        ours = torch.nn.functional.normalize(vectors, dim=-1).numpy()
        np.testing.assert_allclose(ours, alone, atol=1e-5)
    full = sum(batch[name]["input_ids"].numel() for name in ("query", "document"))
    assert encoded < 0.8 * full


def test_a_document_that_stands_twice_is_no_negative_of_itself(
    tiny: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    (q0, d0), (q1, d1), (q2, _) = pairs[:3]
    learner = towers(tiny).requires_grad_(False)
    twice = [PairRow(q0, d0, 0), PairRow(q1, d1, 1), PairRow(q2, d0, 0)]
    marked = learner.loss(learner.collate(twice))["loss"]
    unmarked = [PairRow(row.query, row.document, i) for i, row in enumerate(twice)]
    assert float(marked) < float(learner.loss(learner.collate(unmarked))["loss"]) - 0.1


def test_dropout_stays_off_and_the_loss_is_a_function_of_weights_and_batch(
    tiny: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    tiny.train()
    learner = towers(tiny, copy.deepcopy(OBJECTIVE))
    batch = learner.collate(make_rows(pairs))
    expected = learner.loss(batch)["loss"]
    tiny.encode(["a path"])
    assert learner.train() is learner
    assert learner.training and learner.objective.training
    assert not any(part.training for part in learner.encoder.modules())
    assert all(torch.equal(learner.loss(batch)["loss"], expected) for _ in range(3))
    # It would change otherwise.
    learner.encoder.train()
    assert not torch.equal(learner.loss(batch)["loss"], expected)


def test_gradients_reach_both_towers_and_the_objective(
    tiny: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    objective = Matryoshka(InfoNCE(learn=True), MRL((32,)))
    learner = towers(tiny, objective).train()
    learner.loss(learner.collate(make_rows(pairs)))["loss"].backward()
    for name, parameter in learner.named_parameters():
        if "pooler" not in name:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_contrast_is_computed_in_float32(
    tiny: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    learner = towers(tiny, Seen())
    with torch.autocast("cpu", torch.bfloat16):
        learner.loss(learner.collate(make_rows(pairs)))
        coarse = learner.objective.given[:3]  # type: ignore[union-attr]
        contrast = towers(tiny)
        loss = contrast.loss(contrast.collate(make_rows(pairs)))["loss"]
    assert all(vectors.dtype == torch.float32 for vectors in coarse)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, OBJECTIVE(*coarse), rtol=1e-6, atol=1e-6)


def test_queries_and_documents_are_cut_at_their_own_length(
    tiny: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    long = "file " * 60
    batch = towers(tiny).collate([PairRow(long, long, 0, (long,), (1,)) for _ in range(2)])
    lengths = [batch[name]["input_ids"].shape[1] for name in ("query", "document", "negatives")]
    assert lengths == [12, 40, 40]


class OnePrefix(nn.Module):
    """InfoNCE on one layer, cut to its first dimensions."""

    def __init__(self, layer: int, dim: int) -> None:
        super().__init__()
        self.base = InfoNCE(0.1)
        self.layer, self.dim = layer, dim

    def forward(self, a: Tensor, b: Tensor, negatives: Tensor, same: Tensor) -> Tensor:
        cut = (part[self.layer, ..., : self.dim] for part in (a, b, negatives))
        return self.base(*cut, same)


def all_layers(encoder: TextEncoder, objective: nn.Module) -> TwoTowers:
    return TwoTowers(encoder, objective, query_tokens=12, document_tokens=40, layers=True)


def test_the_objective_gets_the_vectors_of_every_layer_in_order(
    tiny: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    rows = make_rows(pairs)
    learner = all_layers(tiny, Seen())
    learner.loss(learner.collate(rows))
    a, b, negatives, same = learner.objective.given  # type: ignore[union-attr]
    assert a.shape == b.shape == (2, 6, 32) and negatives.shape == (2, 6, 2, 32)
    assert same.shape == (6, 18)

    def alone(text: str, role: Any, tokens: int) -> Tensor:
        return tiny.pooled_layers(tiny.collate([text], role, tokens=tokens))[:, 0]

    for i, row in enumerate(rows):
        torch.testing.assert_close(a[:, i], alone(row.query, "query", 12))
        torch.testing.assert_close(b[:, i], alone(row.document, "document", 40))
        for j, text in enumerate(row.negatives):
            torch.testing.assert_close(negatives[:, i, j], alone(text, "document", 40))
    usual = towers(tiny, Seen())
    usual.loss(usual.collate(rows))
    last = usual.objective.given[:3]  # type: ignore[union-attr]
    for whole, one in zip((a, b, negatives), last, strict=True):
        torch.testing.assert_close(whole[-1:], one)


@pytest.mark.parametrize(("keep", "dim"), [(1, 8), (2, 8), (1, 32)])
def test_the_loss_of_a_prefix_is_that_of_the_encoder_cut_to_it(
    tiny: TextEncoder, pairs: list[tuple[str, str]], keep: int, dim: int
) -> None:
    # Correctness check 2 of Starbucks: each term equals the base loss of a truncated model.
    nested = all_layers(tiny, OnePrefix(keep - 1, dim))
    batch = nested.collate(make_rows(pairs))
    cut = towers(truncate(tiny, keep, dim), OnePrefix(0, dim))
    expected = cut.loss(batch)["loss"]
    torch.testing.assert_close(nested.loss(batch)["loss"], expected, rtol=0, atol=1e-6)
    other = all_layers(tiny, OnePrefix(2 - keep, dim)).loss(batch)["loss"]
    assert (other - expected).abs() > 1e-3


def test_dropout_stays_off_in_every_layer(tiny: TextEncoder, pairs: list[tuple[str, str]]) -> None:
    tiny.train()
    learner = all_layers(tiny, OnePrefix(0, 32)).train()
    batch = learner.collate(make_rows(pairs))
    first = learner.loss(batch)["loss"]
    assert all(torch.equal(learner.loss(batch)["loss"], first) for _ in range(2))
    learner.encoder.train()
    assert not torch.equal(learner.loss(batch)["loss"], first)
