from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isometry.core.errors import InputError
from isometry.corpora.curation.dirichlet_lm import DirichletLM
from isometry.corpora.pairs.representative_words import RepresentativeWordPairs
from isometry.corpora.views.masking import IGNORED
from isometry.encoders.cross_encoder import CrossEncoder
from isometry.encoders.text import TextEncoder
from isometry.heads.masked_lm import MaskedLMHead
from isometry.learners.pairwise_ranking import (
    CandidatesRow,
    ListwiseRanking,
    PairwiseRanking,
    PreferenceRow,
)
from isometry.objectives.preference import Preference


class Seen(nn.Module):
    """An objective that keeps what it is given."""

    def forward(self, *given: Tensor) -> Tensor:
        self.given = given
        return torch.zeros(())


@pytest.fixture
def cross(tiny_original: TextEncoder) -> CrossEncoder:
    made = CrossEncoder.from_encoder(tiny_original, seed=0)
    with torch.no_grad():
        made.model.classifier.weight.mul_(50)
    return made


@pytest.fixture
def head(cross: CrossEncoder) -> MaskedLMHead:
    return MaskedLMHead.over(cross.model.get_input_embeddings())  # type: ignore[arg-type]


def both(cross: CrossEncoder, head: MaskedLMHead, **changed: Any) -> PairwiseRanking:
    return PairwiseRanking(cross, Preference(), **{"head": head, "tokens": 48, **changed})


def unmasked(
    cross: CrossEncoder, head: MaskedLMHead, objective: nn.Module, rows: list[PreferenceRow]
) -> tuple[PairwiseRanking, dict[str, Any]]:
    """A learner, and a batch of which no word is hidden: its scores are those of the texts."""
    learner = PairwiseRanking(cross, objective, head, tokens=48)
    batch = learner.collate(rows)
    pairs = [(query, row.document) for row in rows for query in (row.better, row.worse)]
    return learner, {**batch, "pairs": cross.collate(pairs, 48)}


@pytest.fixture(scope="module")
def rows(pairs: list[tuple[str, str]]) -> list[PreferenceRow]:
    return [
        PreferenceRow(words, other, code)
        for (words, code), (other, _) in zip(pairs[:6], pairs[6:12], strict=True)
    ]


@pytest.fixture(scope="module")
def lists(pairs: list[tuple[str, str]]) -> list[CandidatesRow]:
    """Three queries with 1, 3 and 2 negatives."""
    codes = [code for _, code in pairs]
    ends = ((10, 11), (11, 14), (14, 16))
    return [CandidatesRow(*pairs[i], tuple(codes[slice(*ends[i])])) for i in range(3)]


def test_the_objective_gets_each_documents_better_and_worse_query_in_pairs(
    cross: CrossEncoder, head: MaskedLMHead, rows: list[PreferenceRow]
) -> None:
    learner, batch = unmasked(cross, head, Seen(), rows)
    # Their order is that of the learner's own batch.
    own = learner.collate(rows)["pairs"]
    queries = own["token_type_ids"] == 0
    assert torch.equal(own["input_ids"][queries], batch["pairs"]["input_ids"][queries])
    learner.loss(batch)
    better, worse = (scores.detach().numpy() for scores in learner.objective.given)  # type: ignore[union-attr]
    for found, queries in ((better, [r.better for r in rows]), (worse, [r.worse for r in rows])):
        texts = [(query, row.document) for query, row in zip(queries, rows, strict=True)]
        np.testing.assert_allclose(found, cross.score(texts, tokens=48), atol=1e-4)
    assert np.abs(better - worse).min() > 1e-3


@pytest.mark.parametrize("kind", ["logistic", "hinge", "softmax_margin"])
def test_the_loss_is_the_objective_of_scores_and_turns_round_with_the_pair(
    cross: CrossEncoder, head: MaskedLMHead, rows: list[PreferenceRow], kind: Any
) -> None:
    learner, batch = unmasked(cross, head, Preference(kind), rows)
    losses = learner.loss(batch)
    scores = [cross.score([(r.better, r.document), (r.worse, r.document)], tokens=48) for r in rows]
    lead = torch.tensor([float(np.subtract(*own)) for own in scores])
    known = {
        "logistic": lambda x: torch.log1p(torch.exp(-x)),
        "hinge": lambda x: torch.clamp(1 - x, min=0),
        "softmax_margin": lambda x: 1 - torch.tanh(x / 2),
    }
    torch.testing.assert_close(losses["preference"], known[kind](lead).mean(), atol=1e-4, rtol=1e-4)
    swapped = [PreferenceRow(row.worse, row.better, row.document) for row in rows]
    learner, batch = unmasked(cross, head, Preference(kind), swapped)
    torch.testing.assert_close(
        learner.loss(batch)["preference"], known[kind](-lead).mean(), atol=1e-4, rtol=1e-4
    )


