"""Albumentations whose random draws depend on the sample alone, not on the worker that makes them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import albumentations
import numpy as np

from fer_lightning.errors import UserError


class Augmentation:
    """Applies a pipeline of albumentations transforms to uint8 images.

    The random state of every image is a function of (seed, epoch, row), so a run that was stopped and continued, or
    that uses another number of workers, draws the very same augmentations.

    Args:
        transforms: Albumentations transforms, applied in order.
        seed: Seed of the run.
        epoch: Current epoch.

    Raises:
        UserError: A transform was given an argument it does not have.
    """

    def __init__(self, transforms: Sequence[albumentations.BasicTransform], seed: int, epoch: int) -> None:
        try:
            # Not strict, a misspelt argument is ignored with a warning and the experiment runs without it.
            self.pipeline = albumentations.Compose(list(transforms), strict=True)
        except ValueError as error:
            raise UserError(f"augment: {error}; see the transform's documentation.") from None
        self.seed = seed
        self.epoch = epoch

    def __call__(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Augments images.

        Args:
            images: uint8 `(B, H, W, C)`.
            rows: Their rows in the store `(B,)`.

        Returns:
            uint8 `(B, H, W, C)`.

        Raises:
            UserError: A transform changes the size or the type of images.
        """
        augmented = np.empty_like(images)
        for position, (image, row) in enumerate(zip(images, rows.tolist())):
            generator = np.random.default_rng([self.seed, self.epoch, row])
            # One generator for all transforms: `set_random_seed` would seed each alike, and then an image is, say,
            # darkened exactly when it is mirrored.
            self.pipeline.set_random_state(generator, random.Random(int(generator.integers(2**63))))
            result = self.pipeline(image=image)["image"]
            if result.size != image.size or result.dtype != np.uint8:
                raise UserError(
                    f"augment: the transforms turn {image.dtype} images of shape {image.shape} into {result.dtype} of "
                    f"shape {result.shape}: leave out those that change size or type."
                )
            augmented[position] = result.reshape(image.shape)
        return augmented
