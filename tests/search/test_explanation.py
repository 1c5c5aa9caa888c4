from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from isometry import InputError, Space
from isometry.cli.main import main
from isometry.encoders.text import TextEncoder
from isometry.search.explanation import (
    REST,
    Contribution,
    Parts,
    concept_names,
    contributions,
    express,
    query_words,
    shares,
)
from isometry.search.fusion import standard_score_fusion
from isometry.search.hybrid import Mode

QUERIES = (
    "return the day of the week",
    "sort sort a heap's items",
    "read_mime types, quickly",
    "zzzz qqqq",
    "the of and",
    "split text \ud800 into lines ”quoted”",
)


@pytest.fixture(scope="module")
def space(tiny_space: Path) -> Space:
    return Space.open(tiny_space)


def total(parts: Sequence[Contribution], side: str | None = None) -> float:
    return sum(part.value for part in parts if side in (None, part.side))


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
@pytest.mark.parametrize("query", QUERIES)
def test_contributions_sum_to_the_score_of_every_hit(space: Space, query: str, mode: Mode) -> None:
    # More than are fused.
    explained = space.explain(query, 300, mode)
    found = [result for result, _ in explained]
    assert found == space.search(query, 300, mode)
    fewer = space.search(query, 30, mode)
    assert [(each.document, each.score) for each in found[:30]] == [
        (each.document, each.score) for each in fewer
    ]
    for result, parts in explained:
        assert total(parts) == pytest.approx(result.score, abs=1e-6)
        sides = {part.side for part in parts}
        assert sides <= ({"dense", "lexical"} if mode == "hybrid" else {mode})


def test_what_words_and_vectors_add_is_their_part_of_the_fusion(space: Space) -> None:
    query, depth = QUERIES[0], int(space.manifest["search"]["depth"])
    weight = float(space.manifest["search"]["dense_weight"])
    index = space.index
    dense, lexical = (
        list(zip(index.rows.names(numbers), scores.tolist(), strict=True))
        for numbers, scores in (
            index.rank_dense(space.encode([query])[0], depth),
            index.rank_lexical(query, depth),
        )
    )
    by_side = {
        "dense": dict(standard_score_fusion(dense, [], 1.0, depth)),
        "lexical": dict(standard_score_fusion([], lexical, 0.0, depth)),
    }
    compared = 0
    for result, parts in space.explain(query, 40):
        for side, share in (("dense", weight), ("lexical", 1 - weight)):
            if result.document in by_side[side] and share:
                expected = share * by_side[side][result.document]
                assert total(parts, side) == pytest.approx(expected, abs=1e-5)
                compared += 1
    assert compared > 40


def test_a_word_contributes_what_it_scores_alone(space: Space) -> None:
    query = "sort heap sort unsaid"
    explained = space.explain(query, 5, "lexical")
    assert explained
    alone = {
        word: {result.document: result.score for result in space.search(word, 1000, "lexical")}
        for word in ("sort", "heap")
    }
    several = 0
    for result, parts in explained:
        named = {part.name: part.value for part in parts}
        assert set(named) <= {"sort", "heap"}
        # The best chunk for the word alone may be another one.
        assert named.get("heap", 0) <= alone["heap"].get(result.document, 0) + 1e-5
        assert named.get("sort", 0) <= 2 * alone["sort"].get(result.document, 0) + 1e-5
        several += len(named) == 2
    assert several
    (best, _), *_ = space.explain("sort", 1, "lexical")
    found = {result.document: parts for result, parts in space.explain("sort sort", 99, "lexical")}
    twice = {part.name: part.value for part in found[best.document]}
    assert twice["sort"] == pytest.approx(2 * best.score, rel=1e-5)


def test_concepts_contribute_their_weight_times_their_likeness(space: Space) -> None:
    query = "the heap's smallest item"
    vector = space.encode([query])[0].astype(float)
    explained = space.explain(query, 10, "dense")
    for result, parts in explained:
        *named, rest = parts
        assert rest.name == REST
        names = [part.name for part in named]
        concepts = space.encode(names, "document").astype(float)
        passage = space.encode([result.text], "document")[0].astype(float)
        assert min(part.value / (concepts[row] @ passage) for row, part in enumerate(named)) > 0
        weights = np.array(
            [part.value / (concepts[row] @ passage) for row, part in enumerate(named)]
        )
        left = vector - weights @ concepts
        assert np.abs(concepts @ left).max() < 0.02
        assert rest.value == pytest.approx(left @ passage, abs=0.02)
        assert np.linalg.norm(left) < 0.95


