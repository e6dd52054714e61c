"""Pre-norm transformer encoder block.

Papers: A. Vaswani et al., Attention is all you need (2017), https://arxiv.org/abs/1706.03762; normalisation before each
branch: R. Xiong et al., On layer normalization in the transformer architecture (2020), https://arxiv.org/abs/2002.04745.
"""

from __future__ import annotations

from torch import Tensor, nn

from fer_lightning.layers.attention import MultiHeadAttention


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
