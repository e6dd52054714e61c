"""Ten image corruptions, each of five severities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import albumentations
import cv2
import numpy as np

from fer_lightning.data.augmentation import Augmentation
from fer_lightning.errors import UserError, require_known

SEVERITIES = (1, 2, 3, 4, 5)
_SEED = 0  # independent of the run's seed, so that all runs are scored on the same pictures


class Cover(albumentations.ImageOnlyTransform):
    """Covers a part of the picture with the mean colour of the whole.

    Args:
        box: Left, top, right and bottom edge as shares of width and height.
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
    """Adds a white Gaussian spot, opaque in its centre, like the glare of a lamp.

    Args:
        radius: Standard deviation of the Gaussian as a share of the smaller of height and width.
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
    """Downscales the picture by area and upscales it to its size by linear interpolation.

    `albumentations.Downscale` does not round its scale to whole pixels, so that its result is also shifted, by up to a
    pixel of the small picture.

    Args:
        share: Scale of height and width of the small picture, whose size is rounded.
    """

    def __init__(self, share: float) -> None:
        super().__init__(p=1)
        self.share = share

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        height, width = img.shape[:2]
        small = cv2.resize(img, (round(width * self.share), round(height * self.share)), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).reshape(img.shape)


def _rotate(degrees: float, size: int) -> albumentations.BasicTransform:
    turns = [
        albumentations.Affine(rotate=(angle, angle), border_mode=cv2.BORDER_REPLICATE, p=1)
        for angle in (degrees, -degrees)
    ]
    return albumentations.OneOf(turns, p=1)


@dataclass(frozen=True)
class Corruption:
    """Values and transform of one corruption.

    Attributes:
        values: Parameter of the severities 1 to 5.
        build: Transform of a parameter and the smaller of height and width in pixels.
    """

    values: tuple[Any, ...]
    build: Callable[[Any, int], albumentations.BasicTransform]


CORRUPTIONS = {
    "eyes": Corruption(
        tuple((0.1, 0.4 - half, 0.9, 0.4 + half) for half in (0.04, 0.08, 0.12, 0.16, 0.2)),
        lambda box, size: Cover(box),
    ),
    "mouth": Corruption(
        tuple(
            (0.5 - x, 0.78 - y, 0.5 + x, 0.78 + y)
            for x, y in ((0.12, 0.05), (0.17, 0.08), (0.22, 0.11), (0.27, 0.14), (0.32, 0.17))
        ),
        lambda box, size: Cover(box),
    ),
    "mask": Corruption(
        tuple((0.1, top, 0.9, 1.0) for top in (0.8, 0.72, 0.64, 0.56, 0.48)), lambda box, size: Cover(box)
    ),
    "darkness": Corruption(
        (1, 2, 3, 4, 5),
        lambda stops, size: albumentations.MultiplicativeNoise(multiplier=(2 ** (-stops / 2.2),) * 2, p=1),
    ),
    "glare": Corruption((0.1, 0.15, 0.2, 0.27, 0.35), lambda radius, size: Glare(radius)),
    "blur": Corruption(
        (0.4 / 32, 0.6 / 32, 0.7 / 32, 0.8 / 32, 1 / 32),
        lambda sigma, size: albumentations.GaussianBlur(sigma_limit=(sigma * size,) * 2, p=1),
    ),
    "noise": Corruption(
        (0.04, 0.08, 0.12, 0.15, 0.18), lambda std, size: albumentations.GaussNoise(std_range=(std, std), p=1)
    ),
    "compression": Corruption(
        (65, 58, 50, 40, 25),
        lambda quality, size: albumentations.ImageCompression(quality_range=(quality, quality), p=1),
    ),
    "low_resolution": Corruption((0.6, 0.5, 0.4, 0.3, 0.25), lambda share, size: Shrink(share)),
    "rotation": Corruption((10, 20, 30, 40, 50), _rotate),
}


def corruption(name: str, severity: int, size: int) -> Augmentation:
    """Augmentation that applies a corruption of one severity.

    Random choices (noise, position of glare, direction of a rotation) depend only on the row of a picture: all nets are
    scored on the same pictures, and a higher severity is a stronger version of a lower one.

    | name | parameter of the severity | 1 to 5 |
    |---|---|---|
    | eyes | height of a bar over the eyes, as a share of the picture | 0.08 to 0.4 |
    | mouth | size of a box over the mouth | 0.24 x 0.1 to 0.64 x 0.34 |
    | mask | upper edge of a cover of the lower face | 0.8 (lips) to 0.48 (bridge of the nose) |
    | darkness | stops, each half as much light | 1 to 5 |
    | glare | radius of a white spot, as a share of the image size | 0.1 to 0.35 |
    | blur | standard deviation of a Gaussian, as a share of the image size | 1/80 to 1/32 |
    | noise | standard deviation of Gaussian noise, as a share of the range of values | 0.04 to 0.18 |
    | compression | JPEG quality | 65 to 25 |
    | low_resolution | scale of height and width of the small picture | 0.6 to 0.25 |
    | rotation | degrees | 10 to 50 |

    Args:
        name: Name of the corruption, a key of `CORRUPTIONS`.
        severity: Severity, 1 to 5.
        size: Smaller of height and width of the pictures in pixels.

    Returns:
        A function of pictures uint8 `(B, H, W, C)` with one or three channels and their rows `(B,)`.

    Source: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations", ICLR 2019, and the authors' code: noise and compression have the values of Tiny ImageNet-C, whose 64
    pixels are closest to those of most faces here, blur those of CIFAR-10-C ("Gaussian blur", of 32 pixels),
    low_resolution those of ImageNet-C ("pixelate"). The other six are not in that benchmark; their values are ours.

    Readings:
        - Blur is scaled to the image size, so that the same share of a face is blurred at 48 and at 224 pixels. The
          mildest of Tiny ImageNet-C would be 0.4 pixels of 48, which has no visible effect. Noise and JPEG quality are
          not scaled, because those of sensors and encoders do not depend on the size of a face.
        - Low resolution downscales by area and upscales linearly, as a detector's crop does; the benchmark repeats
          pixels. The mildest of Tiny ImageNet-C would leave 43 pixels of 48.
        - Occlusions are opaque and grow: a translucent cover hides nothing from a net that can rescale it. The cover
          has the mean colour of the picture, so that information is lost and no black or white edge is added; real
          sunglasses and masks are darker and lighter.
        - The boxes are where FER2013 has these parts (median of 31,005 faces with landmarks: eyes at 0.39 of the
          height, mouth at 0.785). Severities 1 to 5 cover 51, 76, 86, 93 and 96 % of their points of the eyes, "mouth"
          32, 57, 75, 86 and 93 % and "mask" 40, 77, 93, 97 and 99 % of those of the mouth. The boxes do not follow
          landmarks, so that data sets without landmarks are scored in the same way.
        - Darkness multiplies pixel values by 2^(-stops / 2.2), the factor on light under a display gamma of 2.2. It
          does not add the noise of real dark pictures, which is a corruption of its own.
        - Glare is centred anywhere in the middle half of width and height and hides the face at its centre.
        - Rotations have either direction; the border is filled with the edge pixels, as in `augment=light`, which
          trains up to 10 degrees.
        - Aligned faces (`data.align`) are corrupted after alignment: the score measures the net, not the detector.
    """
    chosen = CORRUPTIONS[name]
    return Augmentation([chosen.build(chosen.values[severity - 1], size)], _SEED, epoch=0)


def select_corruptions(asked: str | Sequence[str], side_input: str) -> tuple[str, ...]:
    """Names of the corruptions under which a run is scored, in the order of `CORRUPTIONS`.

    Args:
        asked: Names, one name, or `"all"`.
        side_input: Auxiliary input of the network, the value of `data.side`.

    Raises:
        UserError: A name is unknown, or the network has an auxiliary input, which was computed from the clean pictures
            and would reveal what a corruption hides.
    """
    names = {asked} if isinstance(asked, str) else set(asked)
    for name in sorted(names):
        require_known("corruptions", name, ("all", *CORRUPTIONS))
    if names and side_input != "none":
        raise UserError(
            f"corruptions must be empty for a net with the auxiliary input {side_input}, which is computed from clean "
            "pictures."
        )
    return tuple(name for name in CORRUPTIONS if name in names or "all" in names)
