"""Dynamic feature fusion of PsySFA-Net (section 3.4, eqs 4-6): attention among several feature maps.

Paper: PsySFA-Net, IIETA 2026, section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.layers.transformer import MultiHeadAttention


class DynamicFeatureFusion(nn.Module):
    """Multi-head attention over the tokens of all maps, added back to the maps.

    Every map is averaged over a G x G grid and mapped into a common feature space of E dimensions. Its cells are the
    tokens of eq. 4, `concat(f.flatten(2), s.flatten(2), a.flatten(2))`; eqs 5 and 6 are multi-head attention over all
    of them. The attended tokens are projected back to F channels, upsampled to the resolution of the maps and added to
    them.

    Args:
        num_maps: Number M of maps.
        in_channels: Channels F of each map.
        embed_dim: Size E of the common feature space.
        num_heads: Number of attention heads; E / heads must be a multiple of 16.
        grid: Rows and columns G of the grid; there are M * G * G tokens.

    Shape:
        M times (B, F, H, W) to (B, M * F, H, W).
    """

    def __init__(self, num_maps: int, in_channels: int, *, embed_dim: int, num_heads: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.to_common = nn.ModuleList(nn.Linear(in_channels, embed_dim) for _ in range(num_maps))
        self.position = nn.Parameter(0.02 * torch.randn(num_maps * grid * grid, embed_dim))
        self.norm = nn.LayerNorm(embed_dim)
        self.attention = MultiHeadAttention(embed_dim, num_heads)
        self.from_common = nn.ModuleList(nn.Linear(embed_dim, in_channels) for _ in range(num_maps))

    def tokens(self, maps: Sequence[Tensor]) -> Tensor:
        """Tokens of all maps, (B, M * G * G, E), in the order of the maps and row by row within a map."""
        cells = [F.adaptive_avg_pool2d(features, self.grid).flatten(2).transpose(1, 2) for features in maps]
        common = [project(cell) for project, cell in zip(self.to_common, cells, strict=True)]
        return self.norm(torch.cat(common, 1) + self.position)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        attended = self.attention(self.tokens(maps)).chunk(len(maps), 1)
        restored = [restore(part) for restore, part in zip(self.from_common, attended, strict=True)]
        coarse = torch.cat(restored, 2).transpose(1, 2).unflatten(2, (self.grid, self.grid))
        fused = torch.cat(list(maps), 1)
        return fused + F.interpolate(coarse.to(fused.dtype), size=fused.shape[-2:], mode="nearest")

    def attention_weights(self, maps: Sequence[Tensor]) -> Tensor:
        """Attention weights between all tokens, for explanation.

        Args:
            maps: M times (B, F, H, W).

        Returns:
            (B, heads, M * G * G, M * G * G); every row sums to one.
        """
        return self.attention.weights(self.tokens(maps))