def test_a_listwise_loss_is_a_softmax_over_each_querys_own_candidates(
    cross: CrossEncoder, lists: list[CandidatesRow]
) -> None:
    learner = ListwiseRanking(cross, tokens=48)
    expected = []
    for row in lists:
        texts = [(row.query, text) for text in (row.positive, *row.negatives)]
        scores = cross.score(texts, tokens=48).astype(np.float64)
        expected.append(np.log(np.exp(scores - scores[0]).sum()))
    for shift in (0.0, 30.0, -120.0):
        # What all candidates share drops out, and what fills a shorter list is no candidate.
        with torch.no_grad():
            cross.model.classifier.bias.add_(shift)
        loss = learner.loss(learner.collate(lists))["loss"].detach()
        assert float(loss) == pytest.approx(np.mean(expected), abs=1e-4)
    assert np.std(expected) > 0.01


def test_one_negative_is_the_logistic_preference(
    cross: CrossEncoder, pairs: list[tuple[str, str]]
) -> None:
    lists = [CandidatesRow(*pairs[i], (pairs[i + 5][1],)) for i in range(5)]
    learner = ListwiseRanking(cross)
    positive = torch.from_numpy(cross.score([(row.query, row.positive) for row in lists]))
    negative = torch.from_numpy(cross.score([(row.query, row.negatives[0]) for row in lists]))
    torch.testing.assert_close(
        learner.loss(learner.collate(lists))["loss"],
        functional.softplus(negative - positive).mean(),
        atol=1e-4,
        rtol=1e-4,
    )
    with pytest.raises(ValueError, match="at least one negative"):
        learner.collate([*lists, CandidatesRow("a", "b", ())])


def test_dropout_stays_off_and_the_loss_is_a_function_of_weights_and_batch(
    cross: CrossEncoder,
    head: MaskedLMHead,
    rows: list[PreferenceRow],
    lists: list[CandidatesRow],
) -> None:
    for make, given in (
        (lambda: both(cross, head), rows),
        (lambda: ListwiseRanking(cross), lists),
    ):
        cross.train()
        learner = make()
        batch = learner.collate(given)  # type: ignore[arg-type]
        expected = learner.loss(batch)["loss"]
        assert learner.train() is learner
        assert learner.training
        assert not any(part.training for part in learner.encoder.modules())
        assert all(torch.equal(learner.loss(batch)["loss"], expected) for _ in range(3))
        # It would change otherwise.
        learner.encoder.train()
        assert not torch.equal(learner.loss(batch)["loss"], expected)


def test_gradients_reach_the_body_and_the_head(
    cross: CrossEncoder,
    head: MaskedLMHead,
    rows: list[PreferenceRow],
    lists: list[CandidatesRow],
) -> None:
    for learner, given in (
        (both(cross, head), rows),
        (ListwiseRanking(cross), lists),
    ):
        learner.train().zero_grad()
        learner.loss(learner.collate(given))["loss"].backward()  # type: ignore[arg-type]
        for name, parameter in learner.named_parameters():
            # What all candidates share drops out of a difference.
            if "classifier.bias" in name or "key.bias" in name:
                continue
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_the_objective_is_computed_in_float32(
    cross: CrossEncoder,
    head: MaskedLMHead,
    rows: list[PreferenceRow],
    lists: list[CandidatesRow],
) -> None:
    learner, other = PairwiseRanking(cross, Seen(), head), ListwiseRanking(cross)
    with torch.autocast("cpu", torch.bfloat16):
        learner.loss(learner.collate(rows))
        loss = other.loss(other.collate(lists))["loss"]
    assert all(scores.dtype == torch.float32 for scores in learner.objective.given)  # type: ignore[union-attr]
    assert loss.dtype == torch.float32


