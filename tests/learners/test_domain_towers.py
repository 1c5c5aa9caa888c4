from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_vocabulary import WORDS

from isometry.core.errors import InputError
from isometry.encoders.surgery.experts import MixtureOfExperts
from isometry.encoders.surgery.first_token import with_domain_tokens
from isometry.encoders.text import TextEncoder
from isometry.learners.domain_towers import DomainRow, DomainTowers
from isometry.learners.two_towers import PairRow
from isometry.objectives.matryoshka import MRL, Matryoshka
from isometry.objectives.soft_infonce import MNRPlus

DOMAINS = ("numpy", "scipy", "pandas")
ROWS = [
    DomainRow(PairRow(query, document, number, (other,), (9,)), domain)
    for number, (query, document, other, domain) in enumerate(
        [
            ("Compute the sum of all elements.", "Add.", "Find zeros of a function.", 2),
            ("Sort", "Order the rows by the values of one column or of several.", "Draw.", 0),
            ("Return the mean.", "Average along an axis.", "Read a file into a table.", 2),
        ]
    )
]


@pytest.fixture
def tiny(growing: TextEncoder) -> TextEncoder:
    return growing


def learner(encoder: TextEncoder, *, experts: bool) -> DomainTowers:
    encoder, tokens = with_domain_tokens(encoder, DOMAINS)
    if experts:
        encoder = MixtureOfExperts(encoder, len(DOMAINS))
        torch.manual_seed(0)
        with torch.no_grad():
            for name, part in encoder.named_parameters():
                if ".experts." in name:
                    part += 0.1 * torch.randn_like(part)
    table: Any = encoder.model[0]
    with torch.no_grad():
        table.model.get_input_embeddings().weight[-3:] *= torch.tensor([1.0, -1.0, -2.0])[:, None]
    return DomainTowers(encoder, Matryoshka(MNRPlus(), MRL((32,))), tokens, tokens=16)


def test_every_text_of_a_row_begins_with_its_domains_token(tiny: TextEncoder) -> None:
    towers = learner(tiny, experts=False)
    batch = towers.collate(ROWS)
    for side in ("query", "document", "negatives"):
        assert batch[side]["input_ids"][:, 0].tolist() == [WORDS + 2, WORDS, WORDS + 2]
        assert "assignment" not in batch[side]
    assert torch.isfinite(towers.loss(batch)["loss"])


def test_a_mixed_batch_has_the_vectors_that_each_domain_is_served_with(tiny: TextEncoder) -> None:
    from isometry.encoders.surgery.first_token import with_first_token

    towers = learner(tiny, experts=True)
    mixture = towers.encoder
    assert isinstance(mixture, MixtureOfExperts)
    batch = towers.collate(ROWS)
    with torch.no_grad():
        found = towers.vectors(batch["query"])[0]
    for row, vector in zip(ROWS, found, strict=True):
        served = with_first_token(mixture.split(row.domain), f"[{DOMAINS[row.domain]}]")
        alone = served.encode([row.pair.query])[0]
        torch.testing.assert_close(
            torch.nn.functional.normalize(vector, dim=0), torch.from_numpy(alone), atol=1e-5, rtol=0
        )


def test_negatives_go_to_the_expert_of_their_row(tiny: TextEncoder) -> None:
    towers = learner(tiny, experts=True)
    rows = [
        DomainRow(PairRow(row.pair.query, row.pair.document, n, ("a", "b"), (7, 8)), row.domain)
        for n, row in enumerate(ROWS)
    ]
    batch = towers.collate(rows)["negatives"]
    assert batch["assignment"][:, 0].tolist() == [2, 2, 0, 0, 2, 2]
    assert batch["assignment"].shape == batch["input_ids"].shape


def test_what_does_not_fit_is_refused(tiny: TextEncoder) -> None:
    objective = Matryoshka(MNRPlus(), MRL((32,)))
    with pytest.raises(InputError, match=r"no token '\[numpy\]'"):
        DomainTowers(tiny, objective, ["[numpy]"], tokens=16)
    encoder, tokens = with_domain_tokens(tiny, DOMAINS)
    with pytest.raises(ValueError, match="2 experts for 3 domains"):
        DomainTowers(MixtureOfExperts(encoder, 2), objective, tokens, tokens=16)
    dense = DomainTowers(encoder, objective, tokens, tokens=16)
    routed = DomainTowers(MixtureOfExperts(encoder, 3), objective, tokens, tokens=16)
    for own in (dense, routed):
        for domain in (-1, 3):
            with pytest.raises(ValueError, match="numbered from 0 to 2"):
                own.collate([ROWS[0], replace(ROWS[1], domain=domain)])
    tokenizer: Any = dense.encoder.model.tokenizer
    tokenizer.cls_token = "[SEP]"
    with pytest.raises(ValueError, match=r"do not begin with \[CLS\]"):
        dense.collate(ROWS)
