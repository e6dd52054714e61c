"""Optimism of selecting the epoch on the test split: the best test score of a run minus its honest one.

The test predictions of every epoch (`track_test=true`) also give the optimism on smaller test splits.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_lightning.errors import UserError
from fer_lightning.files import write_whole

TRACKED = "track_test.npz"


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
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is damaged ({type(error).__name__}): train that run again.") from None
        shapes = (tracked.epochs.shape, tracked.targets.shape)
        integers = all(array.dtype.kind in "iu" for array in (tracked.epochs, tracked.targets, tracked.predicted))
        if not integers or not tracked.predicted.size or tracked.predicted.shape != sum(shapes, ()):
            raise UserError(f"{path} is damaged: it must hold a class for each epoch and image; train that run again.")
        return tracked
