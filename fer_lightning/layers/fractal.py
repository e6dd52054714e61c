"""Fractal block of PsySFA-Net (section 3.1, eq. 1): local self-similarity as a texture.

Paper: PsySFA-Net, IIETA 2026, section 3.1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.cnn_block import ConvReLU
from fer_lightning.layers.texture import GaborBank, LocalBinaryPattern

TEXTURES = ("diagonal", "lbp", "gabor", "lbp_cnn", "gabor_cnn")


def diagonal_difference(image: Tensor) -> Tensor:
    """Absolute difference of diagonal neighbours, eq. 1: `diff(x, y) = |I(x, y) - I(x - 1, y - 1)|`.

    The first row and the first column have no such neighbour and are zero.

    Args:
        image: (B, C, H, W).

    Returns:
        (B, C, H, W), non-negative.
    """
    difference = (image[..., 1:, 1:] - image[..., :-1, :-1]).abs()
    return F.pad(difference, (1, 0, 1, 0))


class DiagonalDifference(nn.Module):
    """Module form of `diagonal_difference`."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.out_channels = in_channels

    def forward(self, image: Tensor) -> Tensor:
        return diagonal_difference(image)


class FractalBlock(nn.Module):
    """Texture descriptor without parameters, followed by a learned convolution and ReLU.

    Args:
        in_channels: Channels C of the image.
        num_filters: Channels F of the feature map.
        stride: Stride of the learned part.
        normalization: `"batch"` or `"none"`, see `ConvReLU`.
        texture: `"diagonal"` is the paper's block. The other values are the rows of its Table 9: `"lbp"` and `"gabor"`
            replace the block by a hand-made descriptor that a 1x1 convolution maps to F channels; `"lbp_cnn"` and
            `"gabor_cnn"` put the descriptor before the block's 3x3 convolution.

    Shape:
        (B, C, H, W) to (B, F, H / stride, W / stride).

    Raises:
        UserError: Unknown `texture`.
    """

    def __init__(self, in_channels: int, num_filters: int, *, stride: int, normalization: str, texture: str) -> None:
        if texture not in TEXTURES:
            raise UserError(f"model.texture must be one of {', '.join(TEXTURES)}; got {texture!r}.")
        super().__init__()
        self.descriptor: DiagonalDifference | LocalBinaryPattern | GaborBank
        if texture.startswith("lbp"):
            self.descriptor = LocalBinaryPattern(in_channels)
        elif texture.startswith("gabor"):
            self.descriptor = GaborBank(in_channels)
        else:
            self.descriptor = DiagonalDifference(in_channels)
        channels = self.descriptor.out_channels
        self.features: nn.Module
        if texture in ("lbp", "gabor"):
            # A strided 1x1 convolution would skip pixels, so the descriptor is averaged over each cell instead.
            projection = ConvReLU(channels, num_filters, 1, normalization=normalization)
            self.features = nn.Sequential(nn.AvgPool2d(stride), projection)
        else:
            self.features = ConvReLU(channels, num_filters, 3, stride=stride, normalization=normalization)

    def forward(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            texture = self.descriptor(image)
        return self.features(texture)
