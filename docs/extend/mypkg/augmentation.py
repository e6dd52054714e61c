"""An augmentation: any transform of albumentations, or one of your own, for uint8 images `(H, W, C)`."""

from __future__ import annotations

from typing import Any

import albumentations
import numpy as np


class Vignette(albumentations.ImageOnlyTransform):
    """Darkens an image towards its corners.

    Args:
        strength: Largest share of light that a corner loses, drawn for each image.
        p: Probability that an image is changed.
    """

    def __init__(self, strength: float = 0.5, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.strength = strength

    def get_params(self) -> dict[str, Any]:
        return {"lost": self.random_generator.uniform(0, self.strength)}

    def apply(self, img: np.ndarray, lost: float = 0.0, **params: Any) -> np.ndarray:
        y, x = np.ogrid[-1 : 1 : img.shape[0] * 1j, -1 : 1 : img.shape[1] * 1j]
        light = 1 - lost * (x**2 + y**2) / 2
        return (img * light[:, :, None]).astype(np.uint8)
