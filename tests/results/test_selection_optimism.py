from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binom

from fer_lightning.errors import UserError
from fer_lightning.results.selection_optimism import (
    TRACKED,
    TrackedPredictions,
    epoch_accuracies,
    optimism_by_size,
)


def tracked_of(correct: np.ndarray) -> TrackedPredictions:
    """Predictions of two classes that are right where `correct` `(E, N)` says so."""
    targets = np.arange(correct.shape[1]) % 2
    return TrackedPredictions(np.arange(1, len(correct) + 1), targets, np.where(correct, targets, 1 - targets))


def expected_highest(epochs: int, images: int, accuracy: float) -> float:
    """Expected highest of independent binomial counts, by summing its distribution function."""
    return float((1 - binom.cdf(np.arange(images), images, accuracy) ** epochs).sum())


def expected_dependent(epochs: int, images: int, accuracy: float, common: float) -> float:
    """The same where each image is, with the probability `common`, right in all epochs or wrong in all of them."""
    own = np.arange(images + 1)  # images on which the epochs differ
    weights = binom.pmf(own, images, 1 - common)
    kept = weights > 1e-12
    highest = sum(weight * expected_highest(epochs, int(n), accuracy) for n, weight in zip(own[kept], weights[kept]))
    return highest + accuracy * common * images


def simulate(rng: np.random.Generator, epochs: int, images: int, accuracy: float, common: float) -> np.ndarray:
    """Correctness of nets of equal true accuracy whose errors agree on a share of the images."""
    own = rng.random((epochs, images)) < accuracy
    return np.where(rng.random(images) < common, rng.random(images) < accuracy, own)


@pytest.mark.parametrize("common", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("size", [100, 1000])
def test_the_expected_highest_of_epochs_of_equal_accuracy(size, common):
    """All of the optimism is luck; the epoch that validation chose is any of them, and no better on other images."""
    rng, epochs, accuracy = np.random.default_rng(1), 20, 0.65
    expected = expected_dependent(epochs, size, accuracy, common) / size - accuracy
    # Subsamples of 1,000 of 1,000 images, and nearly independent ones of 100.
    runs = [tracked_of(simulate(rng, epochs, 1000, accuracy, common)) for _ in range(200)]
    measured = [optimism_by_size(run, 7, [size], draws=50).iloc[0] for run in runs]
    optimism = np.array([each.optimism for each in measured])
    error = optimism.std() / len(runs) ** 0.5
    assert optimism.mean() == pytest.approx(expected, abs=3.5 * error + 1e-12)
    assert error < 0.05 * expected or common == 1.0
    if size < 1000:
        fresh = np.array([each.fresh for each in measured])
        assert fresh.mean() == pytest.approx(0, abs=3.5 * fresh.std() / len(runs) ** 0.5 + 1e-12)


def test_subsamples_are_those_of_an_enumeration():
    """Epochs of unequal accuracy, by all 35 subsamples of three of seven images."""
    correct = np.array([[1, 1, 0, 0, 1, 0, 1], [1, 1, 1, 0, 1, 0, 1], [0, 0, 1, 1, 1, 1, 0]], dtype=bool)
    optimism, fresh = [], []
    for inside in map(list, combinations(range(7), 3)):
        outside = [image for image in range(7) if image not in inside]
        scores = [sum(epoch[inside]) for epoch in correct]
        chosen = scores.index(max(scores))
        optimism.append((max(scores) - scores[0]) / 3)
        fresh.append(correct[chosen][outside].mean() - correct[0][outside].mean())
    [row] = optimism_by_size(tracked_of(correct), 1, [3], draws=40_000).itertuples()
    assert row.images == 3
    assert row.optimism == pytest.approx(np.mean(optimism), abs=4 * np.std(optimism) / 200)
    assert row.fresh == pytest.approx(np.mean(fresh), abs=4 * np.std(fresh) / 200)


def test_the_whole_split_is_what_was_measured():
    correct = np.random.default_rng(0).random((9, 333)) < np.linspace(0.3, 0.6, 9)[:, None]
    tracked = tracked_of(correct)
    found, accuracies = epoch_accuracies(tracked, 4), correct.mean(axis=1)
    assert (found.best, found.honest, found.last) == (accuracies.max(), accuracies[3], accuracies[8])
    table = optimism_by_size(tracked, 4, [1, 100, 333])
    assert table["images"].tolist() == [1, 100, 333] and np.isnan(table["fresh"].iloc[-1])
    assert table["optimism"].iloc[-1] == pytest.approx(found.optimism) and found.optimism > 0
    assert table["optimism"].is_monotonic_decreasing
    for size in (0, 334):
        with pytest.raises(ValueError, match="from 1 to 333"):
            optimism_by_size(tracked, 4, [size])


def test_a_file_is_read_as_it_was_written(tmp_path):
    tracked = tracked_of(np.random.default_rng(0).random((3, 50)) < 0.5)
    tracked.write(tmp_path / TRACKED)
    read = TrackedPredictions.read(tmp_path)
    for name in ("epochs", "targets", "predicted"):
        assert (getattr(read, name) == getattr(tracked, name)).all()
    with pytest.raises(UserError, match="the selected epoch 4; it holds those of 1, 2, 3"):
        epoch_accuracies(read, 4)


EPOCHS, TARGETS, PREDICTED = np.arange(1, 3), np.zeros(4, np.uint8), np.zeros((2, 4), np.uint8)


@pytest.mark.parametrize(
    "arrays",
    [
        {"epochs": EPOCHS, "targets": TARGETS},
        {"epochs": EPOCHS, "targets": TARGETS, "predicted": PREDICTED[:, :3]},
        {"epochs": EPOCHS[:0], "targets": TARGETS, "predicted": PREDICTED[:0]},
        {"epochs": EPOCHS, "targets": TARGETS, "predicted": PREDICTED.astype(float)},
        {"epochs": EPOCHS, "targets": TARGETS, "predicted": np.array([[None] * 4] * 2)},
    ],
)
def test_a_damaged_file_is_refused(arrays, tmp_path):
    np.savez(tmp_path / TRACKED, **arrays)
    with pytest.raises(UserError, match=r"track_test.npz is damaged"):
        TrackedPredictions.read(tmp_path)


def test_a_file_that_is_cut_off_or_missing(tmp_path):
    with pytest.raises(UserError, match=r"track_test.npz is missing"):
        TrackedPredictions.read(tmp_path)
    tracked_of(np.ones((2, 500), bool)).write(tmp_path / TRACKED)
    (tmp_path / TRACKED).write_bytes((tmp_path / TRACKED).read_bytes()[:200])
    with pytest.raises(UserError, match=r"track_test.npz is damaged"):
        TrackedPredictions.read(tmp_path)
