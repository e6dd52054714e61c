"""Spectral block of PsySFA-Net (section 3.2, eq. 2): convolution of a band-pass filtered image.

Paper: PsySFA-Net, IIETA 2026, section 3.2 and Table 7.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.cnn_block import ConvReLU
from fer_lightning.layers.precision import without_autocast

BANDS = {
    "low": ("low",),
    "mid": ("mid",),
    "high": ("high",),
    "low_mid": ("low", "mid"),
    "all": ("low", "mid", "high"),
}


def dct_matrix(size: int) -> Tensor:
    """Orthonormal DCT-II matrix D: `D @ image @ D.T` is eq. 2 and `D.T @ coefficients @ D` its inverse.

    Args:
        size: Number of samples N.

    Returns:
        (N, N) in float32; row u holds `alpha_u * cos(pi * u * (2 * x + 1) / (2 * N))`.
    """
    position = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi * position[:, None] * (2 * position[None, :] + 1) / (2 * size)) * math.sqrt(2 / size)
    matrix[0] = math.sqrt(1 / size)
    return matrix.float()


def band_mask(size: int, band: str, edges: tuple[float, float]) -> Tensor:
    """Mask of the DCT coefficients of a frequency band.

    The frequency of coefficient (u, v) is `(u + v) / (2 * N)`, its anti-diagonal in the zigzag of JPEG: 0 for the
    constant, nearly 1 for the finest checkerboard. Low is below the first edge, high starts at the second.

    Args:
        size: Number of coefficients N along each axis.
        band: `"low"`, `"mid"`, `"high"`, `"low_mid"` or `"all"`.
        edges: Lower and upper bound of the mid band.

    Returns:
        (N, N) of zeros and ones.

    Raises:
        UserError: Unknown band, or edges that do not increase.
    """
    if band not in BANDS:
        raise UserError(f"model.band must be one of {', '.join(BANDS)}; got {band!r}.")
    first, second = edges
    if not 0 < first < second < 1:
        raise UserError(f"model.band_edges must be two increasing numbers between 0 and 1; got {list(edges)}.")
    index = torch.arange(size)
    frequency = (index[:, None] + index[None, :]) / (2 * size)
    parts = {"low": frequency < first, "mid": (frequency >= first) & (frequency < second), "high": frequency >= second}
    return sum((parts[part].float() for part in BANDS[band]), torch.zeros(size, size))


class BandPass(nn.Module):
    """Band-pass filter: DCT, band mask, inverse DCT.

    Args:
        image_size: Height and width N of the image in pixels.
        band: Name of the band, see `band_mask`.
        edges: Bounds of the mid band, see `band_mask`.

    Shape:
        (B, C, N, N) to (B, C, N, N).
    """

    transform: Tensor
    mask: Tensor

    def __init__(self, image_size: int, band: str, edges: tuple[float, float]) -> None:
        super().__init__()
        self.register_buffer("transform", dct_matrix(image_size), persistent=False)
        self.register_buffer("mask", band_mask(image_size, band, edges), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        # bf16 keeps 8 bits: the inverse would lose the small coefficients beside the large constant one.
        with without_autocast(image.device):
            coefficients = self.transform @ image.float() @ self.transform.T
            return self.transform.T @ (coefficients * self.mask) @ self.transform


class SpectralBlock(nn.Module):
    """Band-pass filter followed by a learned 3x3 convolution and ReLU.

    Args:
        in_channels: Channels C of the image.
        num_filters: Channels F of the feature map.
        image_size: Height and width N of the image in pixels.
        band: Name of the band, see `band_mask`.
        edges: Bounds of the mid band, see `band_mask`.
        stride: Stride of the convolution.
        normalization: `"batch"` or `"none"`, see `ConvReLU`.

    Shape:
        (B, C, N, N) to (B, F, N / stride, N / stride).
    """

    def __init__(
        self,
        in_channels: int,
        num_filters: int,
        *,
        image_size: int,
        band: str,
        edges: tuple[float, float],
        stride: int,
        normalization: str,
    ) -> None:
        super().__init__()
        self.band_pass = BandPass(image_size, band, edges)
        self.features = ConvReLU(in_channels, num_filters, 3, stride=stride, normalization=normalization)

    def forward(self, image: Tensor) -> Tensor:
        return self.features(self.band_pass(image))
