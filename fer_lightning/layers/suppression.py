"""Emotion suppression of PsySFA-Net (section 3.6, eqs 8-12): channels judged noisy are turned down.

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
    vector w of C weights. As one single token its softmax would always be 1, so w is cut into tokens of `token_size`
    channels, with a learned position each, and groups of channels attend to each other. A sigmoid turns the attended
    weights into alpha, which the paper's equations leave unbounded.

    Args:
        channels: Channels C of the map, a multiple of `token_size`.
        token_size: Channels in a token.
        num_heads: Heads of the attention; token_size / heads must be a multiple of 16.

    Shape:
        (B, C, H, W) to (B, C, H, W).

    Raises:
        UserError: Channels not a multiple of `token_size`.
    """

    def __init__(self, channels: int, *, token_size: int = 32, num_heads: int = 2) -> None:
        if channels % token_size:
            raise UserError(
                f"model.widths ends with {channels}, but emotion suppression needs a multiple of {token_size}; "
                f"use {channels // token_size * token_size + token_size} or model.suppression=false."
            )
        super().__init__()
        self.token_size = token_size
        self.gate = nn.Linear(channels, channels)
        self.position = nn.Parameter(0.02 * torch.randn(channels // token_size, token_size))
        self.attention = MultiHeadAttention(token_size, num_heads)
        # Begin close to the identity: alpha is about 0.12 before anything is learned about noise.
        self.bias = nn.Parameter(torch.full((channels,), -2.0))

    def suppression(self, features: Tensor) -> Tensor:
        """The suppression weights alpha.

        Args:
            features: (B, C, H, W).

        Returns:
            (B, C), between 0 (kept) and 1 (removed).
        """
        weight = self.gate(features.mean((2, 3))).sigmoid()
        tokens = weight.unflatten(1, (-1, self.token_size)) + self.position
        return (self.attention(tokens).flatten(1) + self.bias).sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        alpha = self.suppression(features).to(features.dtype)
        return features * (1 - alpha)[..., None, None]
