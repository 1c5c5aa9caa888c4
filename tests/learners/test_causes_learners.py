from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from isometry.encoders.text import TextEncoder
from isometry.heads.decoding.span_decoding import best_spans
from isometry.heads.pair_scorer import PairScorer
from isometry.heads.pointer import Pointer
from isometry.learners import causes
from isometry.learners.causes import PairEntailment, SpanExtraction, SpanRow, VectorPair

TEXT = "the file is open. nobody wrote to it. the disk was full"


def test_pairs_are_judged_by_their_own_truth_and_distance() -> None:
    random = np.random.default_rng(0)
    rows = [
        VectorPair(*random.normal(size=(2, 4)).astype(np.float32), bool(n % 2), n) for n in range(6)
    ]
    scorer = PairScorer(4, distances=3)
    with torch.no_grad():
        scorer.bilinear.copy_(10 * torch.eye(4))
        scorer.distance.copy_(torch.tensor([0.5, -1.0, 2.0]))
    learner = PairEntailment(scorer)
    batch = learner.collate(rows)
    logits = [
        float(10 * row.first @ row.second + (0.5, -1.0, 2.0)[min(2, row.distance or 0)])
        for row in rows
    ]
    expected = functional.binary_cross_entropy_with_logits(
        torch.tensor(logits), torch.tensor([0.0, 1, 0, 1, 0, 1])
    )
    torch.testing.assert_close(learner.loss(batch)["loss"], expected)
    plain = PairEntailment(PairScorer(4))
    bare = [VectorPair(row.first, row.second, row.together) for row in rows]
    assert "distances" not in plain.collate(bare)
    # What scores is what is trained.
    np.testing.assert_allclose(learner.score(rows), logits, rtol=1e-5)
    assert not np.allclose(plain.score(bare), logits)


def row(words: str, tokens: str = TEXT) -> SpanRow:
    start = tokens.find(words) if words else -1
    return SpanRow(tokens, np.zeros(32, dtype=np.float32), start, start + len(words))


def test_answers_are_found_among_the_tokens(tiny: TextEncoder) -> None:
    learner = SpanExtraction(tiny, Pointer(32, condition=32), tokens=40)
    batch = learner.collate([row("nobody wrote to it"), row("full"), row("")])
    places = batch["places"].tolist()
    offsets = learner.offsets(TEXT)
    for (first, last), words in zip(places, ("nobody wrote to it", "full"), strict=False):
        assert TEXT[offsets[first][0] : offsets[last][1]] == words
    assert places[2] == [0, 0]
    # An answer that is cut off is none.
    short = SpanExtraction(tiny, Pointer(32, condition=32), tokens=8)
    assert short.collate([row("full"), row("the file")])["places"].tolist() == [[0, 0], [1, 2]]


def test_the_loss_is_the_mean_of_both_ends(tiny: TextEncoder) -> None:
    learner = SpanExtraction(tiny, Pointer(32, condition=32), tokens=40)
    batch = learner.collate([row("nobody wrote to it"), row("")])
    logits = learner.logits(batch).log_softmax(dim=2)
    own = [-logits[item, end, batch["places"][item, end]] for item in (0, 1) for end in (0, 1)]
    torch.testing.assert_close(learner.loss(batch)["loss"], torch.stack(own).mean())


def test_a_few_steps_teach_the_pointer_and_leave_the_encoder(tiny: TextEncoder) -> None:
    before = tiny.fingerprint()
    torch.manual_seed(0)
    learner = SpanExtraction(tiny, Pointer(32, condition=32), tokens=40).train()
    asked = np.eye(32, dtype=np.float32)
    words = ["nobody wrote to it", "the disk was full", ""]
    rows = [
        SpanRow(TEXT, asked[n], TEXT.find(own) if own else -1, TEXT.find(own) + len(own))
        for n, own in enumerate(words)
    ]
    optimizer = torch.optim.Adam(learner.pointer.parameters(), 0.05)
    batch = learner.collate(rows)
    for _ in range(60):
        loss = learner.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # The same text answers each question with its own words.
    bare = [SpanRow(each.text, each.question) for each in rows]
    for size in (32, 2, 1):
        assert learner.extract(bare, longest=10, batch=size) == words
    assert learner.extract(bare[::-1], longest=10) == words[::-1]
    # None is longer than it may be.
    assert learner.extract(bare, longest=2) != words
    logits = learner.logits(batch)
    spans = best_spans(logits[:, 0], logits[:, 1], 10).tolist()
    assert spans == batch["places"].tolist()
    assert tiny.fingerprint() == before and not learner.encoder.training


