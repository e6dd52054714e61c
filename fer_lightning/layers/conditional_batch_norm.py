"""Batch normalisation whose scale and shift depend on a class.

Paper: V. Dumoulin, J. Shlens, M. Kudlur, A learned representation for artistic style (2017),
https://arxiv.org/abs/1610.07629, eq. 5, there for instance normalisation and styles; T. Miyato, M. Koyama, cGANs with
projection discriminator (2018), https://arxiv.org/abs/1802.05637, use it with batch normalisation and classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConditionalBatchNorm(nn.Module):
    """`scale[y] * (x - mean) / sd + shift[y]`: the statistics are those of the batch, scale and shift of the class y.

    Args:
        channels: Channels C of the map.
        num_classes: K.

    Shape:
        Maps (B, C, H, W) and class indices (B,) to (B, C, H, W).
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Parameter(torch.ones(num_classes, channels))
        self.shift = nn.Parameter(torch.zeros(num_classes, channels))

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        normal = self.norm(features)
        scale, shift = (table[label].to(normal.dtype)[..., None, None] for table in (self.scale, self.shift))
        return torch.addcmul(shift, normal, scale)