def test_concepts_are_headings_of_what_was_found_and_words_of_the_query(space: Space) -> None:
    query = "the heap's smallest item"
    found = space.search(query, int(space.manifest["search"]["depth"]), "dense")
    headings = {result.title.rpartition(" > ")[2] for result in found}
    for _, parts in space.explain(query, 5, "dense"):
        assert {part.name for part in parts[:-1]} <= headings | {"the", "heap", "smallest", "item"}


def test_a_query_that_is_a_concept_leaves_no_rest(minilm: TextEncoder) -> None:
    names = ["Key rotation", "Opening hours", "Refunds"]
    concepts = minilm.encode(names)
    passages = minilm.encode(["Rotate a key every month.", "We open at nine."])
    parts = Parts.of_vectors(
        ["a", "b"], passages @ concepts[0], passages, concepts[0], names, concepts
    )
    assert parts.names == ["Key rotation", REST]
    np.testing.assert_allclose(parts.values[:, 1], 0, atol=1e-6)
    np.testing.assert_allclose(parts.values[:, 0], passages @ concepts[0], atol=1e-6)


def test_a_sum_of_concepts_is_found_and_no_weight_is_negative() -> None:
    rng = np.random.default_rng(0)
    concepts = np.linalg.qr(rng.normal(size=(20, 20)))[0][:12]
    rows, weights = express(0.8 * concepts[3] + 0.6 * concepts[7], concepts)
    assert dict(zip(rows.tolist(), weights.round(6).tolist(), strict=True)) == {3: 0.8, 7: 0.6}
    rows, weights = express(0.8 * concepts[3] - 0.6 * concepts[7], concepts)
    assert rows.tolist() == [3]
    # Weights are fitted anew when a concept comes in: these two are no right angle.
    slanted = np.array([[1.0, 0.0], [0.6, 0.8]])
    query = np.array([0.9, 0.3]) / np.linalg.norm([0.9, 0.3])
    rows, weights = express(query, slanted)
    np.testing.assert_allclose(weights @ slanted[rows], query, atol=1e-9)
    assert len(express(np.array([0.0, 1.0]), np.array([[1.0, 0.0]]))[0]) == 0


def test_a_document_that_one_side_did_not_find_has_its_lowest_score() -> None:
    values = np.array([[3.0, 1.0], [1.0, 0.0]])
    lexical = Parts("lexical", ["a", "b"], ["x", "y"], values, values.sum(axis=1))
    scores = [("a", 4.0), ("b", 1.0)]
    for missing in (0, 3):
        fused = dict(standard_score_fusion([("c", 1.0)], scores, 0.4, 2 + missing))
        for document in ("a", "b", "c"):
            found = lexical.explain_fused(document, 0.6, missing)
            assert total(found) == pytest.approx(fused[document], abs=1e-12)
    assert [part.name for part in lexical.explain_fused("c", 0.6, 0)] == ["not among the first 2"]
    assert [part.name for part in lexical.explain_fused("c", 0.6, 3)] == ["not among the 2 found"]
    assert lexical.explain_fused("a", 0.0, 3) == []


@pytest.mark.parametrize(("seed", "count"), [(3, 10), (182, 100)])
def test_where_all_are_alike_a_side_says_nothing(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)

    def unit(*shape: int) -> np.ndarray:
        drawn = rng.normal(size=shape)
        return (drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)).astype(np.float32)

    vector, query, concepts = unit(16), unit(16), unit(12, 16)
    documents = [f"d{number:03}" for number in range(count)]
    vectors = np.tile(vector, (count, 1))
    scores = np.vecdot(vectors, query)
    fused = standard_score_fusion(
        list(zip(documents, scores.tolist(), strict=True)), [], 0.7, count
    )
    assert {score for _, score in fused} == {0.0}
    names = [f"c{number}" for number in range(12)]
    parts = Parts.of_vectors(documents, scores, vectors, query, names, concepts)
    # Sums of the parts are alike too, and no numbers that their mean is exactly.
    assert parts.values.sum(axis=1).std() > 0
    assert parts.explain_fused(documents[0], 0.7, 0) == []


