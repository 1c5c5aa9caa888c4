from __future__ import annotations

import importlib

import pytest

from isometry.core.errors import InputError
from isometry.systems.domain_pairs_study import DOMAINS, DomainRows, HeldDomains, _kind, data
from isometry.systems.system import AnySystem, Splits


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


def test_kinds_are_what_a_type_names_first() -> None:
    assert _kind("list of ndarray") == "several" and _kind("ndarray or scalar") == "array"
    assert _kind("NetworkX DiGraph") == "graph" and _kind("Series or DataFrame") == "table"
    assert _kind("pointer") == "" and _kind("") == ""


def test_a_domain_without_references_is_named(system: AnySystem) -> None:
    from dataclasses import replace

    scale = system.scales["miniature"]
    with pytest.raises(InputError, match="domain 'numpy' has 0 pairs"):
        data(replace(scale, modules=("numpy.f2py", *scale.modules[1:])))
