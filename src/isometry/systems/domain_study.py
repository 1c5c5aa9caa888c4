"""What one encoder for several domains is compared with, and by what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from isometry.encoders.surgery.experts import MixtureOfExperts
from isometry.encoders.surgery.first_token import with_domain_tokens, with_first_token
from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import TextEncoder
from isometry.evaluation.pair_scores import pair_scores, wins
from isometry.learners.domain_towers import DomainRow, DomainTowers
from isometry.objectives.matryoshka import MRL, Matryoshka
from isometry.objectives.soft_infonce import MNRPlus
from isometry.systems.domain_pairs_study import (
    DOMAINS,
    OPPOSED,
    DomainRows,
    DomainScale,
    HeldDomains,
)
from isometry.systems.run import Run
from isometry.systems.system import Arm, Figures
from isometry.training.task_batches import task_batches

# The domains of each stage: of one model for all five packages or for both of the opposed labels,
# and of a model for each of them.
DOMAINS_TOGETHER, DOMAINS_ALONE = {"domains": DOMAINS}, {one: (one,) for one in DOMAINS}
OPPOSED_TOGETHER, OPPOSED_ALONE = {"opposed": OPPOSED}, {one: (one,) for one in OPPOSED}
# The figure of the triplets.
OPPOSED_AUC = "auc, opposed labels"

DomainRun = Run[DomainScale, DomainRows, HeldDomains]
# The encoder that serves each domain.
Served = Mapping[str, TextEncoder]


def untouched(run: DomainRun) -> Served:
    """The encoder as it is, for all domains; it knows no token of them."""
    encoder = run.encoder()
    return dict.fromkeys((*DOMAINS, *OPPOSED), encoder)


def tuned(
    about: str,
    stages: Mapping[str, Sequence[str]],
    *,
    experts: bool = False,
    chosen_on: str = "",
) -> Arm[DomainScale, DomainRows, HeldDomains, Served]:
    """An arm that trains a model in each stage, on the domains of the stage.

    A batch holds one domain, and each domain has as many steps, over the same batches, whatever it
    is trained with.

    Args:
        about: What it does.
        stages: The domains of each.
        experts: Whether each domain has experts of its own.
        chosen_on: See `Arm`.
    """

    def make(run: DomainRun) -> Served:
        served: dict[str, TextEncoder] = {}
        for stage, domains in stages.items():
            served |= _trained(run, stage, domains, experts=experts)
        return served

    return Arm(about, make, tuple(stages), chosen_on=chosen_on)


def _trained(run: DomainRun, stage: str, domains: Sequence[str], *, experts: bool) -> Served:
    """One model, seen from each of its domains."""
    scale = run.scale
    encoder, tokens = with_domain_tokens(run.encoder(), domains)
    # All is trained, as in the paper: a domain's token means nothing until its row is.
    encoder.requires_grad_(True)
    if scale.frozen:
        freeze_below(encoder, scale.frozen)
    if experts:
        encoder = MixtureOfExperts(encoder, len(domains), scale.layers)
    rows = [
        DomainRow(pair, number)
        for number, domain in enumerate(domains)
        for pair in run.train.rows[domain]
    ]
    order = task_batches(
        [(row.pair.query, row.pair.document) for row in rows],
        [domains[row.domain] for row in rows],
        scale.batch,
        scale.steps[stage],
        run.seed,
        shares=dict.fromkeys(domains, 1.0),
    )
    objective = Matryoshka(MNRPlus(0.05), MRL((encoder.dim,)))
    run.fit(stage, DomainTowers(encoder, objective, tokens, tokens=scale.tokens), rows, list(order))
    return {
        domain: with_first_token(
            encoder.split(number) if isinstance(encoder, MixtureOfExperts) else encoder, token
        )
        for number, (domain, token) in enumerate(zip(domains, tokens, strict=True))
    }


def measure(run: DomainRun, served: Served, held: HeldDomains) -> Figures:
    """How well cosines tell pairs that are cited together from others of the same domain.

    `auc` has a figure for each positive pair, `f1max` one for each domain. That of opposed labels
    takes the triplets twice: an encoder that does the same in both domains has exactly one half.
    There are figures of what is served: of the packages, of the opposed labels, or of both.
    """

    def encode(domain: str, texts: Iterable[Sequence[str]]) -> Float[np.ndarray, "n d"]:
        scale, flat = run.scale, [text for several in texts for text in several]
        return served[domain].encode(flat, tokens=scale.tokens, precision=scale.precision)

    auc: list[Float[np.ndarray, " n"]] = []
    f1: dict[str, float] = {}
    for domain in [one for one in DOMAINS if one in served]:
        count = len(held.together[domain])
        vectors = encode(domain, [*held.together[domain], *held.apart[domain]])
        cosines = (vectors[::2] * vectors[1::2]).sum(axis=1)
        auc.append(wins(cosines[:count], cosines[count:]))
        # As many of either kind, as in the paper; which, is chance.
        both = slice(0, 4 * count)
        gold = (np.arange(2 * count) < count).astype(float)
        f1[domain] = pair_scores(vectors[both][::2], vectors[both][1::2], gold)["f1_max"]
    opposed: list[Float[np.ndarray, " n"]] = []
    for domain in [one for one in OPPOSED if one in served]:
        vectors = encode(domain, held.opposed)
        near, far = ((vectors[::3] * vectors[place::3]).sum(axis=1) for place in (1, 2))
        opposed.append(wins(near, far) if domain == OPPOSED[0] else wins(far, near))
    figures: dict[str, float | np.ndarray] = (
        {OPPOSED_AUC: np.concatenate(opposed)} if opposed else {}
    )
    if auc:
        figures |= {"auc": np.concatenate(auc), "f1max": np.array(list(f1.values()))}
    return figures | {f"f1max, {domain}": figure for domain, figure in f1.items()}
