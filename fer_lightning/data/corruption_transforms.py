"""What corruptions need and albumentations does not have."""

from __future__ import annotations

from typing import Any

import albumentations
import cv2
import numpy as np


class Cover(albumentations.ImageOnlyTransform):
    """Covers a part of the picture with the mean colour of the whole.

    Args:
        box: Left, top, right and bottom edge in shares of width and height.
    """

    def __init__(self, box: tuple[float, float, float, float]) -> None:
        super().__init__(p=1)
        self.box = box

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        height, width = img.shape[:2]
        left, top, right, bottom = np.rint(np.multiply(self.box, (width, height, width, height))).astype(int)
        covered = img.copy()
        covered[top:bottom, left:right] = img.mean(axis=(0, 1)).round()
        return covered


class Glare(albumentations.ImageOnlyTransform):
    """Lays a white spot over the picture, as of a lamp: opaque in its centre, fading as a Gaussian.

    Args:
        radius: Standard deviation of the Gaussian in shares of the shorter side.
    """

    def __init__(self, radius: float) -> None:
        super().__init__(p=1)
        self.radius = radius

    def get_params(self) -> dict[str, Any]:
        return {"centre": (self.py_random.uniform(0.25, 0.75), self.py_random.uniform(0.25, 0.75))}

    def apply(self, img: np.ndarray, centre: tuple[float, float], **params: Any) -> np.ndarray:
        height, width = img.shape[:2]
        y, x = np.ogrid[:height, :width]
        distance = np.hypot(x + 0.5 - centre[0] * width, y + 0.5 - centre[1] * height)
        veil = np.exp(-((distance / (self.radius * min(height, width))) ** 2) / 2)
        return (255 - (255.0 - img) * (1 - veil[:, :, None])).round().astype(np.uint8)


class Shrink(albumentations.ImageOnlyTransform):
    """Makes the picture smaller by area, then as large as it was by linear interpolation.

    `albumentations.Downscale` shrinks by the very share although the small picture has whole pixels, so that what comes
    back is also moved, by up to a pixel of the small picture.

    Args:
        share: Of the pixels along a side that are left, rounded to whole ones.
    """

    def __init__(self, share: float) -> None:
        super().__init__(p=1)
        self.share = share

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        height, width = img.shape[:2]
        small = cv2.resize(img, (round(width * self.share), round(height * self.share)), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).reshape(img.shape)
