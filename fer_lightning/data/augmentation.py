"""Albumentations pipelines whose random draws depend on the sample alone, not on the worker."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property

import albumentations
import numpy as np

from fer_lightning.errors import UserError


class Augmentation:
    """Pipeline of albumentations transforms for uint8 images.

    The random state of every image is a function of (seed, epoch, row), so a run that was stopped and continued, or
    that uses another number of workers, draws the same augmentations.

    Args:
        transforms: Albumentations transforms, applied in order.
        seed: Seed of the run.
        epoch: Current epoch.

    Raises:
        UserError: A transform was given an argument it does not have.
    """

    def __init__(self, transforms: Sequence[albumentations.BasicTransform], seed: int, epoch: int) -> None:
        try:
            # Without `strict`, a misspelt argument is ignored with a warning and the experiment runs without it.
            self.pipeline = albumentations.Compose(list(transforms), strict=True)
        except ValueError as error:
            raise UserError(f"augment: {error}; see the transform's documentation.") from None
        self.transforms = list(transforms)
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
            augmented[position] = _checked(self._drawn(self.pipeline, row)(image=image)["image"], image)
        return augmented

    def track_mirroring(self, images: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Augments images like `__call__`, at a higher cost, and reports which of them were mirrored.

        Returns:
            uint8 `(B, H, W, C)` and bool `(B,)`.
        """
        augmented, mirrored = np.empty_like(images), np.zeros(len(images), bool)
        height, width = images.shape[1:3]
        corner = np.array([[0, 0], [width / 2, 0], [0, height / 2]], np.float32)
        for position, (image, row) in enumerate(zip(images, rows.tolist())):
            result = self._drawn(self._tracking_pipeline, row)(image=image, keypoints=corner)
            augmented[position] = _checked(result["image"], image)
            origin, right, down = np.asarray(result["keypoints"], float)[:, :2]
            mirrored[position] = np.linalg.det(np.stack([right - origin, down - origin])) < 0
        return augmented, mirrored

    @cached_property
    def _tracking_pipeline(self) -> albumentations.Compose:
        points = albumentations.KeypointParams(format="xy", remove_invisible=False)
        return albumentations.Compose(self.transforms, strict=True, keypoint_params=points)

    def _drawn(self, pipeline: albumentations.Compose, row: int) -> albumentations.Compose:
        """The pipeline with the random state of a row."""
        generator = np.random.default_rng([self.seed, self.epoch, row])
        # One generator for all transforms: `set_random_seed` would seed each alike, so that, for example, an image
        # would be darkened exactly when it is mirrored.
        pipeline.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return pipeline


def _checked(result: np.ndarray, image: np.ndarray) -> np.ndarray:
    if result.size != image.size or result.dtype != np.uint8:
        raise UserError(
            f"augment: the transforms must keep size and type of an image; they turn {image.dtype} {image.shape} into "
            f"{result.dtype} {result.shape}: omit those that change it."
        )
    return result.reshape(image.shape)
