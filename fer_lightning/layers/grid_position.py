"""Where a token lies on the grid it was cut from.

Papers: A. Vaswani et al., Attention is all you need (2017), section 3.5, https://arxiv.org/abs/1706.03762, for the
sinusoids; A. Dosovitskiy et al., An image is worth 16x16 words (2021), https://arxiv.org/abs/2010.11929, for the
learned ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer_lightning.errors import UserError

POSITIONS = ("none", "learned", "sinusoidal")


def sinusoidal_grid(height: int, width: int, embed_dim: int) -> Tensor:
    """Sines and cosines of the row in the first half of the dimensions, of the column in the second half.

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
    """Adds to every token of a grid what tells its place.

    Args:
        kind: `"none"` adds nothing, `"learned"` a parameter for each cell, `"sinusoidal"` see `sinusoidal_grid`.
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
            raise UserError(f"model.position is {kind!r}; use one of {', '.join(POSITIONS)}.")
        super().__init__()
        if kind == "learned":
            self.position: Tensor | None = nn.Parameter(0.02 * torch.randn(height * width, embed_dim))
        elif kind == "sinusoidal":
            self.register_buffer("position", sinusoidal_grid(height, width, embed_dim), persistent=False)
        else:
            self.position = None

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens if self.position is None else tokens + self.position
