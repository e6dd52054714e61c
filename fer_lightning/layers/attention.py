"""Multi-head scaled dot-product self-attention over tokens, eq. 6 of PsySFA-Net.

Paper: A. Vaswani et al., Attention is all you need (2017), https://arxiv.org/abs/1706.03762.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.precision import without_autocast


class MultiHeadAttention(nn.Module):
    """`Softmax(Q K^T / sqrt(d)) V` in every head, then a linear map.

    Args:
        embed_dim: Size E of a token.
        num_heads: Number of heads; the size of a head must be a multiple of 16, others run several times slower.

    Shape:
        (B, T, E) to (B, T, E).

    Raises:
        UserError: Head size not a multiple of 16.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        if embed_dim % (16 * num_heads):
            raise UserError(
                f"An attention of {embed_dim} dimensions and {num_heads} heads has a head size that is no multiple of "
                f"16; use {16 * num_heads} dimensions or a multiple of it."
            )
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(embed_dim, 3 * embed_dim)
        self.output = nn.Linear(embed_dim, embed_dim)

    def heads(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, T, E / heads)."""
        batch, count, _ = tokens.shape
        split = self.query_key_value(tokens).view(batch, count, 3, self.num_heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        return query, key, value

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.heads(tokens)
        if tokens.device.type == "cpu":
            # For a few hundred tokens PyTorch's bf16 kernel on the CPU takes two to five times as long as float32.
            with without_autocast(tokens.device):
                attended = F.scaled_dot_product_attention(query.float(), key.float(), value.float()).to(query.dtype)
        else:
            attended = F.scaled_dot_product_attention(query, key, value)
        return self.output(attended.transpose(1, 2).flatten(2))

    def weights(self, tokens: Tensor) -> Tensor:
        """The softmax itself, for explanation.

        Args:
            tokens: (B, T, E).

        Returns:
            (B, heads, T, T); every row sums to one.
        """
        query, key, _ = self.heads(tokens)
        scale = query.shape[-1] ** -0.5
        return (query.float() @ key.float().transpose(-1, -2) * scale).softmax(-1)
