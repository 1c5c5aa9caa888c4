from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import (
    BinaryClassificationEvaluator,
    EmbeddingSimilarityEvaluator,
)
from sklearn.metrics import f1_score, roc_auc_score

from isometry.core.errors import InputError
from isometry.encoders.packaged_models import packaged_folder
from isometry.encoders.text import TextEncoder
from isometry.evaluation.pair_scores import best_threshold, pair_scores, wins


def at_angles(degrees: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs with these angles between them; the lengths differ."""
    angles = np.radians(degrees)
    a = np.tile([[3.0, 0.0]], (len(degrees), 1))
    b = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, len(degrees) + 1)[:, None]
    return a, b


def test_correlations_are_those_of_the_cosines() -> None:
    degrees = [0.0, 30.0, 60.0, 90.0, 180.0]
    cosines = np.cos(np.radians(degrees))
    gold = np.array([10.0, 6.0, 7.0, 1.0, 0.0])
    scores = pair_scores(*at_angles(degrees), gold)
    assert set(scores) == {"spearman", "pearson"}
    # Ranks 5 4 3 2 1 against 5 3 4 2 1: 1 - 6 * 2 / (5 * 24).
    assert scores["spearman"] == pytest.approx(0.9)
    assert scores["pearson"] == pytest.approx(np.corrcoef(cosines, gold)[0, 1])


def test_pairs_of_zero_and_one_are_told_apart() -> None:
    # Cosines from high to low: 1 0 1 1 0 0.
    scores = pair_scores(*at_angles([5, 20, 30, 50, 70, 100]), np.array([1.0, 0, 1, 1, 0, 0]))
    # Of nine pairs of pairs, the second outranks two of the ones.
    assert scores["auc"] == pytest.approx(7 / 9)
    # The first four: precision 3/4, recall 1.
    assert scores["f1_max"] == pytest.approx(6 / 7)
    assert set(scores) == {"spearman", "pearson", "auc", "f1_max"}


def test_f1_may_call_every_pair_alike_and_ties_count_half() -> None:
    scores = pair_scores(*at_angles([90, 60, 30]), np.array([1.0, 1.0, 0.0]))
    assert scores["auc"] == 0 and scores["f1_max"] == pytest.approx(0.8)
    a = np.ones((4, 3))
    tied = pair_scores(a, a, np.array([0.0, 1.0, 0.0, 1.0]))
    assert tied == {"spearman": 0, "pearson": 0, "auc": 0.5, "f1_max": pytest.approx(2 / 3)}


def test_word_similarity_is_what_sentence_transformers_says(minilm: TextEncoder) -> None:
    found = importlib.util.find_spec("gensim")
    assert found is not None and found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "test" / "test_data" / "wordsim353.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        rows = [row for row in csv.reader(lines, delimiter="\t") if row]
    first, second = [row[0] for row in rows], [row[1] for row in rows]
    gold = np.array([float(row[2]) for row in rows])
    ours = pair_scores(minilm.encode(first), minilm.encode(second), gold)
    alike = (gold >= 7).astype(float)
    binary = pair_scores(minilm.encode(first), minilm.encode(second), alike)

    model = SentenceTransformer(str(packaged_folder("minilm")), device="cpu", local_files_only=True)
    graded = EmbeddingSimilarityEvaluator(first, second, gold.tolist(), write_csv=False)(model)
    told = BinaryClassificationEvaluator(
        first, second, alike.astype(int).tolist(), write_csv=False
    )(model)
    assert ours["spearman"] == pytest.approx(graded["spearman_cosine"], abs=1e-4)
    assert ours["pearson"] == pytest.approx(graded["pearson_cosine"], abs=1e-4)
    assert binary["f1_max"] == pytest.approx(told["cosine_f1"], abs=1e-4)
    assert ours["spearman"] > 0.6 and len(rows) == 353


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_vector_without_direction_is_named(value: float) -> None:
    a, b = at_angles([10, 20, 30])
    b[1] = value
    with pytest.raises(InputError, match="pair 1 is zero or not finite"):
        pair_scores(a, b, np.array([1.0, 2.0, 3.0]))


def test_where_nothing_is_right_there_is_no_threshold() -> None:
    with pytest.raises(ValueError, match="No pair is a positive one"):
        best_threshold(np.array([0.2, 0.7]), np.array([False, False]))


@pytest.mark.parametrize("gold", [[1.0, 1.0, 1.0], [1.0, np.nan, 2.0], [1.0, 2.0]])
def test_gold_figures_that_order_nothing_are_refused(gold: list[float]) -> None:
    with pytest.raises(ValueError, match=r"two different|differ in shape"):
        pair_scores(*at_angles([10, 20, 30]), np.array(gold))


def test_wins_are_the_area_under_the_curve() -> None:
    random = np.random.default_rng(0)
    positive, negative = random.integers(9, size=300) + 1.0, random.integers(9, size=200) * 1.0
    happened = np.arange(500) < 300
    expected = roc_auc_score(happened, np.concatenate([positive, negative]))
    assert wins(positive, negative).mean() == pytest.approx(expected)
    assert wins(np.array([1.0]), np.array([0.0, 1.0, 2.0, 2.0]))[0] == (1 + 0.5) / 4


def test_no_threshold_has_a_better_f1_and_none_parts_equal_scores() -> None:
    generator = np.random.default_rng(0)
    for count in (1, 2, 5, 40):
        gold = np.arange(count) % 3 == 0
        scores = np.round(generator.normal(size=count), 1)
        chosen = best_threshold(scores, gold)
        by_hand = {value: f1_score(gold, scores >= value) for value in scores}
        assert chosen in by_hand
        assert by_hand[chosen] == max(by_hand.values())
    # Read in the middle of the equal ones, the first alone would look perfect.
    assert best_threshold(np.array([1.0, 1.0, 1.0, 0.0]), np.array([True, False, False, True])) == 0
    # Of two that are as good the higher.
    assert best_threshold(np.array([3.0, 2, 1, 0]), np.array([1.0, 0, 0, 1])) == 3


def test_three_grades_are_not_two_classes_and_half_precision_is_enough() -> None:
    a, b = at_angles([10, 40, 80])
    assert set(pair_scores(a, b, np.array([1.0, 0.0, -1.0]))) == {"spearman", "pearson"}
    a, b = (300 * each for each in at_angles([10, 40, 80]))
    gold = np.array([1.0, 0.7, 0.0])
    half = pair_scores(a.astype(np.float16), b.astype(np.float16), gold)
    assert half["pearson"] == pytest.approx(pair_scores(a, b, gold)["pearson"], abs=1e-3)
