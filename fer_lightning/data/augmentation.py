"""Albumentations whose random draws depend on the sample alone, not on the worker that makes them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import albumentations
import numpy as np

# A misspelt argument would otherwise be ignored with a warning, and the experiment would run without it.
warnings.filterwarnings("error", message="Argument.*not valid for transform")


class Augmentation:
    """Applies a pipeline of albumentations transforms to uint8 images.

    The random state of every image is a function of (seed, epoch, row), so a run that was stopped and continued, or that
    uses another number of workers, draws the very same augmentations.

    Args:
        transforms: Albumentations transforms, applied in order.
        seed: Seed of the run.
        epoch: Current epoch.
    """

    def __init__(self, transforms: Sequence[albumentations.BasicTransform], seed: int, epoch: int) -> None:
        self.pipeline = albumentations.Compose(list(transforms))
        self.seed = seed
        self.epoch = epoch

    def __call__(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Augments `images`, uint8 `(B, H, W, C)`, that lie in `rows` `(B,)` of the store; the shape stays."""
        augmented = np.empty_like(images)
        for position, (image, row) in enumerate(zip(images, rows)):
            state = np.random.SeedSequence([self.seed, self.epoch, int(row)]).generate_state(1)
            self.pipeline.set_random_seed(int(state[0]))
            augmented[position] = self.pipeline(image=image)["image"].reshape(image.shape)
        return augmented

