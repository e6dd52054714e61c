from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, confusion_matrix, roc_auc_score

from fer_lightning.results.curves import (
    confusion_counts,
    macro_area,
    most_confident_errors,
    precision_recall_curves,
    roc_curves,
)

CLASSES = ["angry", "sad", "happy"]


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, 200)
    scores = random.normal(size=(200, 3)) + 1.5 * np.eye(3)[targets]
    return targets, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def rank_area(positive: np.ndarray, score: np.ndarray) -> float:
    """Probability that a positive scores above a negative, by comparing every pair."""
    above = [float(p > n) + 0.5 * (p == n) for p in score[positive] for n in score[~positive]]
    return sum(above) / len(above)


def test_areas_are_the_share_of_pairs_in_the_right_order(predictions):
    targets, probabilities = predictions
    curves = roc_curves(targets, probabilities, CLASSES)
    assert [curve.name for curve in curves] == CLASSES
    for curve in curves:
        assert curve.area == pytest.approx(rank_area(targets == curve.index, probabilities[:, curve.index]))
        assert curve.area == pytest.approx(auc(curve.x, curve.y))


def test_macro_area_is_sklearns_one_vs_rest(predictions):
    targets, probabilities = predictions
    expected = roc_auc_score(targets, probabilities, multi_class="ovr", average="macro")
    assert macro_area(roc_curves(targets, probabilities, CLASSES)) == pytest.approx(expected)


def test_precision_and_recall_of_a_ranking_by_hand():
    # Ranked by the score of class 1: right, wrong, right, wrong. Average precision = (1/1 + 2/3) / 2.
    targets = np.array([1, 0, 1, 0])
    score = np.array([0.9, 0.8, 0.7, 0.1])
    probabilities = np.stack([1 - score, score], axis=1)
    curve = precision_recall_curves(targets, probabilities, ["sad", "happy"])[1]
    assert curve.area == pytest.approx(5 / 6)
    assert curve.x == pytest.approx([0, 0.5, 0.5, 1, 1])
    assert curve.y == pytest.approx([1, 1, 0.5, 2 / 3, 0.5])


@pytest.mark.filterwarnings("error")
def test_classes_without_targets_have_no_curve(predictions):
    targets, probabilities = predictions
    kept = targets != 1
    roc = roc_curves(targets[kept], probabilities[kept], CLASSES)
    assert [(curve.index, curve.name) for curve in roc] == [(0, "angry"), (2, "happy")]
    assert [curve.index for curve in precision_recall_curves(targets[kept], probabilities[kept], CLASSES)] == [0, 2]


@pytest.mark.filterwarnings("error")
def test_a_single_class_has_no_curves_and_no_area():
    curves = roc_curves(np.zeros(3, int), np.full((3, 3), 1 / 3), CLASSES)
    assert curves == []
    assert np.isnan(macro_area(curves))


def test_agrees_with_sklearn_where_a_class_is_absent():
    random = np.random.default_rng(0)
    targets, predicted = random.integers(0, 6, 100), random.integers(0, 7, 100)
    expected = confusion_matrix(targets, predicted, labels=range(7))
    assert np.array_equal(confusion_counts(targets, predicted, 7), expected)


def test_true_classes_are_rows():
    assert confusion_counts(np.array([0, 0]), np.array([1, 1]), 2).tolist() == [[0, 2], [0, 0]]


def test_without_images():
    nothing = np.zeros(0, np.int64)
    assert confusion_counts(nothing, nothing, 2).tolist() == [[0, 0], [0, 0]]


def test_wrong_rows_by_falling_confidence():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.99, 0.01], [0.4, 0.6]])
    targets = np.array([1, 1, 0, 0, 1])
    assert most_confident_errors(targets, probabilities, 2).tolist() == [0, 2]
    assert most_confident_errors(targets, probabilities, 9).tolist() == [0, 2, 1]


def test_no_errors():
    assert most_confident_errors(np.array([0]), np.array([[0.9, 0.1]]), 5).size == 0
