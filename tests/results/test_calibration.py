from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from fer_lightning.results.calibration import reliability


def test_bins_by_hand():
    # Five bins. Confidences .55 (right), .6 (wrong) share the bin (.4, .6]; .95 (right), 1.0 (wrong) share (.8, 1].
    probabilities = np.array([[0.55, 0.45], [0.6, 0.4], [0.05, 0.95], [0.0, 1.0]])
    found = reliability(np.array([0, 1, 1, 0]), probabilities, bins=5)
    assert found.counts.tolist() == [0, 0, 2, 0, 2]
    assert found.confidence == pytest.approx([np.nan, np.nan, 0.575, np.nan, 0.975], nan_ok=True)
    assert found.accuracy == pytest.approx([np.nan, np.nan, 0.5, np.nan, 0.5], nan_ok=True)
    assert found.error == pytest.approx(0.5 * 0.075 + 0.5 * 0.475)


def test_error_agrees_with_torchmetrics():
    random = np.random.default_rng(1)
    targets = random.integers(0, 7, 500)
    probabilities = random.dirichlet(np.full(7, 0.3), 500)
    reference = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(targets), 7, n_bins=15)
    assert reliability(targets, probabilities, bins=15).error == pytest.approx(float(reference), abs=1e-6)


def test_rounding_above_one_stays_in_the_last_bin():
    found = reliability(np.array([0]), np.array([[1.0000001, 0.0]]), bins=15)
    assert found.counts.tolist() == [0] * 14 + [1]


@pytest.mark.filterwarnings("error")
def test_nothing_to_bin():
    assert np.isnan(reliability(np.zeros(0, int), np.zeros((0, 7)), bins=15).error)
