"""Pre-norm transformer encoder block, multi-head self-attention (eq. 6 of PsySFA-Net) and positions on a grid.

Papers: A. Vaswani et al., Attention is all you need (2017), https://arxiv.org/abs/1706.03762, for the attention and the
sinusoids of section 3.5; normalisation before each branch: R. Xiong et al., On layer normalization in the transformer
architecture (2020), https://arxiv.org/abs/2002.04745; learned positions: A. Dosovitskiy et al., An image is worth 16x16
words (2021), https://arxiv.org/abs/2010.11929.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.precision import without_autocast

POSITIONS = ("none", "learned", "sinusoidal")


class TransformerBlock(nn.Module):
    """`x + Attention(Norm(x))`, then `x + MLP(Norm(x))` with GELU inside the MLP.

    Args:
        embed_dim: Size D of a token.
        num_heads: Number of heads; D / heads must be a multiple of 16.
        mlp_ratio: Hidden size of the MLP in multiples of D.
        dropout: Dropout rate of both branches before they are added.

    Shape:
        (B, T, D) to (B, T, D).
    """

    def __init__(self, embed_dim: int, num_heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        hidden = int(embed_dim * mlp_ratio)
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.attention = MultiHeadAttention(embed_dim, num_heads)
        self.mlp_norm = nn.LayerNorm(embed_dim)
        self.mlp = nn.Sequential(nn.Linear(embed_dim, hidden), nn.GELU(), nn.Linear(hidden, embed_dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens)))
        return tokens + self.dropout(self.mlp(self.mlp_norm(tokens)))


class MultiHeadAttention(nn.Module):
    """Multi-head self-attention: `Softmax(Q K^T / sqrt(d)) V` in every head, then a linear map.

    Args:
        embed_dim: Size E of a token.
        num_heads: Number of heads; the head size must be a multiple of 16, since other sizes run several times slower.

    Shape:
        (B, T, E) to (B, T, E).

    Raises:
        UserError: The head size is not a multiple of 16.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        if embed_dim % (16 * num_heads):
            raise UserError(
                f"The embedding size of an attention with {num_heads} heads must be a multiple of {16 * num_heads}; "
                f"got {embed_dim}."
            )
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(embed_dim, 3 * embed_dim)
        self.output = nn.Linear(embed_dim, embed_dim)

    def heads(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, T, E / heads)."""
        # One transposition of all heads: every node of an ONNX graph costs as much as the product of nine tokens.
        heads = self.query_key_value(tokens).unflatten(-1, (3 * self.num_heads, -1)).transpose(1, 2)
        query, key, value = heads.chunk(3, dim=1)
        return query, key, value

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.heads(tokens)
        if torch.compiler.is_exporting():
            # In ONNX a third of the nodes of scaled_dot_product_attention, which for nine tokens are its cost.
            attended = self._softmax(query, key) @ value
        elif tokens.device.type == "cpu":
            # For a few hundred tokens PyTorch's bf16 kernel on the CPU takes two to five times as long as float32.
            with without_autocast(tokens.device):
                attended = F.scaled_dot_product_attention(query.float(), key.float(), value.float()).to(query.dtype)
        else:
            attended = F.scaled_dot_product_attention(query, key, value)
        return self.output(attended.transpose(1, 2).flatten(2))

    def weights(self, tokens: Tensor) -> Tensor:
        """Attention weights (B, heads, T, T) of tokens (B, T, E), for explanation; every row sums to one."""
        query, key, _ = self.heads(tokens)
        return self._softmax(query.float(), key.float())

    def _softmax(self, query: Tensor, key: Tensor) -> Tensor:
        return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)


def sinusoidal_grid(height: int, width: int, embed_dim: int) -> Tensor:
    """Sinusoidal positions on a grid: the row in the first half of the dimensions, the column in the second half.

    Args:
        height: Rows h of the grid.
        width: Columns w of the grid.
        embed_dim: Size D of a token, a multiple of 4.

    Returns:
        (h * w, D), row by row; each half holds D / 4 sines, then the D / 4 cosines of the same frequencies.
    """
    frequency = 10000 ** (-torch.arange(embed_dim // 4) / (embed_dim // 4))
    row = torch.arange(height).repeat_interleave(width)[:, None] * frequency
    column = torch.arange(width).repeat(height)[:, None] * frequency
    return torch.cat([row.sin(), row.cos(), column.sin(), column.cos()], 1)


class GridPosition(nn.Module):
    """Position embedding of the tokens of a grid.

    Args:
        kind: `"none"`, `"learned"` (one parameter vector a cell) or `"sinusoidal"` (see `sinusoidal_grid`).
        embed_dim: Size D of a token.
        height: Rows h of the grid.
        width: Columns w of the grid.

    Shape:
        (B, h * w, D), row by row, to the same.

    Raises:
        UserError: Unknown `kind`.
    """

    def __init__(self, kind: str, embed_dim: int, height: int, width: int) -> None:
        if kind not in POSITIONS:
            raise UserError(f"model.position must be one of {', '.join(POSITIONS)}; got {kind!r}.")
        super().__init__()
        if kind == "learned":
            self.position: Tensor | None = nn.Parameter(0.02 * torch.randn(height * width, embed_dim))
        elif kind == "sinusoidal":
            self.register_buffer("position", sinusoidal_grid(height, width, embed_dim), persistent=False)
        else:
            self.position = None

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens if self.position is None else tokens + self.position