def test_no_answer_goes_across_a_border(tiny: TextEncoder) -> None:
    learner = SpanExtraction(tiny, Pointer(32, condition=32), tokens=40)
    with torch.no_grad():
        # The best beginning is "open", the best end is "full": of two sentences.
        states = learner.states([TEXT])[0]
        places = [TEXT[first:last] for first, last in learner.offsets(TEXT)]
        ends = torch.stack([states[places.index(word)] for word in ("open", "full")])
        learner.pointer.alone.weight.copy_(100 * ends)
    whole = row("")
    cut = replace(whole, borders=tuple(TEXT.index(word) for word in ("nobody", "the disk")))
    (free,), (within,) = (learner.extract([one], longest=40) for one in (whole, cut))
    assert free.startswith("open") and free.endswith("full")
    # The full stop is of the part that it ends.
    assert within and any(within in part for part in re.split(r"(?<=\.) ", TEXT))
    # In a batch with a text that has no borders, too.
    assert learner.extract([whole, cut], longest=40) == [free, within]


def test_no_answer_begins_or_ends_where_the_text_is_over(tiny: TextEncoder) -> None:
    learner = SpanExtraction(tiny, Pointer(32, condition=32), tokens=40)
    few = [row(""), row("", "the file"), row("", "")]
    batch = learner.collate(few)
    logits = learner.logits(batch)
    texts = tiny.collate([each.text for each in few], "document")
    special = texts["input_ids"] == tiny.tokenizer.token_to_id("[SEP]")
    padded = ~texts["attention_mask"].bool()
    assert special.sum() == 3 and padded.any()
    closed = (special | padded)[:, None].expand_as(logits)
    assert torch.equal(logits == -torch.inf, closed)
    # Even where it is the likeliest by far.
    with torch.no_grad():
        states = tiny(texts).tokens
        learner.pointer.alone.weight.copy_(100 * states[0][special[0]].repeat(2, 1))
    found = learner.extract(few, longest=40)
    assert found[2] == ""
    assert all(answer == "" or answer in each.text for answer, each in zip(found, few, strict=True))


def test_an_encoder_with_a_document_prompt_is_refused(tiny_folder: Path) -> None:
    prompted = TextEncoder.load(tiny_folder, document_prompt="passage: ")
    with pytest.raises(ValueError, match="document prompt"):
        SpanExtraction(prompted, Pointer(32, condition=32), tokens=40)


def test_a_text_is_read_once_and_its_states_are_the_encoders(
    tiny: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    collate = TextEncoder.collate

    def noted(self: TextEncoder, texts: list[str], *given: Any, **named: Any) -> Any:
        read.extend(texts)
        return collate(self, texts, *given, **named)

    monkeypatch.setattr(TextEncoder, "collate", noted)
    learner = SpanExtraction(tiny, Pointer(32, condition=32), tokens=12)
    first = learner.states([TEXT, "the file", TEXT])
    again = learner.states(["the disk", "the file"])
    assert read == [TEXT, "the file", "the disk"]
    assert torch.equal(again[1], first[1])
    for text, own in ((TEXT, first[2]), ("the file", first[1]), ("the disk", again[0])):
        alone = tiny(tiny.collate([text], "document", tokens=12)).tokens[0]
        torch.testing.assert_close(own, alone)
    # What does not fit is read again, and never the less given.
    monkeypatch.setattr(causes, "_KEPT", 32 * 5)
    read.clear()
    learner.states([TEXT, "the disk"])
    assert [len(own) for own in learner.states(["the file", TEXT])] == [4, 12]
    assert read == ["the file", TEXT]


def test_the_encoder_gets_no_gradient(tiny: TextEncoder) -> None:
    learner = SpanExtraction(tiny, Pointer(32, condition=32), tokens=40)
    learner.loss(learner.collate([row("full"), row("")]))["loss"].backward()
    assert all(part.grad is None for part in learner.encoder.parameters())
    assert learner.pointer.alone.weight.grad is not None
    assert learner.pointer.alone.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="nowhere else"):
        learner.pointer(torch.zeros(1, 3, 32), torch.ones(1, 3, dtype=torch.bool))
