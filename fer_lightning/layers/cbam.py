"""Convolutional Block Attention Module (CBAM): channel attention followed by spatial attention.

Paper: S. Woo et al., CBAM: Convolutional block attention module (2018), https://arxiv.org/abs/1807.06521.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer_lightning.errors import UserError


class ChannelAttention(nn.Module):
    """`x * sigmoid(MLP(AvgPool(x)) + MLP(MaxPool(x)))`, eq. 2: one MLP for the averages and the maxima of the channels.

    Args:
        channels: Channels C of the map.
        reduction: The hidden layer has C / reduction units.

    Shape:
        (B, C, H, W) to (B, C, H, W).
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(inplace=True), nn.Linear(hidden, channels, bias=False)
        )

    def weights(self, features: Tensor) -> Tensor:
        """Channel weights (B, C) between 0 and 1 of maps (B, C, H, W)."""
        pooled = torch.stack([features.mean((2, 3)), features.amax((2, 3))], 1)
        return self.mlp(pooled).sum(1).sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        return features * self.weights(features)[..., None, None]


class SpatialAttention(nn.Module):
    """`x * sigmoid(Conv([AvgPool(x); MaxPool(x)]))`, eq. 3: average and maximum over the channels, then a convolution.

    Args:
        kernel_size: Odd size of the kernel.

    Shape:
        (B, C, H, W) to (B, C, H, W).

    Raises:
        UserError: The kernel size is even or below 1.
    """

    def __init__(self, kernel_size: int) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UserError(f"The kernel of CBAM's spatial attention must be odd, such as 7; got {kernel_size}.")
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def weights(self, features: Tensor) -> Tensor:
        """Spatial weights (B, 1, H, W) between 0 and 1 of maps (B, C, H, W)."""
        pooled = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], 1)
        return self.conv(pooled).sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        return features * self.weights(features)


class CBAM(nn.Sequential):
    """Channel attention, then spatial attention (eq. 1).

    As in eqs 2 and 3, the MLP has no biases and no normalisation precedes the sigmoid of eq. 3 (timm's `CbamModule`
    puts batch normalisation there). The paper's residual connection surrounds the whole block that contains CBAM, so
    there is none here.

    Args:
        channels: Channels C of the map.
        reduction: Reduction of the hidden layer of the channel attention; the paper's is 16.
        kernel_size: Kernel size of the spatial attention; the paper's is 7.

    Shape:
        (B, C, H, W) to (B, C, H, W).
    """

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, reduction)
        self.spatial = SpatialAttention(kernel_size)
