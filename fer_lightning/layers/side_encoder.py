"""What is known of a face besides its pixels, as an embedding: also where nothing is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SideEncoder(nn.Module):
    """Two linear layers over the standardised values of a side vector, and a learned vector where a face was not found.

    A side vector is `[found, value 1, ..., value S - 1]`; the values of a face that was not found are zeros and say
    nothing, so neither the embedding nor the running statistics depend on them.

    Args:
        side_dim: Size S of a side vector.
        embed_dim: Size D of the embedding, and of the hidden layer.

    Shape:
        (B, S) to (B, D).
    """

    def __init__(self, side_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.standardise = nn.BatchNorm1d(side_dim - 1)
        self.layers = nn.Sequential(
            nn.Linear(side_dim - 1, embed_dim), nn.ReLU(), nn.Linear(embed_dim, embed_dim), nn.ReLU()
        )
        self.missing = nn.Parameter(torch.zeros(embed_dim))

    def forward(self, side: Tensor) -> Tensor:
        found, values = side[:, :1] > 0.5, side[:, 1:]
        if self.training:
            # Zeros would move the mean away from every face; at their mean, missing faces only shrink the variance.
            mean = (values * found).sum(0) / found.sum().clamp_min(1)
            values = torch.where(found, values, mean)
        encoded = self.layers(self.standardise(values))
        return torch.where(found, encoded, self.missing.to(encoded.dtype))
