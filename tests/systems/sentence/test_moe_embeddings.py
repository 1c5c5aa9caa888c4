from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isometry.core.errors import InputError
from isometry.corpora.readers.numpydoc import Described
from isometry.encoders.surgery.experts import MixtureOfExperts
from isometry.systems.domain_pairs_study import (
    DOMAINS,
    OPPOSED,
    DomainRows,
    DomainScale,
    HeldDomains,
    data,
)
from isometry.systems.domain_study import (
    DOMAINS_ALONE,
    DOMAINS_TOGETHER,
    OPPOSED_ALONE,
    OPPOSED_AUC,
    OPPOSED_TOGETHER,
    measure,
    tuned,
)
from isometry.systems.run import Run
from isometry.systems.system import AnySystem, Splits

TOGETHER = DOMAINS_TOGETHER | OPPOSED_TOGETHER
ALONE = DOMAINS_ALONE | OPPOSED_ALONE


@pytest.fixture(scope="module")
def system() -> AnySystem:
    return importlib.import_module("isometry.systems.sentence.moe_embeddings").system


@pytest.fixture(scope="module")
def splits(system: AnySystem) -> Splits[DomainRows, HeldDomains]:
    return data(system.scales["miniature"])


def texts_of(held: HeldDomains) -> set[str]:
    judged = [pair for kind in (held.together, held.apart) for own in kind.values() for pair in own]
    return {text for group in (*judged, *held.opposed) for text in group}


def test_no_function_is_on_two_sides(splits: Splits[DomainRows, HeldDomains]) -> None:
    train = {
        text
        for rows in splits.train.rows.values()
        for row in rows
        for text in (row.query, row.document, *row.negatives)
    }
    assert not train & texts_of(splits.validation) and not train & texts_of(splits.test)
    assert not texts_of(splits.validation) & texts_of(splits.test)


def test_domains_count_the_same_and_negatives_are_as_many(
    splits: Splits[DomainRows, HeldDomains],
) -> None:
    for held in (splits.validation, splits.test):
        assert list(held.together) == list(held.apart) == list(DOMAINS)
        counts = {len(own) for kind in (held.together, held.apart) for own in kind.values()}
        assert len(counts) == 1 and counts != {0}
        for domain in DOMAINS:
            assert not set(held.together[domain]) & set(held.apart[domain])


def test_opposed_domains_exchange_what_is_near_and_what_is_not(
    splits: Splits[DomainRows, HeldDomains],
) -> None:
    pairs = zip(splits.train.rows["module"], splits.train.rows["returned"], strict=True)
    for place, kind in pairs:
        assert (place.query, place.document, place.negatives) == (
            kind.query, kind.negatives[0], (kind.document,),
        )  # fmt: skip
        assert place.key != place.negative_keys[0] and kind.key != kind.negative_keys[0]
        assert "." in str(place.key) and "." not in str(kind.key)


def test_separate_models_get_as_many_steps_of_a_domain_as_one_for_all(system: AnySystem) -> None:
    for name in ("small", "full"):
        steps = system.scales[name].steps
        assert sum(steps[domain] for domain in DOMAINS) == steps["domains"]
        assert steps["module"] + steps["returned"] == steps["opposed"]


def test_a_domain_without_references_is_named(system: AnySystem) -> None:
    scale = system.scales["miniature"]
    with pytest.raises(InputError, match="domain 'numpy' has 0 pairs"):
        data(replace(scale, modules=("numpy.f2py", *scale.modules[1:])))


HUBS, NAMES = 5, 12


def hub(package: str, number: int) -> list[str]:
    """The texts that a function refers to; the last is also the first of the next one's."""
    start = number * (NAMES - 1)
    return [
        f"{package}x{place} {package}y{place} {package}z{place}"
        for place in range(start, start + NAMES)
    ]


def described(package: str) -> list[Described]:
    """Functions that refer to twelve others each; those at the seams stand twice."""
    found: list[Described] = []
    for number in range(HUBS):
        names = [f"{package}.m.f{number}x{place}" for place in range(NAMES)]
        module = f"{package}.{'mk'[number % 2]}"
        found += [
            Described(name, module, text, ("array", "float")[place % 2], ())
            for place, (name, text) in enumerate(zip(names, hub(package, number), strict=True))
        ]
        words = f"{package}hub{number} that refers"
        found.append(
            Described(f"{package}.n.h{number}", f"{package}.n", words, "", tuple(
                name.rpartition(".")[2] for name in names
            ))
        )  # fmt: skip
    return found


