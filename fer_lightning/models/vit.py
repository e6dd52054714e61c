"""Vision Transformer for small faces.

Paper: A. Dosovitskiy et al., An image is worth 16x16 words: transformers for image recognition at scale (2021),
https://arxiv.org/abs/2010.11929.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.transformer import TransformerBlock
from fer_lightning.models.architecture import Architecture


class ViT(Architecture):
    """Transformer over patches and a class token with learned positions (section 3.1, eqs 1-4).

    Args:
        num_classes: Number K of classes.
        in_channels: Channels C of the image.
        image_size: Height and width N of the image in pixels.
        patch_size: Height and width P of a patch in pixels.
        embed_dim: Size D of a token and of the embedding.
        depth: Number of blocks.
        num_heads: Heads of each block; D / heads must be a multiple of 16.
        mlp_ratio: Hidden size of the MLPs in multiples of D.
        block_dropout: Dropout rate inside the blocks and after the positions.
        dropout: Dropout rate before the classifier.

    Shape:
        | stage                                     | equation | shape                                      |
        |-------------------------------------------|----------|--------------------------------------------|
        | image                                     |          | (B, C, N, N)                               |
        | patches, each mapped to D dimensions      | 1        | (B, D, g, g) with g = N / P, rounded up    |
        | tokens, the class token first, positions  | 1        | (B, 1 + g * g, D)                          |
        | blocks                                    | 2, 3     | (B, 1 + g * g, D)                          |
        | class token, layer norm (embedding)       | 4        | (B, D)                                     |
        | dropout, linear                           |          | (B, K) logits                              |

    Readings:
        The baseline of PsySFA-Net's Table 10 is named "Vision Transformer (ViT) Model" without a reference. Its related
        work cites ViTFER (Chaudhari et al. 2022) for a ViT. This is the ViT of the paper above, not ViTFER.

        - The paper's nets (86 million parameters and more, pre-trained, patches of 14 to 32 pixels of 224) do not fit
          48 pixels and training from scratch. Size, depth, heads and patch are options; the defaults are ours.
        - An image size that is not a multiple of the patch size: the image is padded with zeros.
        - Classifier: one linear layer, as the paper does for fine-tuning; its MLP head is for pre-training.
        - Weights start as PyTorch's layers do; the class token and the positions are normal with deviation 0.02.
        - Dropout before the classifier is not in the paper.
        - timm's `VisionTransformer` computes the same; here the attention is one that is fast under bf16 on CPUs.

    Raises:
        UserError: The image is smaller than a patch, or the head size is not a multiple of 16.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 1,
        image_size: int = 48,
        patch_size: int = 6,
        embed_dim: int = 128,
        depth: int = 6,
        num_heads: int = 4,
        mlp_ratio: float = 2.0,
        block_dropout: float = 0.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if image_size < patch_size:
            raise UserError(f"model.patch_size must be at most data.image_size={image_size}; got {patch_size}.")
        self.embed_dim = embed_dim
        self.grid = -(-image_size // patch_size)
        missing = self.grid * patch_size - image_size
        # Half of the missing pixels at each border; where their number is odd, the convolution ignores the last one.
        self.patches = nn.Conv2d(in_channels, embed_dim, patch_size, patch_size, padding=(missing + 1) // 2)
        self.class_token = nn.Parameter(0.02 * torch.randn(embed_dim))
        self.position = nn.Parameter(0.02 * torch.randn(1 + self.grid**2, embed_dim))
        self.position_dropout = nn.Dropout(block_dropout)
        self.blocks = nn.Sequential(
            *(TransformerBlock(embed_dim, num_heads, mlp_ratio, block_dropout) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(embed_dim, num_classes)

    @property
    def gradcam_layer(self) -> nn.Module:
        """Module whose output (B, 1 + g * g, D) Grad-CAM weighs: the last input of the class token's attention."""
        return self.blocks[-1].get_submodule("attention_norm")

    @property
    def gradcam_tokens(self) -> tuple[int, int, int]:
        """Number of tokens before the patches, and rows and columns of the grid of patches."""
        return 1, self.grid, self.grid

    @property
    def feature_stages(self) -> dict[str, nn.Module]:
        """Modules whose outputs are shown as feature maps, by name, in the order of computation."""
        blocks = {f"block {number}": block for number, block in enumerate(self.blocks, start=1)}
        return {"patches": self.patches, **blocks}

    def tokens(self, image: Tensor) -> Tensor:
        """Input (B, 1 + g * g, D) of the blocks (eq. 1): the class token, then the patches row by row."""
        patches = self.patches(image).flatten(2).transpose(1, 2)
        first = self.class_token.to(patches.dtype).expand(image.shape[0], 1, -1)
        return self.position_dropout(torch.cat([first, patches], 1) + self.position)

    def forward_features(self, image: Tensor) -> Tensor:
        """Embedding (B, D) of images (B, C, N, N)."""
        return self.norm(self.blocks(self.tokens(image))[:, 0])
