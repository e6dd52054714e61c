from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from fer_lightning.evaluation.metrics import (
    AFFECT_BETTER,
    BETTER,
    AffectMetrics,
    affect_scores,
    build_metrics,
    per_class_scores,
)
from fer_lightning.results.calibration import BINS


def draw(count: int, classes: int, present: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random probabilities `(N, K)` and targets that use the first `present` classes."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = (2 * torch.randn(count, classes, generator=generator)).softmax(dim=1)
    return probabilities, torch.randint(present, (count,), generator=generator)


def computed(probabilities: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    metrics = build_metrics(probabilities.shape[1])
    for rows in torch.arange(len(target)).split(64):  # as in an epoch: batch by batch
        metrics.update(probabilities[rows], target[rows])
    return {name: float(value) for name, value in metrics.compute().items()}


def ece_by_loop(probabilities: np.ndarray, target: np.ndarray) -> float:
    error = 0.0
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        inside = [row for row in range(len(target)) if low < probabilities[row].max() <= high]
        if inside:
            confidence = np.mean([probabilities[row].max() for row in inside])
            accuracy = np.mean([probabilities[row].argmax() == target[row] for row in inside])
            error += len(inside) / len(target) * abs(confidence - accuracy)
    return error


@pytest.mark.parametrize("present", [5, 3])
def test_agrees_with_scikit_learn(present):
    probabilities, target = draw(300, 5, present)
    values = computed(probabilities, target)
    predicted = probabilities.argmax(dim=1)
    macro = {"average": "macro", "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn tells that a class was predicted that never occurs
        balanced = sklearn_metrics.balanced_accuracy_score(target, predicted)
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(target, predicted),
        "balanced_accuracy": balanced,
        "macro_precision": sklearn_metrics.precision_score(target, predicted, **macro),
        "macro_recall": sklearn_metrics.recall_score(target, predicted, **macro),
        "macro_f1": sklearn_metrics.f1_score(target, predicted, **macro),
        "auroc": np.mean(
            [sklearn_metrics.roc_auc_score(target == label, probabilities[:, label]) for label in range(present)]
        ),
        "ece": ece_by_loop(probabilities.numpy().astype(np.float64), target.numpy()),
    }
    assert values == pytest.approx(expected, abs=1e-5)


def test_confidence_of_one_belongs_to_the_last_bin():
    probabilities = torch.tensor([[1.0, 0.0], [0.95, 0.05]])
    # One bin of two: mean confidence 0.975, accuracy 0.5. Two bins of one each would give 0.525.
    assert computed(probabilities, torch.tensor([1, 0]))["ece"] == pytest.approx(0.475)


def test_auroc_of_a_single_class_is_undefined():
    probabilities, _ = draw(8, 3, 3)
    assert np.isnan(computed(probabilities, torch.zeros(8, dtype=torch.long))["auroc"])


def test_every_metric_says_which_way_is_better():
    assert set(BETTER) == set(build_metrics(3)) | {"loss"}


def test_per_class_scores():
    target = torch.tensor([0, 0, 0, 1, 1, 2])
    predicted = torch.tensor([0, 0, 1, 1, 2, 2])
    probabilities = torch.nn.functional.one_hot(predicted, 4).float()
    scores = per_class_scores(probabilities, target, ["a", "b", "c", "d"])
    assert scores["a"] == pytest.approx({"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3})
    assert scores["b"] == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2})
    assert scores["c"] == pytest.approx({"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1})
    assert scores["d"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_scores_of_valence_and_arousal():
    rng = np.random.default_rng(0)
    target = rng.uniform(-1, 1, (200, 2))
    predicted = 0.5 * target + rng.normal(0.1, 0.2, target.shape)
    target[:30, 1] = np.nan
    metrics = AffectMetrics()
    for rows in np.array_split(np.arange(200), 7):
        metrics.update(torch.tensor(predicted[rows], dtype=torch.float32), torch.tensor(target[rows]).float())
    scores = {name: float(value) for name, value in metrics.compute().items()}
    assert scores.keys() == AFFECT_BETTER.keys()
    for column, name in enumerate(("valence", "arousal")):
        known = np.isfinite(target[:, column])
        x, y = predicted[known, column], target[known, column]
        covariance = np.cov(x, y)
        ccc = 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (x.mean() - y.mean()) ** 2)
        assert scores[f"ccc_{name}"] == pytest.approx(ccc, abs=1e-5)
        assert scores[f"rmse_{name}"] == pytest.approx(np.sqrt(np.mean((x - y) ** 2)), abs=1e-5)
    metrics.update(torch.zeros(3, 2), torch.full((3, 2), torch.nan))  # of the next epoch alone
    assert all(np.isnan(float(value)) for name, value in metrics.compute().items() if name.startswith("ccc"))
    columns = ["valence", "arousal", "target_valence", "target_arousal"]
    table = pd.DataFrame(np.hstack([predicted, target]), columns=columns)
    assert affect_scores(table) == pytest.approx(scores, abs=1e-5)
    assert affect_scores(table.drop(columns="target_arousal")) == {}