def test_inputs_are_cut_at_the_learners_length(cross: CrossEncoder, head: MaskedLMHead) -> None:
    long = "file " * 90
    rows, lists = [PreferenceRow("a", "b", long)], [CandidatesRow("a", long, (long, "b"))]
    for tokens, expected in ((20, 20), (None, 64)):
        one = both(cross, head, tokens=tokens).collate(rows)
        other = ListwiseRanking(cross, tokens=tokens).collate(lists)
        assert one["pairs"]["input_ids"].shape == (2, expected)
        assert other["pairs"]["input_ids"].shape == (3, expected)
        assert other["candidates"].tolist() == [3]


def test_a_few_steps_on_representative_words_learn_to_prefer(
    cross: CrossEncoder, head: MaskedLMHead, texts: list[str]
) -> None:
    maker = RepresentativeWordPairs(DirichletLM.fit(texts[:200], least=3), per_document=2)
    rng = random.Random(0)
    rows = [
        PreferenceRow(" ".join(better), " ".join(worse), text)
        for text in texts[:12]
        for better, worse in maker.sets(text, rng)
    ]
    learner = both(cross, head).train()
    batch = learner.collate(rows)
    optimizer = torch.optim.Adam(learner.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        found = learner.loss(batch)
        found["loss"].backward()
        optimizer.step()
        losses.append(float(found["preference"].detach()))
    better = cross.score([(row.better, row.document) for row in rows], tokens=48)
    worse = cross.score([(row.worse, row.document) for row in rows], tokens=48)
    assert losses[-1] < 0.7 * losses[0]
    assert (better > worse).mean() > 0.85


def test_only_whole_words_of_the_documents_are_masked(
    cross: CrossEncoder, head: MaskedLMHead, rows: list[PreferenceRow]
) -> None:
    pairs = [(query, row.document) for row in rows for query in (row.better, row.worse)]
    before, words = cross.collate_with_words(pairs, 48)
    batch = both(cross, head).collate(rows)
    ids, labels = batch["pairs"]["input_ids"], batch["labels"]
    targets = (labels != IGNORED).numpy()
    segments = before["token_type_ids"].numpy()
    assert targets.any(axis=1).all()
    assert (segments[targets] == 1).all()
    assert torch.equal(ids[segments == 0], before["input_ids"][segments == 0])
    assert torch.equal(labels[targets], before["input_ids"][targets])
    assert torch.equal(ids[~targets], before["input_ids"][~targets])
    assert (ids[targets] == cross.tokenizer.mask_token_id).float().mean() > 0.5
    split = 0
    for row, own in enumerate(words):
        for word in set(own[own >= 0].tolist()):
            assert len(set(targets[row, own == word].tolist())) == 1
            split += int((own == word).sum() > 1 and targets[row, own == word].all())
        assert abs(targets[row].sum() - 0.15 * (own >= 0).sum()) < 2.5
    assert split > 0
    assert all(torch.equal(batch["pairs"][k], before[k]) for k in before if k != "input_ids")
    # The two inputs of a row are masked each for itself.
    shifted = [np.where(targets[row, words[row] >= 0])[0].tolist() for row in range(len(words))]
    assert any(shifted[row] != shifted[row + 1] for row in range(0, len(words), 2))


def test_no_input_has_more_than_60_targets(cross: CrossEncoder, head: MaskedLMHead) -> None:
    cross.tokenizer.model_max_length = cross.model.config.max_position_embeddings = 512
    learner = both(cross, head, tokens=None)
    batch = learner.collate([PreferenceRow("a", "b", "path " * 600), PreferenceRow("a", "b", "x")])
    assert batch["pairs"]["input_ids"].shape == (4, 512)
    assert (batch["labels"] != IGNORED).sum(dim=1).tolist() == [60, 60, 1, 1]


def test_the_names_of_special_tokens_in_a_text_are_no_targets(
    cross: CrossEncoder, head: MaskedLMHead
) -> None:
    learner = both(cross, head)
    batch = learner.collate([PreferenceRow("a", "b", "[MASK] [SEP] " * 12 + "path")])
    labels = batch["labels"][batch["labels"] != IGNORED]
    assert labels.tolist() == [cross.tokenizer.convert_tokens_to_ids("path")] * 2


def test_masks_depend_on_the_seed_and_the_batch_alone(
    cross: CrossEncoder, head: MaskedLMHead, rows: list[PreferenceRow]
) -> None:
    learner = both(cross, head)
    first, second = learner.collate(rows[:3]), learner.collate(rows[3:])
    # A resumed run begins at its second batch.
    resumed = both(cross, head).collate(rows[3:])
    assert torch.equal(resumed["labels"], second["labels"])
    assert torch.equal(resumed["pairs"]["input_ids"], second["pairs"]["input_ids"])
    assert torch.equal(learner.collate(rows[:3])["labels"], first["labels"])
    other = both(cross, head, seed=1).collate(rows[:3])
    assert not torch.equal(other["labels"], first["labels"])
    # Nor does another batch of the same shape have the same places.
    document = rows[0].document
    one, two = (
        learner.collate([PreferenceRow(*queries, document)])["labels"]
        for queries in (("path", "file"), ("file", "path"))
    )
    assert one.shape == two.shape
    assert not torch.equal(one, two)


def test_the_loss_is_that_of_preferences_and_of_masked_words(
    cross: CrossEncoder, head: MaskedLMHead, rows: list[PreferenceRow]
) -> None:
    learner = both(cross, head)
    batch = learner.collate(rows)
    losses = learner.loss(batch)
    output = cross.model(**batch["pairs"], output_hidden_states=True)
    scores = output.logits[:, 0]
    preference = functional.softplus(scores[1::2] - scores[::2]).mean()
    logits = head(output.hidden_states[-1])
    masked = functional.cross_entropy(
        logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED
    )
    assert set(losses) == {"loss", "preference", "masked_language"}
    torch.testing.assert_close(losses["preference"], preference, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses["masked_language"], masked, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses["loss"], preference + masked, rtol=1e-5, atol=1e-5)
    alone = PairwiseRanking(cross, None, head=head, tokens=48)
    assert torch.equal(alone.collate(rows)["labels"], batch["labels"])
    only = alone.loss(batch)
    assert set(only) == {"loss"}
    torch.testing.assert_close(only["loss"], masked, rtol=1e-5, atol=1e-5)


def test_masked_words_alone_leave_the_ranking_head_as_it_is(
    cross: CrossEncoder, head: MaskedLMHead, rows: list[PreferenceRow]
) -> None:
    for objective, reached in ((None, False), (Preference(), True)):
        learner = PairwiseRanking(cross, objective, head=head, tokens=48).train()
        learner.zero_grad()
        learner.loss(learner.collate(rows))["loss"].backward()
        gradients = {name: part.grad for name, part in learner.named_parameters()}
        assert (gradients["encoder.model.classifier.weight"] is not None) is reached
        for name in ("head.dense.weight", "encoder.model.bert.embeddings.word_embeddings.weight"):
            assert gradients[name] is not None
            assert gradients[name].abs().sum() > 0  # type: ignore[union-attr]


def test_the_gradient_of_masked_words_enters_at_the_documents_targets_alone(
    cross: CrossEncoder,
    head: MaskedLMHead,
    rows: list[PreferenceRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[Tensor] = []
    forward = cross.forward_with_states

    def seen(batch: Any) -> Any:
        scores, states = forward(batch)
        states.retain_grad()
        kept.append(states)
        return scores, states

    monkeypatch.setattr(cross, "forward_with_states", seen)
    learner = PairwiseRanking(cross, None, head=head, tokens=48)
    batch = learner.collate(rows)
    learner.loss(batch)["loss"].backward()
    assert kept[0].grad is not None
    reached = kept[0].grad.abs().sum(dim=2) > 0
    assert torch.equal(reached, batch["labels"] != IGNORED)
    assert not reached[batch["pairs"]["token_type_ids"] == 0].any()


def test_what_cannot_be_masked_is_refused(cross: CrossEncoder, head: MaskedLMHead) -> None:
    with pytest.raises(ValueError, match="a head of 48 dimensions on states of 32"):
        both(cross, MaskedLMHead.over(nn.Embedding(10, 48)))
    with pytest.raises(InputError, match="No text of this batch"):
        both(cross, head).collate([PreferenceRow("a", "b", " "), PreferenceRow("c", "d", "[SEP]")])
    backend, mask = cross.tokenizer.backend_tokenizer, cross.tokenizer.mask_token
    from tokenizers import pre_tokenizers

    boundaries = backend.pre_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([])
    with pytest.raises(InputError, match="no word boundaries"):
        both(cross, head)
    backend.pre_tokenizer = boundaries
    assert both(cross, head)
    cross.tokenizer.mask_token = None
    with pytest.raises(InputError, match="no mask token"):
        both(cross, head)
    cross.tokenizer.mask_token = mask
