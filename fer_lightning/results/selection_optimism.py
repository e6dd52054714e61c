"""Optimism of selecting the epoch on the test split: the best test accuracy of a run minus its honest one.

The test predictions of every epoch (`track_test=true`) also give the optimism on smaller test splits.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lightning.errors import UserError
from fer_lightning.files import write_whole

TRACKED = "track_test.npz"
SIZES = (250, 500, 1000, 2000, 3068, 3589)  # images; the last two are the test splits of RAF-DB and FER2013


@dataclass(frozen=True)
class TrackedPredictions:
    """Predicted classes of the test images after the epochs of a run.

    Attributes:
        epochs: Numbers of the E epochs, from 1, ascending `(E,)`; those that could not be selected are missing.
        targets: True classes of the test images, in the order of the data `(N,)`.
        predicted: Predicted classes `(E, N)`.
    """

    epochs: np.ndarray
    targets: np.ndarray
    predicted: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Whether each image is classified correctly after each epoch, boolean `(E, N)`."""
        return self.predicted == self.targets

    def write(self, path: Path) -> None:
        """Writes the predictions atomically, a byte an epoch and image before compression."""

        def save(unfinished: Path) -> None:
            np.savez_compressed(unfinished, epochs=self.epochs, targets=self.targets, predicted=self.predicted)

        write_whole(path, save)

    @classmethod
    def read(cls, folder: Path) -> TrackedPredictions:
        """Reads the predictions of the run in a folder.

        Raises:
            UserError: The file is missing or damaged.
        """
        path = folder / TRACKED
        if not path.is_file():
            raise UserError(f"{path} is missing: it must hold the test predictions of every epoch (track_test=true).")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                tracked = cls(*(arrays[name] for name in ("epochs", "targets", "predicted")))
        except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is damaged ({type(error).__name__}): train that run again.") from None
        shapes = (tracked.epochs.shape, tracked.targets.shape)
        integers = all(array.dtype.kind in "iu" for array in (tracked.epochs, tracked.targets, tracked.predicted))
        if not integers or not tracked.predicted.size or tracked.predicted.shape != sum(shapes, ()):
            raise UserError(f"{path} is damaged: it must hold a class for each epoch and image; train that run again.")
        return tracked


@dataclass(frozen=True)
class EpochAccuracies:
    """Test accuracies that a run could report, in 0..1.

    Attributes:
        best: The highest of all epochs, which is selected on the test split.
        honest: That of the epoch which was selected on the validation split.
        last: That of the last epoch, for which nothing is selected.
    """

    best: float
    honest: float
    last: float

    @property
    def optimism(self) -> float:
        """What selection on the test split adds to the honest accuracy; never negative."""
        return self.best - self.honest


def epoch_accuracies(tracked: TrackedPredictions, selected: int) -> EpochAccuracies:
    """Test accuracies of the best, the last and the epoch `selected` on the validation split.

    Raises:
        UserError: The selected epoch has no predictions.
    """
    accuracies = tracked.correct.mean(axis=1)
    return EpochAccuracies(float(accuracies.max()), float(accuracies[_row(tracked, selected)]), float(accuracies[-1]))


def optimism_by_size(
    tracked: TrackedPredictions, selected: int, sizes: Sequence[int], draws: int = 2000
) -> pd.DataFrame:
    """Expected optimism of a run on smaller test splits, by subsamples of its test images.

    Args:
        tracked: Test predictions of the run.
        selected: Number of the epoch that was selected on the validation split.
        sizes: Numbers of images, from 1 to that of the test images.
        draws: Number of subsamples of each size; the same subsamples for all runs.

    Returns:
        A row per size: `images`; `optimism`, the mean of the highest accuracy of all epochs minus that of the selected
        epoch; and `fresh`, the mean of the same difference on the images that are not in the subsample, where the epoch
        is the best one on the subsample: what selection on test images is worth on others. It is NaN without others.

    Raises:
        UserError: The selected epoch has no predictions.
        ValueError: A size is out of range.

    Readings:
        - Subsamples are drawn without replacement. A random part of a test split is a test split, so that the mean over
          subsamples is unbiased for the expectation on a new split of that size from the same population. A bootstrap
          with replacement is not: its population has the accuracies that were measured, the highest of which is already
          too high, and it would count that optimism twice.
        - What remains is conditional on the training, and on the test images that were measured.

    Source: Politis, Romano and Wolf, "Subsampling", 1999; unbiasedness is that of a U-statistic, Hoeffding, "A class of
    statistics with asymptotically normal distribution", Annals of Mathematical Statistics 19, 1948.
    """
    row, correct = _row(tracked, selected), tracked.correct.T.astype(np.float32)
    count = len(correct)
    if not all(1 <= size <= count for size in sizes):
        raise ValueError(f"Sizes must be from 1 to {count}, the number of test images; got {list(sizes)}.")
    ranks, total = _ranks(count, draws), correct.sum(axis=0)
    lines = []
    for size in sizes:
        right = (ranks < size).astype(np.float32) @ correct  # whole numbers, which float32 holds exactly
        chosen = right.argmax(axis=1)
        best = right[np.arange(draws), chosen]
        others = (total[chosen] - best) - (total[row] - right[:, row])
        fresh = float(others.mean()) / (count - size) if size < count else float("nan")
        lines.append({"images": size, "optimism": float((best - right[:, row]).mean()) / size, "fresh": fresh})
    return pd.DataFrame(lines)


@lru_cache(maxsize=1)
def _ranks(count: int, draws: int) -> np.ndarray:
    """Places of the images in random orders `(draws, count)`; those below n are a subsample of n images."""
    orders = np.tile(np.arange(count, dtype=np.uint32), (draws, 1))
    return np.random.default_rng(0).permuted(orders, axis=1)


def _row(tracked: TrackedPredictions, selected: int) -> int:
    rows = np.flatnonzero(tracked.epochs == selected)
    if len(rows) != 1:
        raise UserError(
            f"{TRACKED} must hold the predictions of the selected epoch {selected}; it holds those of "
            f"{', '.join(map(str, tracked.epochs))}: train that run again."
        )
    return int(rows[0])
