"""Augmentation of a whole batch at once, on the device of its images.

`torch.nn.functional.grid_sample` moves every image by a matrix of its own. On one core this costs a tenth of the time
of albumentations and of kornia, and on a GPU the images never leave it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from fer_lightning.errors import UserError

_FILLS = ("erase_fill_1", "erase_fill_2", "erase_fill_3")
# Random numbers of an image, in the order of the columns of `BatchAugmentation.draws`. A new one is added at the end.
_DRAWS = (
    *("mirror", "geometry", "rotate", "scale_x", "scale_y", "shear_x", "shear_y", "translate_x", "translate_y"),
    *("light", "brightness", "contrast", "noise", "noise_std", "noise_start"),
    *("erase", "erase_height", "erase_width", "erase_top", "erase_left"),
    *_FILLS,
)
_NOISE = 2**20  # normal numbers of an epoch, of which every noisy image takes a run
_MIRRORS = ("none", "random", "alternating")
_BORDERS = {"edge": "border", "reflect": "reflection"}


@dataclass(frozen=True, kw_only=True)
class BatchTransforms:
    """Mirror images, geometry, light, noise and erased rectangles; every image of a batch has its own. By default
    those of `augment=light`.

    Attributes:
        mirror: `"random"` mirrors half of the images; `"alternating"` (Jordan 2024) does so in the first epoch and
            mirrors the other half in the next, so that two epochs hold every image and its mirror image; or `"none"`.
        p_geometry: Share of the images that are rotated, scaled, sheared and translated.
        rotate: Largest rotation in either direction, in degrees.
        scale: Smallest and largest factor of the width, and independently of the height.
        shear: Largest shear in either direction of each axis, in degrees.
        translate: Largest translation in either direction of each axis, as a share of the image.
        border: Pixels outside the image: `"edge"` repeats its edge, `"reflect"` mirrors it there.
        p_light: Share of the images whose brightness and contrast are changed.
        brightness: Largest change of the brightness, as a share of the image's mean.
        contrast: Largest change of the contrast; 0.2 multiplies pixel values by 0.8 to 1.2.
        p_noise: Share of the images with Gaussian noise.
        noise: Smallest and largest standard deviation of the noise, for pixel values in 0..1.
        p_erase: Share of the images in which a rectangle is filled with a random grey or colour.
        erase: Smallest and largest side of the rectangle, as a share of the image.

    Raises:
        UserError: An option is out of range.

    Example:
        >>> transforms = BatchTransforms(mirror="random", rotate=10, translate=0.1)
        >>> images = torch.randint(0, 256, (8, 48, 48, 1), dtype=torch.uint8)
        >>> transforms.epoch(seed=0, epoch=3, count=8)(images, torch.arange(8)).shape
        torch.Size([8, 1, 48, 48])
    """

    mirror: str = "random"
    p_geometry: float = 0.9
    rotate: float = 10.0
    scale: Sequence[float] = (0.9, 1.1)
    shear: float = 0.0
    translate: float = 0.06
    border: str = "edge"
    p_light: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.2
    p_noise: float = 0.0
    noise: Sequence[float] = (0.01, 0.05)
    p_erase: float = 0.0
    erase: Sequence[float] = (0.1, 0.33)

    def __post_init__(self) -> None:
        for name, accepted in (("mirror", _MIRRORS), ("border", tuple(_BORDERS))):
            if getattr(self, name) not in accepted:
                raise UserError(
                    f"augment.transforms.{name} must be one of {', '.join(accepted)}; got {getattr(self, name)}."
                )
        shares = ("p_geometry", "p_light", "p_noise", "p_erase", "translate", "brightness", "contrast")
        ranges = {**dict.fromkeys(shares, 1.0), "rotate": 180.0, "shear": 60.0}
        for name, most in ranges.items():
            if not 0 <= getattr(self, name) <= most:
                raise UserError(f"augment.transforms.{name} must be from 0 to {most:g}; got {getattr(self, name)}.")
        for name, least, most in (("scale", 0.1, 10.0), ("noise", 0.0, 1.0), ("erase", 0.0, 1.0)):
            values = getattr(self, name)
            if len(values) != 2 or not least <= values[0] <= values[1] <= most:
                raise UserError(
                    f"augment.transforms.{name} must be two rising numbers from {least:g} to {most:g}; got {values}."
                )

    def epoch(self, seed: int, epoch: int, count: int, device: torch.device | str = "cpu") -> BatchAugmentation:
        """Augmentation of one epoch; arguments as in `BatchAugmentation`."""
        return BatchAugmentation(self, seed, epoch, count, device)


class BatchAugmentation:
    """`BatchTransforms` of one epoch, whose random numbers are a function of (seed, epoch, row).

    A run that was stopped and continued, another batch size and another number of processes draw the same
    augmentations.

    Args:
        transforms: The transforms.
        seed: Seed of the run.
        epoch: Current epoch.
        count: Number of rows of the store.
        device: Device of the images.
    """

    def __init__(
        self, transforms: BatchTransforms, seed: int, epoch: int, count: int, device: torch.device | str
    ) -> None:
        self.transforms = transforms
        # Row by row, so that the numbers of a row do not depend on how many rows there are.
        draws = np.random.default_rng([seed, epoch]).random((count, len(_DRAWS)), dtype=np.float32)
        if transforms.mirror == "alternating":
            first = np.random.default_rng([seed, 0]).random((count, len(_DRAWS)), dtype=np.float32)[:, 0]
            draws[:, 0] = first if epoch % 2 == 0 else 1 - first
        self.draws = torch.from_numpy(draws).to(device)
        self._noise = torch.empty(0)
        if transforms.p_noise:  # one bank an epoch, because a generator for each image would cost more than the rest
            bank = np.random.default_rng([seed, epoch, 1]).standard_normal(_NOISE, dtype=np.float32)
            self._noise = torch.from_numpy(bank).to(device)

    def __call__(self, images: Tensor, rows: Tensor) -> Tensor:
        """Augments images.

        Args:
            images: uint8 `(B, H, W, C)`.
            rows: Their rows in the store `(B,)`, on the same device.

        Returns:
            float32 `(B, C, H, W)`, pixel values from 0 to 255.
        """
        options, draws = self.transforms, dict(zip(_DRAWS, self.draws[rows].unbind(1)))
        grid = self._grid(draws, *images.shape[1:3])
        pixels = images.permute(0, 3, 1, 2).float().contiguous()
        pixels = grid_sample(pixels, grid, padding_mode=_BORDERS[options.border], align_corners=False)
        if options.p_light:
            self._change_light(pixels, draws)
        if options.p_noise:
            self._add_noise(pixels, draws)
        if options.p_erase:
            self._erase(pixels, draws)
        return pixels

    def mirrored(self, rows: Tensor) -> Tensor:
        """Which images are mirrored, bool `(B,)`."""
        return self._mirrors(self.draws[rows, 0])

    def _mirrors(self, draw: Tensor) -> Tensor:
        return (draw < 0.5) & (self.transforms.mirror != "none")

    def _grid(self, draws: Mapping[str, Tensor], height: int, width: int) -> Tensor:
        """Where each pixel comes from, `(B, H, W, 2)` in the coordinates of `grid_sample`, from -1 to 1."""
        options = self.transforms
        moved = (draws["geometry"] < options.p_geometry).float()

        def either(name: str, most: float) -> Tensor:
            return (2 * draws[name] - 1) * (most * moved)

        def scale(name: str) -> Tensor:
            low, high = options.scale
            return 1 + (low + draws[name] * (high - low) - 1) * moved

        angle = either("rotate", math.radians(options.rotate))
        cos, sin, width_factor, height_factor = angle.cos(), angle.sin(), scale("scale_x"), scale("scale_y")
        shear_x, shear_y = (either(name, math.radians(options.shear)).tan() for name in ("shear_x", "shear_y"))
        # Rotation @ shear @ scale takes a point of the image to its place; the grid needs the inverse.
        a, b = (cos - sin * shear_y) * width_factor, (cos * shear_x - sin) * height_factor
        c, d = (sin + cos * shear_y) * width_factor, (sin * shear_x + cos) * height_factor
        inverse = torch.stack([d, -b, -c, a], dim=1).div_((a * d - b * c)[:, None]).view(-1, 2, 2)
        inverse[:, 0] *= (1 - 2 * self._mirrors(draws["mirror"]).float())[:, None]
        shift = torch.stack([either(name, 2 * options.translate) for name in ("translate_x", "translate_y")])
        x, y = ((2 * torch.arange(size, device=angle.device) + 1) / size - 1 for size in (width, height))
        # One plane per coordinate, which is three times as fast as `affine_grid`.
        of_row = inverse[:, :, 1, None] * y + (inverse @ -shift.T[:, :, None])
        return torch.addcmul(of_row[..., None], inverse[:, :, 0, None, None], x).permute(0, 2, 3, 1)

    def _change_light(self, pixels: Tensor, draws: Mapping[str, Tensor]) -> None:
        lit = (draws["light"] < self.transforms.p_light).float()
        contrast = 1 + (2 * draws["contrast"] - 1) * self.transforms.contrast * lit
        brightness = (2 * draws["brightness"] - 1) * self.transforms.brightness * lit
        # Relative to the image's mean: relative to 255, many faces would turn white or black.
        means = pixels.mean(dim=(1, 2, 3))
        pixels.mul_(contrast[:, None, None, None]).add_((brightness * means)[:, None, None, None]).clamp_(0, 255)

    def _add_noise(self, pixels: Tensor, draws: Mapping[str, Tensor]) -> None:
        low, high = self.transforms.noise
        std = 255 * (low + draws["noise_std"] * (high - low)) * (draws["noise"] < self.transforms.p_noise)
        noisy, size = std.nonzero()[:, 0], pixels[0].numel()
        start = (draws["noise_start"][noisy] * (_NOISE - size)).long()
        noise = self._noise[start[:, None] + torch.arange(size, device=start.device)].mul_(std[noisy, None])
        pixels[noisy] = (pixels[noisy] + noise.view(-1, *pixels.shape[1:])).clamp_(0, 255)

    def _erase(self, pixels: Tensor, draws: Mapping[str, Tensor]) -> None:
        low, high = self.transforms.erase
        inside = (draws["erase"] < self.transforms.p_erase)[:, None, None]
        for side, first, dim in (("erase_height", "erase_top", 2), ("erase_width", "erase_left", 3)):
            share = low + draws[side] * (high - low)
            size = pixels.shape[dim]
            start, stop = (1 - share) * draws[first] * size, (share + (1 - share) * draws[first]) * size
            place = torch.arange(size, device=pixels.device) + 0.5
            within = (place >= start[:, None]) & (place < stop[:, None])
            inside = inside & (within[:, :, None] if dim == 2 else within[:, None, :])
        fill = torch.stack([draws[name] for name in _FILLS[: pixels.shape[1]]], dim=1) * 255
        torch.where(inside[:, None], fill[:, :, None, None], pixels, out=pixels)
