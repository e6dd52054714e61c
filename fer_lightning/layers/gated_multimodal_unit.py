"""Gated multimodal unit: for every feature, how much to take from either of two modalities.

Paper: J. Arevalo et al., Gated multimodal units for information fusion (2017), https://arxiv.org/abs/1702.01992.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GatedMultimodalUnit(nn.Module):
    """The bimodal unit: `z * tanh(W_1 x_1) + (1 - z) * tanh(W_2 x_2)` with the gate `z = sigmoid(W_z [x_1, x_2])`.

    Its three linear maps have biases, which the equations of the paper leave away.

    Args:
        first_dim: Size of the vector of the first modality.
        second_dim: Size of the vector of the second modality.
        embed_dim: Size D of what both are fused into.

    Shape:
        (B, first_dim) and (B, second_dim) to (B, D), every value between -1 and 1.
    """

    def __init__(self, first_dim: int, second_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(first_dim, embed_dim)
        self.second = nn.Linear(second_dim, embed_dim)
        self.gate = nn.Linear(first_dim + second_dim, embed_dim)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        share = self.gate(torch.cat([first, second], dim=1)).sigmoid()
        return share * self.first(first).tanh() + (1 - share) * self.second(second).tanh()
