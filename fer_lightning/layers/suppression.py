"""Emotion suppression of PsySFA-Net (section 3.6, eqs 8-12): learned attenuation of noisy channels.

Paper: PsySFA-Net, IIETA 2026, section 3.6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.transformer import MultiHeadAttention


class EmotionSuppression(nn.Module):
    """`out = x * (1 - alpha)` with one suppression weight alpha in (0, 1) for every channel.

    Eq. 8 averages each channel, eq. 9 is a linear layer with sigmoid. Eq. 10 applies multi-head attention to the
    vector w of C weights. The softmax over a single token would always be 1, so w is split into tokens of `token_size`
    channels, each with a learned position, and groups of channels attend to each other. A sigmoid turns the attended
    weights into alpha, which the paper's equations leave unbounded.

    Args:
        channels: Channels C of the map, a multiple of `token_size`.
        token_size: Channels in a token.
        num_heads: Number of attention heads; token_size / heads must be a multiple of 16.

    Shape:
        (B, C, H, W) to (B, C, H, W).

    Raises:
        UserError: `channels` is not a multiple of `token_size`.
    """

    def __init__(self, channels: int, *, token_size: int = 32, num_heads: int = 2) -> None:
        if channels % token_size:
            raise UserError(
                f"The last of model.widths must be a multiple of {token_size} for emotion suppression; got {channels}: "
                f"use {channels // token_size * token_size + token_size} or model.suppression=false."
            )
        super().__init__()
        self.token_size = token_size
        self.gate = nn.Linear(channels, channels)
        self.position = nn.Parameter(0.02 * torch.randn(channels // token_size, token_size))
        self.attention = MultiHeadAttention(token_size, num_heads)
        # Starts close to the identity: alpha is about 0.12 before training.
        self.bias = nn.Parameter(torch.full((channels,), -2.0))

    def suppression(self, features: Tensor) -> Tensor:
        """Suppression weights alpha (B, C) of maps (B, C, H, W), between 0 (kept) and 1 (removed)."""
        weight = self.gate(features.mean((2, 3))).sigmoid()
        tokens = weight.unflatten(1, (-1, self.token_size)) + self.position
        return (self.attention(tokens).flatten(1) + self.bias).sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        alpha = self.suppression(features).to(features.dtype)
        return features * (1 - alpha)[..., None, None]