def test_words_that_do_not_account_for_a_score_leave_a_rest() -> None:
    parts = Parts.of_words(["a", "b"], np.array([3.0, 2.0]), ["x"], np.array([[2.9999999], [1.5]]))
    assert [(part.name, part.value) for part in parts.explain("a")] == [("x", pytest.approx(3.0))]
    assert {part.name: part.value for part in parts.explain("b")} == {"x": 1.5, REST: 0.5}


def test_products_are_named_and_the_small_ones_put_together() -> None:
    query, document = np.array([1.0, 2.0, 0.0, -1.0]), np.array([3.0, 1.0, 5.0, 0.5])
    names = ["a", "b", "c", "d"]
    assert contributions(query, document, names) == [("a", 3.0), ("b", 2.0), ("d", -0.5)]
    assert contributions(query, document, names, top=1) == [("a", 3.0), ("2 others", 1.5)]
    found = contributions(query, document, names, top=2, normalize=True)
    cosine = query @ document / np.linalg.norm(query) / np.linalg.norm(document)
    assert sum(value for _, value in found) == pytest.approx(cosine, abs=1e-12)
    assert found[0][1] == pytest.approx(3 / np.linalg.norm(query) / np.linalg.norm(document))


def test_the_sum_is_the_score_of_many_dimensions() -> None:
    rng = np.random.default_rng(0)
    query, document = rng.normal(size=(2, 500)).astype(np.float32)
    names = [str(number) for number in range(500)]
    for top in (None, 1, 32, 500, 900):
        found = contributions(query, document, names, top=top)
        exact = query.astype(float) @ document.astype(float)
        assert sum(value for _, value in found) == pytest.approx(exact, abs=1e-9)
        assert len(found) == (500 if top in (None, 500, 900) else (top or 0) + 1)
    # Names and dimensions change places together: nothing else does.
    order = rng.permutation(500)
    moved = contributions(query[order], document[order], [names[row] for row in order])
    assert sorted(moved) == sorted(contributions(query, document, names))


def test_what_has_no_explanation_is_refused() -> None:
    ones = np.ones(2)
    with pytest.raises(InputError, match="1 names for 2"):
        contributions(ones, ones, ["a"])
    with pytest.raises(InputError, match="No concept is active"):
        contributions(np.zeros(2), ones, ["a", "b"], normalize=True)
    assert contributions(np.zeros(2), ones, ["a", "b"]) == []
    with pytest.raises(InputError, match="'b' contributes -1"):
        shares([("a", 2.0), ("b", -1.0)])
    with pytest.raises(InputError, match="Nothing contributes"):
        shares([])
    assert shares([("a", 3.0), ("b", 1.0)]) == [("a", 0.75), ("b", 0.25)]


def test_names_of_concepts() -> None:
    names = concept_names("How to turn a Key 42?", ["Guide > Keys", "", "Keys"], ["", "", ""])
    assert names == ["Keys", "how", "turn", "key"]
    texts = ["pump oil", "pump oil", "pump water", "pump air"]
    # In all of them, or in one alone: neither tells passages apart.
    assert concept_names("why", [""] * 4, texts) == ["why", "oil"]
    many = [f"Heading {number}" for number in range(10)]
    assert concept_names("why", many, texts) == [*many, "why"]


def test_words_of_a_query() -> None:
    assert query_words(" a b-c  a \ud800") == {"a": 2, "b-c": 1, "?": 1}


