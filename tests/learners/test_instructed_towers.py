from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isometry.encoders.pooled import as_transformer, pooled
from isometry.encoders.small_decoder import small_decoder
from isometry.encoders.surgery.prompts import Prompt
from isometry.encoders.text import TextEncoder
from isometry.learners.instructed_towers import InstructedRow, InstructedTowers, Task
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka
from isometry.pooling.mean import Mean

FIND = Prompt(query="Find: ")
GROUP = Prompt("Group: ", "Group: ")
OPEN, CLOSED = Task(FIND), Task(GROUP, in_batch=False, class_labelled=True)
WORDS = ("dog", "to run", "small", "of a house", "tree", "quickly", "red", "a car", "stone", "sea")


def pair(row: int) -> PairRow:
    names = [WORDS[(row + shift) % 10] for shift in (0, 1, 3, 6)]
    return PairRow(names[0], names[1], row, tuple(names[2:]), (f"{row}a", f"{row}b"))


@pytest.fixture(scope="module")
def encoder(tiny_original: TextEncoder) -> TextEncoder:
    model = small_decoder(tiny_original, dim=16, layers=1, heads=2, seed=0)
    return pooled(as_transformer(model.base_model, tiny_original.model.tokenizer, 24), Mean())  # pyright: ignore[reportArgumentType]


def towers(encoder: TextEncoder, objective: nn.Module | None = None) -> InstructedTowers:
    own = Matryoshka(InfoNCE(0.1, a_to_b=1.0), MRL((16,))) if objective is None else objective
    return InstructedTowers(encoder, own, query_tokens=16, document_tokens=16)


def test_open_rows_without_prompts_are_plain_towers(encoder: TextEncoder) -> None:
    rows = [pair(row) for row in range(4)]
    learner = towers(encoder)
    plain = TwoTowers(encoder, learner.objective, query_tokens=16, document_tokens=16)
    expected = plain.loss(plain.collate(rows))["loss"]
    task = Task(Prompt())
    found = learner.loss(learner.collate([InstructedRow(row, task) for row in rows]))["loss"]
    torch.testing.assert_close(found, expected)


def test_closed_rows_contrast_with_their_own_negatives_alone(encoder: TextEncoder) -> None:
    rows = [InstructedRow(pair(row), CLOSED) for row in range(4)]
    learner = towers(encoder)
    found = learner.loss(learner.collate(rows))["loss"]
    own = towers(encoder, Matryoshka(InfoNCE(0.1, a_to_b=1.0, in_batch=False), MRL((16,))))
    torch.testing.assert_close(found, own.loss(own.collate(rows))["loss"])
    alone = torch.stack([learner.loss(learner.collate([row]))["loss"] for row in rows]).mean()
    torch.testing.assert_close(found, alone)


def test_a_closed_row_without_negatives_has_nothing_to_learn_from(encoder: TextEncoder) -> None:
    rows = [InstructedRow(PairRow("dog", "tree", row), CLOSED) for row in range(2)]
    with pytest.raises(ValueError, match="negatives of its own"):
        towers(encoder).collate(rows)


def test_a_blend_says_for_each_row_who_may_be_its_negative(encoder: TextEncoder) -> None:
    rows = [InstructedRow(pair(0), OPEN), InstructedRow(pair(1), CLOSED)]
    same = towers(encoder).collate(rows)["same"]
    # Documents of both, then two negatives of each; the diagonal counts for nothing.
    assert same.tolist() == [
        [True, False, False, False, False, False],
        [True, True, True, True, False, False],
    ]


def test_prompts_are_read_and_not_pooled(encoder: TextEncoder) -> None:
    seen: dict[str, Any] = {}

    class Kept(nn.Module):
        def forward(self, a: Tensor, b: Tensor, negatives: Tensor, same: Tensor) -> Tensor:
            seen.update(a=a[0], b=b[0], negatives=negatives[0])
            return a.sum()

    rows = [InstructedRow(pair(0), OPEN), InstructedRow(pair(1), CLOSED)]
    learner = towers(encoder, Kept())
    learner.loss(learner.collate(rows))
    for row, each in enumerate(rows):
        asking = TextEncoder(
            encoder.model,
            query_prompt=each.task.prompt.query,
            document_prompt=each.task.prompt.document,
        )
        for side, texts, role in (
            ("a", [each.pair.query], "query"),
            ("b", [each.pair.document], "document"),
            ("negatives", list(each.pair.negatives), "document"),
        ):
            expected = asking(asking.collate(texts, role)).vector  # pyright: ignore[reportArgumentType]
            torch.testing.assert_close(seen[side][row].reshape(expected.shape), expected)
    TextEncoder(encoder.model, query_prompt="", document_prompt="")
    # The prompt has its say all the same.
    plain = encoder(encoder.collate([rows[0].pair.query], "query")).vector
    assert not torch.allclose(seen["a"][:1], plain)


def test_classes_that_meet_in_a_batch_are_warned_of(encoder: TextEncoder) -> None:
    with pytest.warns(UserWarning, match="in_batch=False"):
        Task(GROUP, class_labelled=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Task(GROUP, in_batch=False, class_labelled=True)
        Task(FIND)
    prompted = TextEncoder(encoder.model, query_prompt="Query: ")
    with pytest.raises(ValueError, match="prompts of its own"):
        towers(prompted)
