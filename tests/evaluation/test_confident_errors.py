from __future__ import annotations

import numpy as np

from fer_lightning.evaluation.confident_errors import most_confident_errors


def test_wrong_rows_by_falling_confidence():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.99, 0.01], [0.4, 0.6]])
    targets = np.array([1, 1, 0, 0, 1])
    assert most_confident_errors(targets, probabilities, 2).tolist() == [0, 2]
    assert most_confident_errors(targets, probabilities, 9).tolist() == [0, 2, 1]


def test_no_errors():
    assert most_confident_errors(np.array([0]), np.array([[0.9, 0.1]]), 5).size == 0
