from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix

from fer_lightning.evaluation.confusion import confusion_counts


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