def test_the_command_prints_what_it_found(
    tiny_space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["search", str(tiny_space), QUERIES[0], "-k", "3", "--quiet"]
    assert main([*arguments, "--explain", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert len(results) == 3
    for result in results:
        parts = result.pop("contributions")
        assert {key for part in parts for key in part} == {"side", "name", "value"}
        assert sum(part["value"] for part in parts) == pytest.approx(result["score"], abs=1e-6)
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == results
    assert main([*arguments, "--explain"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("lexical ") >= 3
    assert "week +" in shown
    assert main([*arguments[:2], "zzzz", "--mode", "lexical", "--explain"]) == 0
    assert "Nothing found" in capsys.readouterr().out


def test_shared_words_come_by_how_many_passages_have_them() -> None:
    texts = [
        "pump oil air",
        "pump air oil",
        "pump oil bag bag",
        "pump bag",
        "zinc zinc",
        *["x"] * 3,
    ]
    # "zinc" is in one passage only, however often.
    assert concept_names("why", [""] * 8, texts) == ["why", "pump", "oil", "air", "bag"]
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(150)]
    names = concept_names("why", [""] * 4, [" ".join(words)] * 2 + ["", ""])
    assert names == ["why", *words[:100]]


def test_the_largest_part_comes_first_and_the_rest_last() -> None:
    values = np.array([[1.0, -3.0, 0.0, 5.0]])
    parts = Parts("lexical", ["a"], ["x", "y", "z", REST], values, values.sum(axis=1))
    assert [(part.name, part.value) for part in parts.explain("a")] == [
        ("y", -3.0),
        ("x", 1.0),
        (REST, 5.0),
    ]


def test_words_of_a_query_in_any_script_and_short_names() -> None:
    def of(query: str) -> list[str]:
        return concept_names(query, [""], [""])

    assert of("更换 密钥") == ["更换", "密钥"]
    assert of("서버 키 교체") == ["서버", "교체"]
    # With the signs of its vowels, without which it would be in pieces.
    assert of("हिन्दी भाषा में") == ["हिन्दी", "भाषा", "में"]
    assert of("Does CI of Go, k8s (v2) or C run?") == ["does", "ci", "go", "k8s", "run"]
    # Where a sentence begins, only capitals throughout are a name.
    assert of("Is it possible in Go? My CI fails. UI") == ["possible", "go", "ci", "fails", "ui"]
    texts = ["हिन्दी भाषा", "हिन्दी It", "It", "x"]
    assert concept_names("why", [""] * 4, texts) == ["why", "हिन्दी"]


def test_a_query_is_taken_apart_into_six_concepts_at_most() -> None:
    rows, weights = express(np.full(9, 1 / 3), np.eye(9))
    assert len(rows) == 6
    np.testing.assert_allclose(weights, 1 / 3)


def test_what_speaks_against_a_document_is_named_by_its_size() -> None:
    query, document = np.array([1.0, 2.0, 1.0, 1.0]), np.array([1.0, -2.0, 0.5, 0.25])
    found = contributions(query, document, ["a", "b", "c", "d"], top=2)
    assert found == [("b", -4.0), ("a", 1.0), ("2 others", 0.75)]
    assert shares([("a", 1.0), ("b", 0.0)]) == [("a", 1.0), ("b", 0.0)]


def test_a_small_part_that_words_do_not_account_for_is_a_rest_too() -> None:
    parts = Parts.of_words(["a"], np.array([2.01]), ["x"], np.array([[2.0]]))
    found = {part.name: part.value for part in parts.explain("a")}
    assert found == {"x": 2.0, REST: pytest.approx(0.01)}


def test_few_passages_share_words_and_blanks_are_no_part_of_a_heading() -> None:
    assert concept_names("why", [""] * 3, ["pump oil", "pump air", "bag"]) == ["why", "pump"]
    assert concept_names("why", ["Guide >  Keys ", " "], ["", ""]) == ["Keys", "why"]
    # Behind an exclamation mark a sentence begins.
    assert concept_names("Stop! It may run", [""], [""]) == ["stop", "may", "run"]


def test_a_concept_that_later_ones_replace_is_not_among_those_that_are_used() -> None:
    concepts = np.array([[0.48, 0.8, 0.36], [0.6, 0.8, 0.0], [0.0, 0.8, 0.6]])
    rows, weights = express(np.array([0.0, 1.0, 0.0]), concepts)
    assert sorted(rows.tolist()) == [1, 2] and (weights > 0).all()
