"""Pictures made worse in ten known ways, each in five severities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import albumentations
import cv2
import numpy as np

from fer_lightning.data.augmentation import Augmentation
from fer_lightning.errors import UserError

SEVERITIES = (1, 2, 3, 4, 5)
_SEED = 0  # not that of a run: all runs see the same pictures


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


def _cover(box: tuple[float, float, float, float], side: int) -> albumentations.BasicTransform:
    return Cover(box)


def _darken(stops: float, side: int) -> albumentations.BasicTransform:
    factor = 2 ** (-stops / 2.2)
    return albumentations.MultiplicativeNoise(multiplier=(factor, factor), p=1)


def _dazzle(radius: float, side: int) -> albumentations.BasicTransform:
    return Glare(radius)


def _blur(sigma: float, side: int) -> albumentations.BasicTransform:
    pixels = sigma * side
    return albumentations.GaussianBlur(sigma_limit=(pixels, pixels), p=1)


def _add_noise(deviation: float, side: int) -> albumentations.BasicTransform:
    return albumentations.GaussNoise(std_range=(deviation, deviation), p=1)


def _compress(quality: int, side: int) -> albumentations.BasicTransform:
    return albumentations.ImageCompression(quality_range=(quality, quality), p=1)


def _shrink(share: float, side: int) -> albumentations.BasicTransform:
    return Shrink(share)


def _rotate(degrees: float, side: int) -> albumentations.BasicTransform:
    turns = [
        albumentations.Affine(rotate=(angle, angle), border_mode=cv2.BORDER_REPLICATE, p=1)
        for angle in (degrees, -degrees)
    ]
    return albumentations.OneOf(turns, p=1)


@dataclass(frozen=True)
class Corruption:
    """One way to make pictures worse.

    Attributes:
        values: What sets the severities 1 to 5 apart.
        build: The transform of one value, for pictures of a given side in pixels.
    """

    values: tuple[Any, ...]
    build: Callable[[Any, int], albumentations.BasicTransform]


CORRUPTIONS = {
    "eyes": Corruption(tuple((0.1, 0.4 - half, 0.9, 0.4 + half) for half in (0.04, 0.08, 0.12, 0.16, 0.2)), _cover),
    "mouth": Corruption(
        tuple(
            (0.5 - x, 0.78 - y, 0.5 + x, 0.78 + y)
            for x, y in ((0.12, 0.05), (0.17, 0.08), (0.22, 0.11), (0.27, 0.14), (0.32, 0.17))
        ),
        _cover,
    ),
    "mask": Corruption(tuple((0.1, top, 0.9, 1.0) for top in (0.8, 0.72, 0.64, 0.56, 0.48)), _cover),
    "darkness": Corruption((1, 2, 3, 4, 5), _darken),
    "glare": Corruption((0.1, 0.15, 0.2, 0.27, 0.35), _dazzle),
    "blur": Corruption((0.4 / 32, 0.6 / 32, 0.7 / 32, 0.8 / 32, 1 / 32), _blur),
    "noise": Corruption((0.04, 0.08, 0.12, 0.15, 0.18), _add_noise),
    "compression": Corruption((65, 58, 50, 40, 25), _compress),
    "low_resolution": Corruption((0.6, 0.5, 0.4, 0.3, 0.25), _shrink),
    "rotation": Corruption((10, 20, 30, 40, 50), _rotate),
}


def corruption(name: str, severity: int, side: int) -> Augmentation:
    """A corruption of one severity.

    What is drawn by chance (noise, the place of glare, the direction of a rotation) depends on the row of a picture
    alone: all nets see the same pictures, and a higher severity is more of the same.

    | name | what sets severities apart | 1 to 5 |
    |---|---|---|
    | eyes | height of a bar over the eyes, in shares of the picture | 0.08 to 0.4 |
    | mouth | size of a box over the mouth | 0.24 x 0.1 to 0.64 x 0.34 |
    | mask | upper edge of what hides the face down from there | 0.8 (lips) to 0.48 (bridge of the nose) |
    | darkness | stops, each half as much light | 1 to 5 |
    | glare | radius of a white spot, in shares of the side | 0.1 to 0.35 |
    | blur | standard deviation of a Gaussian, in shares of the side | 1/80 to 1/32 |
    | noise | standard deviation of Gaussian noise, in shares of the range of values | 0.04 to 0.18 |
    | compression | JPEG quality | 65 to 25 |
    | low_resolution | share of the pixels that is left along a side | 0.6 to 0.25 |
    | rotation | degrees | 10 to 50 |

    Args:
        name: A key of `CORRUPTIONS`.
        severity: 1 to 5.
        side: Shorter side of the pictures in pixels.

    Returns:
        A function of pictures uint8 `(B, H, W, C)` with one or three channels and their rows `(B,)`.

    Source: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations", ICLR 2019, and the code that the authors made their data sets with: noise and compression have the
    values of Tiny ImageNet-C, whose 64 pixels are nearest to those of most faces here, blur those of CIFAR-10-C
    ("Gaussian blur", of 32 pixels), low_resolution those of ImageNet-C ("pixelate"). The other six are not in that
    benchmark, and their values were chosen here.

    Readings:
        - Blur is scaled to the side, so that the same share of a face is blurred at 48 and at 224 pixels. The mildest
          of Tiny ImageNet-C would be 0.4 pixels of 48, which is no blur. Noise and JPEG quality are not scaled: sensors
          and encoders do not know how large a face is.
        - Low resolution shrinks by area and enlarges linearly, as a detector's crop does; the benchmark repeats pixels.
          The mildest of Tiny ImageNet-C would leave 43 pixels of 48.
        - Occlusions are opaque and grow: a translucent cover hides nothing from a net that can rescale it. The cover
          has the mean colour of the picture, so that information is lost and no new edge of black or white is added;
          real sunglasses and masks are darker and lighter.
        - The boxes lie where FER2013 has these parts (median of 31,005 faces with landmarks: eyes at 0.39 of the
          height, mouth at 0.785). Severities 1 to 5 cover 51, 76, 86, 93 and 96 % of their points of the eyes, "mouth"
          32, 57, 75, 86 and 93 % and "mask" 40, 77, 93, 97 and 99 % of those of the mouth. The boxes follow no
          landmarks, because data sets without them are to be scored alike.
        - Darkness multiplies pixel values by 2^(-stops / 2.2), the factor on light under a display gamma of 2.2. Noise
          that real dark pictures have is left to "noise".
        - Glare is centred anywhere in the middle half of width and height; in its centre nothing is left of the face.
        - Rotations go either way; outside of the picture its edge pixels go on, as `augment=light` has it, which
          trains up to 10 degrees.
        - Aligned faces (`data.align`) are corrupted after they were aligned: what is measured is the net, not the
          detector.
    """
    chosen = CORRUPTIONS[name]
    return Augmentation([chosen.build(chosen.values[severity - 1], side)], _SEED, epoch=0)


def select_corruptions(asked: str | Sequence[str], side_input: str) -> tuple[str, ...]:
    """The corruptions that a run is scored under.

    Args:
        asked: Names, one name, or `"all"`.
        side_input: What else than the image the network is given, as `data.side` has it.

    Returns:
        Their names, in the order of `CORRUPTIONS`.

    Raises:
        UserError: A name is unknown, or the network is given landmarks or the like, which were found in the pictures
            as they are and would tell it what a corruption hides.
    """
    names = {asked} if isinstance(asked, str) else set(asked)
    if unknown := sorted(names - {"all", *CORRUPTIONS}):
        raise UserError(f"corruptions={unknown[0]} is unknown: use all, or some of {', '.join(CORRUPTIONS)}.")
    if names and side_input != "none":
        raise UserError(
            f"corruptions cannot be scored with {side_input}, which were found in clean pictures: leave corruptions "
            "away for this net."
        )
    return tuple(name for name in CORRUPTIONS if name in names or "all" in names)
