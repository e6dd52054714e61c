from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import multiclass_calibration_error

from fer_lightning.evaluation.scoring import score
from fer_lightning.results.calibration import (
    BINS,
    LEAST,
    MOST,
    calibrate,
    fit_tau,
    fit_temperature,
    reliability,
    scale_probabilities,
)

CLASSES = ["happy", "sad", "neutral"]


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


def drawn(count: int, temperature: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets that follow softmax(logits), and what a net says that is `temperature` times too sure."""
    random = np.random.default_rng(seed)
    logits = torch.tensor(random.normal(0, 1.5, (count, 3)))
    honest = logits.softmax(dim=1).numpy()
    targets = (honest.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)
    return targets, (logits * temperature).softmax(dim=1).numpy()


def table_of(split: str, targets: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    columns = {f"prob_{name}": probabilities[:, index] for index, name in enumerate(CLASSES)}
    return pd.DataFrame({"split": split, "target": targets, **columns})


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_recovers_a_known_temperature(temperature):
    assert fit_temperature(*drawn(20_000, temperature, seed=0)) == pytest.approx(temperature, rel=0.05)


def test_agrees_with_a_grid_search_on_logits():
    """As in the paper, on logits and by torch, where the module has probabilities alone."""
    random = np.random.default_rng(1)
    logits, targets = torch.tensor(random.normal(0, 3, (300, 3))), torch.tensor(random.integers(0, 3, 300))
    grid = np.exp(np.linspace(np.log(LEAST), np.log(MOST), 6001))
    losses = [float(cross_entropy(logits / temperature, targets)) for temperature in grid]
    best = grid[int(np.argmin(losses))]
    assert fit_temperature(targets.numpy(), logits.softmax(dim=1).numpy()) == pytest.approx(best, rel=1e-3)


def test_scaling_is_the_softmax_of_divided_logits():
    logits = torch.tensor(np.random.default_rng(2).normal(0, 2, (40, 3)))
    scaled = scale_probabilities(logits.softmax(dim=1).numpy(), 1.7)
    np.testing.assert_allclose(scaled, (logits / 1.7).softmax(dim=1).numpy(), rtol=1e-9)
    np.testing.assert_allclose(scale_probabilities(scaled, 1.0), scaled, rtol=1e-9)


def test_decisions_stay_and_the_confidence_of_an_overconfident_net_becomes_honest():
    validation, test = drawn(4000, 3.0, seed=3), drawn(4000, 3.0, seed=4)
    found = calibrate(pd.concat([table_of("val", *validation), table_of("test", *test)]), CLASSES)
    scaled = scale_probabilities(test[1], found["temperature"])
    assert (scaled.argmax(axis=1) == test[1].argmax(axis=1)).all()
    assert found["fitted_on"] == "val" and found["temperature"] == pytest.approx(3, rel=0.1)
    assert found["test"]["ece"] == pytest.approx(reliability(*test, BINS).error)
    assert found["test"]["ece_scaled"] == pytest.approx(reliability(test[0], scaled, BINS).error)
    assert found["test"]["ece"] > 0.15 and found["test"]["ece_scaled"] < 0.05
    of_target = torch.tensor(scaled).log()
    assert found["test"]["loss_scaled"] == pytest.approx(float(-of_target[range(4000), test[0]].mean()))
    assert found["test"]["loss_scaled"] < found["test"]["loss"]


def test_test_rows_change_no_temperature():
    validation = table_of("val", *drawn(500, 2.0, seed=5))
    alone = calibrate(validation, CLASSES)
    with_test = calibrate(pd.concat([validation, table_of("test", *drawn(500, 0.5, seed=6))]), CLASSES)
    assert alone == {"temperature": with_test["temperature"], "fitted_on": "val"}


SHARES = np.array([0.75, 0.2, 0.05])


def drawn_by_share(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets with the shares `SHARES`, and their exact posteriors from one normal observation of each."""
    random = np.random.default_rng(seed)
    targets = random.choice(3, count, p=SHARES)
    seen = random.normal(np.array([-1.0, 0.5, 1.5])[targets], 1.0)
    likelihoods = np.exp(-((seen[:, None] - [-1.0, 0.5, 1.5]) ** 2) / 2) * SHARES
    return targets, likelihoods / likelihoods.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("learned", [0.5, 1.0, 2.0])
def test_tau_is_how_much_of_its_prior_a_network_has_learned(learned):
    targets, posteriors = drawn_by_share(40_000, seed=7)
    twisted = posteriors * SHARES ** (learned - 1)
    twisted /= twisted.sum(axis=1, keepdims=True)
    assert fit_tau(targets, twisted, SHARES) == pytest.approx(learned, abs=0.07)


def test_tau_is_the_best_of_a_grid():
    targets, posteriors = drawn_by_share(400, seed=8)
    counts = np.bincount(targets)
    effective = 3**2 / (1 / counts).sum()  # Kish's effective number of images, each weighing one over its class
    logits, log_shares = torch.tensor(posteriors).log(), torch.tensor(SHARES).log()

    def loss(tau: float) -> float:
        mean = cross_entropy(logits - tau * log_shares, torch.tensor(targets), torch.tensor(1 / counts))
        return effective * float(mean) + (tau - 1) ** 2 / (2 * 0.5**2)

    assert fit_tau(targets, posteriors, SHARES) == pytest.approx(min(np.linspace(0, 3, 3001), key=loss), abs=2e-3)


def test_equal_shares_leave_tau_at_one():
    assert fit_tau(*drawn_by_share(400, seed=8), np.full(3, 1 / 3)) == pytest.approx(1, abs=1e-3)


def test_the_balanced_prior_is_measured_on_test_and_fitted_on_validation():
    prior = dict(zip(CLASSES, map(float, SHARES)))
    validation, test = drawn_by_share(4000, seed=9), drawn_by_share(4000, seed=10)
    validation_table, test_table = table_of("val", *validation), table_of("test", *test)
    found = calibrate(pd.concat([validation_table, test_table]), CLASSES, prior)
    plain = calibrate(pd.concat([validation_table, test_table]), CLASSES)
    assert found.keys() - plain.keys() == {"tau", "balanced"} and plain.items() <= found.items()
    scaled = scale_probabilities(test[1], found["temperature"])
    shifted = scaled * SHARES ** -found["tau"]
    expected = score(table_of("test", test[0], shifted / shifted.sum(axis=1, keepdims=True)), CLASSES)
    assert found["balanced"] == pytest.approx({name: expected[name] for name in found["balanced"]}, abs=1e-6)
    assert found["balanced"]["balanced_accuracy"] > score(test_table, CLASSES)["balanced_accuracy"] + 0.05
    assert calibrate(validation_table, CLASSES, prior) == {
        name: found[name] for name in ("temperature", "fitted_on", "tau")
    }


@pytest.mark.filterwarnings("error")
def test_validation_that_is_all_right_or_all_wrong_stays_within_the_bounds():
    sure = np.array([[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])
    assert fit_temperature(np.array([0, 1, 2]), sure) == pytest.approx(LEAST, rel=1e-3)
    assert fit_temperature(np.array([1, 0, 0]), sure) == pytest.approx(MOST, rel=1e-3)
    assert np.isfinite(scale_probabilities(sure, LEAST)).all()