@pytest.fixture
def referring(
    system: AnySystem, monkeypatch: pytest.MonkeyPatch
) -> Splits[DomainRows, HeldDomains]:
    monkeypatch.setattr("isometry.systems.domain_pairs_study.read_described", described)
    return data(replace(system.scales["miniature"], modules=DOMAINS, judged=10))


def cited(domain: str) -> set[frozenset[str]]:
    groups = (combinations(hub(domain, number), 2) for number in range(HUBS))
    return {frozenset(pair) for group in groups for pair in group}


def test_what_is_never_cited_together_is_not_by_any_list_however_long(
    referring: Splits[DomainRows, HeldDomains],
) -> None:
    for held in (referring.validation, referring.test):
        for domain in DOMAINS:
            apart = {frozenset(pair) for pair in held.apart[domain]}
            assert len(apart) == len(held.apart[domain]) > 2
            assert not apart & cited(domain) and all(len(pair) == 2 for pair in apart)
            assert {frozenset(pair) for pair in held.together[domain]} <= cited(domain)


def test_all_that_a_text_is_cited_with_may_answer(
    referring: Splits[DomainRows, HeldDomains],
) -> None:
    for domain in DOMAINS:
        rows = referring.train.rows[domain]
        there = {text for row in rows for text in (row.query, row.document)}
        known = {pair for pair in cited(domain) if pair <= there}
        assert {frozenset((row.query, row.document)) for row in rows} == known
        assert len(rows) == len(known) > 40
        for row in rows:
            others = {text for pair in known if row.query in pair for text in pair}
            assert row.answers == others and row.key == row.document


class Told:
    """Vectors that say what is asked for, of the texts in the order in which they are judged."""

    def __init__(self, texts: Iterable[Sequence[str]], told: Sequence[Sequence[int]]) -> None:
        self.texts = [text for several in texts for text in several]
        self.vectors = np.eye(2, dtype=np.float32)[np.array(told).ravel()]

    def encode(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        assert list(texts) == self.texts
        return self.vectors


def run_of(scale: DomainScale, splits: Splits[Any, Any], folder: Path) -> Run[Any, Any, Any]:
    return Run(
        scale, splits.train, splits.validation, seed=0, rate=1e-3, folder=folder, shared=folder
    )


def test_an_encoder_that_knows_each_domain_has_all_figures_at_1(
    system: AnySystem, splits: Splits[DomainRows, HeldDomains], tmp_path: Path
) -> None:
    held, count = splits.test, len(splits.test.together["numpy"])
    served: dict[str, Any] = {
        domain: Told(
            [*held.together[domain], *held.apart[domain]], [[0, 0]] * count + [[0, 1]] * count
        )
        for domain in DOMAINS
    }
    for domain, told in zip(OPPOSED, ([0, 0, 1], [0, 1, 0]), strict=True):
        served[domain] = Told(held.opposed, [told] * len(held.opposed))
    found = measure(run_of(system.scales["miniature"], splits, tmp_path), served, held)
    assert np.shape(found["auc"]) == (5 * count,) and np.shape(found["f1max"]) == (5,)
    assert np.shape(found[OPPOSED_AUC]) == (2 * len(held.opposed),)
    assert all(np.all(np.asarray(figure) == 1) for figure in found.values())


def test_what_is_the_same_for_both_opposed_domains_has_exactly_a_half(
    system: AnySystem, splits: Splits[DomainRows, HeldDomains], tmp_path: Path
) -> None:
    class Random:
        def encode(self, texts: Sequence[str], **_: Any) -> np.ndarray:
            seeds = [list(text.encode()) for text in texts]
            rows = np.stack([np.random.default_rng(seed).normal(size=8) for seed in seeds])
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    served: dict[str, Any] = dict.fromkeys((*DOMAINS, *OPPOSED), Random())
    run = run_of(system.scales["miniature"], splits, tmp_path)
    figures = np.asarray(measure(run, served, splits.test)[OPPOSED_AUC])
    assert figures.mean() == pytest.approx(0.5, abs=1e-12) and figures.std() > 0


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, Any, Any]]:
    """Learner, rows and order of each stage, in which nothing is trained but experts grow apart."""
    found: dict[str, tuple[Any, Any, Any]] = {}

    def fit(_: Any, stage: str, learner: Any, rows: Any, order: Any) -> None:
        torch.manual_seed(len(found))
        with torch.no_grad():
            for part in learner.parameters():
                part += 0.1 * torch.randn_like(part)
        found[stage] = learner, rows, order

    monkeypatch.setattr(Run, "fit", fit)
    return found


