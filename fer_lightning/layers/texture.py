"""Hand-made texture descriptors without parameters: the baselines of the fractal block in Table 9 of PsySFA-Net.

Papers: T. Ojala et al., Multiresolution gray-scale and rotation invariant texture classification with local binary
patterns (2002); J. G. Daugman, Uncertainty relation for resolution in space, spatial frequency, and orientation (1985).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# (row, column) of the eight neighbours, clockwise from the upper left; neighbour k carries the bit 2 ** k.
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


class LocalBinaryPattern(nn.Module):
    """Local binary pattern of each pixel, scaled to [0, 1].

    Bit k of the code is set where neighbour k is at least as bright as the pixel. Pixels outside the image repeat the
    border. Each channel is coded separately.

    Shape:
        (B, C, H, W) to (B, C, H, W).
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.out_channels = in_channels

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
        code = torch.zeros_like(image)
        for bit, (row, column) in enumerate(NEIGHBOURS):
            neighbour = padded[..., 1 + row : 1 + row + height, 1 + column : 1 + column + width]
            code = code + (neighbour >= image).to(image.dtype) * 2**bit
        return code / 255


def gabor_kernel(side: int, wavelength: float, orientation: float, sigma: float, aspect: float) -> Tensor:
    """Even Gabor kernel of zero mean, so that a constant image gives zero.

    Args:
        side: Odd height and width S of the kernel in pixels.
        wavelength: Wavelength in pixels.
        orientation: Angle in radians between the wave and the x axis.
        sigma: Width of the envelope along the wave in pixels.
        aspect: Ratio of the envelope's width along the wave to that across it.

    Returns:
        (S, S), summing to zero, with an absolute sum of one.
    """
    offset = torch.arange(side, dtype=torch.float64) - side // 2
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    along = x * math.cos(orientation) + y * math.sin(orientation)
    across = y * math.cos(orientation) - x * math.sin(orientation)
    envelope = torch.exp(-(along.square() + (aspect * across).square()) / (2 * sigma**2))
    kernel = envelope * torch.cos(2 * math.pi * along / wavelength)
    kernel = kernel - kernel.mean()
    return (kernel / kernel.abs().sum()).float()


class GaborBank(nn.Module):
    """Magnitudes of a bank of even Gabor filters: 4 orientations at wavelengths of 4 and 8 pixels.

    The envelope has a bandwidth of one octave (0.56 wavelengths) and an aspect ratio of 0.5. Each channel is filtered
    separately.

    Shape:
        (B, C, H, W) to (B, 8 * C, H, W).
    """

    kernels: Tensor

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        bank = [
            gabor_kernel(
                side=13, wavelength=wavelength, orientation=turn * math.pi / 4, sigma=0.56 * wavelength, aspect=0.5
            )
            for wavelength in (4.0, 8.0)
            for turn in range(4)
        ]
        self.register_buffer("kernels", torch.stack(bank)[:, None].repeat(in_channels, 1, 1, 1), persistent=False)
        self.in_channels = in_channels
        self.out_channels = len(bank) * in_channels

    def forward(self, image: Tensor) -> Tensor:
        return F.conv2d(image, self.kernels, padding="same", groups=self.in_channels).abs()
