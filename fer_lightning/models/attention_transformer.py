"""Attention-based transformer: a convolutional stem, followed by attention among local and global features.

Papers: the baseline is a row of PsySFA-Net's Tables 10-12 (IIETA 2026), which names no source. The blocks are those of
A. Dosovitskiy et al., An image is worth 16x16 words (2021), section 3.1, whose "hybrid architecture" has a CNN as stem,
https://arxiv.org/abs/2010.11929.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.layers.cnn_block import CNNBlock, check_poolings
from fer_lightning.layers.transformer import TransformerBlock
from fer_lightning.models.architecture import Architecture


class AttentionTransformer(Architecture):
    """Transformer over local tokens (cells of a CNN map) and global tokens (averages of large regions of it).

    Args:
        num_classes: Number K of classes.
        in_channels: Channels C of the image.
        image_size: Height and width N of the image in pixels.
        widths: Channels of the stages of the stem; each of the t stages ends with max pooling.
        depths: Convolutions of each stage.
        stride: Stride s of the first convolution.
        normalization: Normalisation of the stem, `batch` or `none`.
        local_grid: Rows and columns g of the grid of local tokens, to which the map is averaged.
        global_grids: Rows and columns of the grids of global tokens: 1 is the whole map, 2 its quarters; [] is none.
        embed_dim: Size D of a token and of the embedding.
        depth: Number of transformer blocks.
        num_heads: Heads of each block; D / heads must be a multiple of 16.
        mlp_ratio: Hidden size of the MLPs in multiples of D.
        block_dropout: Dropout rate inside the blocks.
        dropout: Dropout rate before the classifier.

    Shape:
        | stage                                       | shape                                             |
        |---------------------------------------------|---------------------------------------------------|
        | image                                       | (B, C, N, N)                                      |
        | stem of t stages                            | (B, widths[-1], N / (s * 2**t), the same)         |
        | local tokens                                | (B, g * g, D)                                     |
        | global tokens                               | (B, G, D), G the sum of the squares of the grids  |
        | class, global and local tokens, positions   | (B, 1 + G + g * g, D)                             |
        | transformer blocks                          | (B, 1 + G + g * g, D)                             |
        | class token, layer norm (embedding)         | (B, D)                                            |
        | dropout, linear                             | (B, K) logits                                     |

    Readings:
        The baseline "Attention-based Transformer" cannot be traced to one paper. The related work of PsySFA-Net calls
        reference 20 (Guo and Xu 2026) an "attention mechanism-based transformer model"; by its title, STAR-Former, that
        one is for videos. It calls reference 21 a "Global-Local Feature Fusion Transformer"; that title, GFFT (Xu et
        al. 2023), is reference 16 of its bibliography. This net is neither. It is the plain form of the idea:
        convolutions for local structure, and attention among features of both scales.

        - Local tokens are the cells of the stem's last map, averaged to `local_grid` where it is larger or smaller.
        - Global tokens are averages of the same map over the whole and over its quarters. Local and global tokens have
          separate linear layers, because averages have a different variance.
        - Both kinds and the class token attend to each other in every block; nothing else fuses them.
        - Every token has a learned position, which also encodes its kind.
        - Stem, sizes and dropout are options with our defaults.

    Raises:
        UserError: `widths` and `depths` differ in length, the image is too small for the stem, or the head size is not
            a multiple of 16.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 1,
        image_size: int = 48,
        widths: Sequence[int] = (48, 96),
        depths: Sequence[int] = (1, 2),
        stride: int = 2,
        normalization: str = "batch",
        local_grid: int = 6,
        global_grids: Sequence[int] = (1, 2),
        embed_dim: int = 128,
        depth: int = 4,
        num_heads: int = 4,
        mlp_ratio: float = 2.0,
        block_dropout: float = 0.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_poolings(image_size, len(widths), stride)
        self.embed_dim = embed_dim
        self.local_grid = local_grid
        self.global_grids = tuple(global_grids)
        self.num_global = sum(grid**2 for grid in self.global_grids)
        self.stem = CNNBlock(in_channels, widths, depths, stride=stride, normalization=normalization)
        self.to_local = nn.Linear(widths[-1], embed_dim)
        # Unused without global tokens, and parameters without a gradient make DDP fail.
        self.to_global = nn.Linear(widths[-1], embed_dim) if self.global_grids else nn.Identity()
        self.class_token = nn.Parameter(0.02 * torch.randn(embed_dim))
        self.position = nn.Parameter(0.02 * torch.randn(1 + self.num_global + local_grid**2, embed_dim))
        self.blocks = nn.Sequential(
            *(TransformerBlock(embed_dim, num_heads, mlp_ratio, block_dropout) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(embed_dim, num_classes)

    @property
    def gradcam_layer(self) -> nn.Module:
        """Module whose output (B, 1 + G + g * g, D) Grad-CAM weighs: the last input of the class token's attention."""
        return self.blocks[-1].get_submodule("attention_norm")

    @property
    def gradcam_tokens(self) -> tuple[int, int, int]:
        """Number of tokens before the local ones (class and global), and rows and columns of the local grid."""
        return 1 + self.num_global, self.local_grid, self.local_grid

    @property
    def feature_stages(self) -> dict[str, nn.Module]:
        """Modules whose outputs are shown as feature maps, by name, in the order of computation."""
        blocks = {f"block {number}": block for number, block in enumerate(self.blocks, start=1)}
        return {"stem": self.stem, **blocks}

    def tokens(self, image: Tensor) -> Tensor:
        """Input (B, 1 + G + g * g, D) of the blocks: class token, global tokens grid by grid, and local tokens."""
        features = self.stem(image)
        local = self.to_local(_cells(features, self.local_grid))
        first = self.class_token.to(local.dtype).expand(image.shape[0], 1, -1)
        regions = [self.to_global(_cells(features, grid)) for grid in self.global_grids]
        return torch.cat([first, *regions, local], 1) + self.position

    def forward_features(self, image: Tensor) -> Tensor:
        """Embedding (B, D) of images (B, C, N, N)."""
        return self.norm(self.blocks(self.tokens(image))[:, 0])


def _cells(features: Tensor, grid: int) -> Tensor:
    """Averages of a map (B, F, h, w) over a grid: (B, grid * grid, F), row by row."""
    return F.adaptive_avg_pool2d(features, grid).flatten(2).transpose(1, 2)