@pytest.fixture
def small(system: AnySystem, tiny_folder: Path) -> DomainScale:
    steps = {"domains": 10, "opposed": 6, **dict.fromkeys(DOMAINS, 2), **dict.fromkeys(OPPOSED, 3)}
    scale = system.scales["miniature"]
    return replace(scale, model=str(tiny_folder), steps=steps, layers=None, frozen=0)


def test_each_domain_is_served_by_its_own_expert_under_its_own_token(
    small: DomainScale, splits: Splits[DomainRows, HeldDomains], tmp_path: Path,
    fitted: dict[str, tuple[Any, Any, Any]],
) -> None:  # fmt: skip
    run = run_of(small, splits, tmp_path)
    served = tuned("", TOGETHER, experts=True).make(run)
    assert list(served) == [*DOMAINS, *OPPOSED]
    for stage, domains in TOGETHER.items():
        mixture = fitted[stage][0].encoder
        assert isinstance(mixture, MixtureOfExperts)
        for number, domain in enumerate(domains):
            wanted = mixture.split(number).model.state_dict()
            found = served[domain].model.state_dict()
            assert all(torch.equal(found[name], value) for name, value in wanted.items())
            assert served[domain].tokenizer.encode("a").tokens[0] == f"[{domain}]"


def test_joint_and_separate_models_see_the_same_batches_of_a_domain(
    small: DomainScale, splits: Splits[DomainRows, HeldDomains], tmp_path: Path,
    fitted: dict[str, tuple[Any, Any, Any]],
) -> None:  # fmt: skip
    for stages in (TOGETHER, ALONE):
        tuned("", stages).make(run_of(small, splits, tmp_path))
    assert set(fitted) == {*TOGETHER, *ALONE}
    for stage, domains in TOGETHER.items():
        _, rows, order = fitted[stage]
        for number, domain in enumerate(domains):
            _, own, alone = fitted[domain]
            batches = [[rows[row] for row in batch] for batch in order]
            assert [
                [row.pair for row in batch] for batch in batches if batch[0].domain == number
            ] == [[own[row].pair for row in batch] for batch in alone]
            assert all(len({row.domain for row in batch}) == 1 for batch in batches)


def test_opposed_labels_are_compared_at_the_rate_that_is_best_for_them(system: AnySystem) -> None:
    for gate in system.gates:
        for name in filter(None, (system.arm_of(gate), gate.versus)):
            chosen = OPPOSED_AUC if gate.metric == OPPOSED_AUC else "auc"
            assert system.chooser(name).metric == chosen, name
    # Nothing is trained for what no gate asks of an arm.
    for name, arm in system.arms.items():
        labels = name.endswith("opposed labels")
        assert set(arm.stages) <= {"opposed", *OPPOSED} if labels else {"domains", *DOMAINS}


def test_of_what_is_not_served_there_are_no_figures(
    system: AnySystem, splits: Splits[DomainRows, HeldDomains], tmp_path: Path
) -> None:
    run = run_of(system.scales["miniature"], splits, tmp_path)
    encoder = run.encoder()
    labels = measure(run, dict.fromkeys(OPPOSED, encoder), splits.test)
    packages = measure(run, dict.fromkeys(DOMAINS, encoder), splits.test)
    both = measure(run, dict.fromkeys((*DOMAINS, *OPPOSED), encoder), splits.test)
    assert set(labels) == {OPPOSED_AUC} and set(labels) | set(packages) == set(both)
    assert not set(labels) & set(packages)


def test_f1_is_of_as_many_pairs_of_either_kind(system: AnySystem, tmp_path: Path) -> None:
    class Told:
        """Texts that end alike have the same vector, others orthogonal ones."""

        def encode(self, texts: Sequence[str], **_: Any) -> np.ndarray:
            return np.eye(2)[["ab".index(text[-1]) for text in texts]]

    together = [("0a", "0b"), ("1a", "1b")]
    apart = [("2a", "2b"), ("3a", "3b"), ("4a", "4a"), ("5b", "5b")]
    held = HeldDomains(dict.fromkeys(DOMAINS, together), dict.fromkeys(DOMAINS, apart), opposed=[])
    run = run_of(system.scales["miniature"], Splits(DomainRows({}), held, held), tmp_path)
    served: Any = dict.fromkeys(DOMAINS, Told())
    found = measure(run, served, held)
    # All four that count are at a cosine of 0: called pairs, half of them are. The other two, which
    # would come first, do not count.
    assert np.asarray(found["f1max"]).tolist() == pytest.approx([2 / 3] * len(DOMAINS))
