from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score

from fer_lightning.results.curves import macro_area, precision_recall_curves, roc_curves

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
