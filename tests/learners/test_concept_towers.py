from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from isometry.heads.concept_head import ConceptHead
from isometry.learners.concept_towers import ConceptTowers, TaggedPair
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.multilabel import MultiLabel

NAMES = ("dog", "cat", "tax", "sea")


@pytest.fixture
def head() -> ConceptHead:
    torch.manual_seed(0)
    return ConceptHead(NAMES, 6, activation="softplus")


@pytest.fixture
def rows() -> list[TaggedPair]:
    values = np.random.default_rng(0).normal(size=(5, 2, 6)).astype(np.float32)
    tags = [((0,), (1, 3)), ((), (2,)), ((0, 1), ()), ((3,), (3,)), ((2,), (0,))]
    return [TaggedPair(*own, *named) for own, named in zip(values, tags, strict=True)]


def test_the_loss_is_the_weighted_sum_of_its_terms(
    head: ConceptHead, rows: list[TaggedPair]
) -> None:
    # In one direction: whoever confuses the sides gets another loss.
    ranking = InfoNCE(0.1, a_to_b=1.0)
    learner = ConceptTowers(head, ranking, MultiLabel(), tag_weight=3.0, sparsity=0.5)
    losses = learner.loss(learner.collate(rows))
    query, document = (
        torch.from_numpy(np.stack(side))
        for side in ([row.query for row in rows], [row.document for row in rows])
    )
    marks = torch.zeros(10, 4)
    own = [*(row.query_tags for row in rows), *(row.document_tags for row in rows)]
    for item, tags in enumerate(own):
        for tag in tags:
            marks[item, tag] = 1
    expected = {
        "ranking": ranking(head(query), head(document)),
        # On logits: softplus would hide every no.
        "tagging": MultiLabel()(torch.cat([head.logits(query), head.logits(document)]), marks),
        "sparsity": torch.cat([head(query), head(document)]).mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    total = expected["ranking"] + 3 * expected["tagging"] + 0.5 * expected["sparsity"]
    torch.testing.assert_close(losses["loss"], total)


def test_a_term_that_is_not_there_counts_nothing(head: ConceptHead, rows: list[TaggedPair]) -> None:
    pairs = ConceptTowers(head, InfoNCE(0.1), tag_weight=3.0)
    tags = ConceptTowers(head, None, MultiLabel())
    both = ConceptTowers(head, InfoNCE(0.1), MultiLabel(), tag_weight=3.0)
    alone, named, whole = (each.loss(each.collate(rows)) for each in (pairs, tags, both))
    assert set(alone) == {"loss", "ranking"} and set(named) == {"loss", "tagging"}
    torch.testing.assert_close(whole["loss"], alone["loss"] + 3 * named["loss"])
    with pytest.raises(ValueError, match="nothing to train"):
        ConceptTowers(head, None)


def test_a_tag_touches_the_row_of_its_concept_alone(
    head: ConceptHead, rows: list[TaggedPair]
) -> None:
    # sesa, correctness check 4.
    gradients = []
    changed = [copy.copy(row) for row in rows]
    changed[1] = TaggedPair(rows[1].query, rows[1].document, (1,), rows[1].document_tags)
    for some in (rows, changed):
        head.zero_grad()
        learner = ConceptTowers(head, None, MultiLabel())
        learner.loss(learner.collate(some))["loss"].backward()
        assert head.rows.grad is not None
        gradients.append(head.rows.grad.clone())
    assert (gradients[0] != gradients[1]).any(dim=1).tolist() == [False, True, False, False]


def test_tags_keep_a_dimension_at_its_name_and_pairs_alone_do_not() -> None:
    rng = np.random.default_rng(0)
    # Four clusters; an item carries the tag of its own.
    centres = rng.normal(size=(4, 6)).astype(np.float32)
    rows = [
        TaggedPair(*(centres[tag] + 0.1 * rng.normal(size=(2, 6))), (tag,), (tag,))
        for tag in range(4)
    ]
    told: dict[float, float] = {}
    for weight in (0.0, 5.0):
        torch.manual_seed(0)
        head = ConceptHead(NAMES, 6, activation="softplus")
        learner = ConceptTowers(
            head, InfoNCE(0.1), MultiLabel() if weight else None, tag_weight=weight
        )
        optimizer = torch.optim.Adam(learner.parameters(), 0.05)
        for _ in range(60):
            optimizer.zero_grad()
            learner.loss(learner.collate(rows))["loss"].backward()
            optimizer.step()
        active = head(torch.from_numpy(centres))
        told[weight] = float((active.argmax(dim=1) == torch.arange(4)).float().mean())
    assert told[5.0] == 1
    assert told[0.0] < 1


def test_a_tag_outside_the_vocabulary_is_refused(head: ConceptHead, rows: list[TaggedPair]) -> None:
    learner = ConceptTowers(head, None, MultiLabel())
    for tag in (4, -1):
        wrong = TaggedPair(rows[0].query, rows[0].document, (tag,), ())
        with pytest.raises(ValueError, match="none of the 4 concepts"):
            learner.collate([wrong])


def test_activations_are_whole_whatever_else_is_computed_in(
    head: ConceptHead, rows: list[TaggedPair]
) -> None:
    learner = ConceptTowers(head, InfoNCE(0.1), MultiLabel(), sparsity=0.5)
    batch = learner.collate(rows)
    expected = learner.loss(batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = learner.loss(batch)
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


def test_sparsity_is_of_sizes_where_activations_have_signs(rows: list[TaggedPair]) -> None:
    torch.manual_seed(0)
    head = ConceptHead(NAMES, 6, activation="identity")
    learner = ConceptTowers(head, InfoNCE(0.1), sparsity=0.5)
    values = np.concatenate([[row.query, row.document] for row in rows])
    active = head(torch.from_numpy(values))
    assert (active < 0).any()
    losses = learner.loss(learner.collate(rows))
    torch.testing.assert_close(losses["sparsity"], active.abs().mean())
