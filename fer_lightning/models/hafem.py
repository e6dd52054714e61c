"""HAFEM: a convolutional backbone, CBAM, and a light transformer over the cells of its feature map.

Paper: D. Chatterjee, HAFEM: Hybrid attention-driven facial expression mapping (2026),
https://doi.org/10.55529/jaimlnn.61.64.74, of which only the abstract was available.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.cbam import CBAM
from fer_lightning.layers.transformer import GridPosition, TransformerBlock
from fer_lightning.models.architecture import Architecture
from fer_lightning.models.backbone import build_network, feature_map, map_modules, normalisation


class HAFEM(Architecture):
    """Backbone, CBAM, projection, transformer, classifier.

    Args:
        num_classes: Number K of classes.
        in_channels: Channels C of the image.
        image_size: Height and width N of the image in pixels.
        backbone: Name of a timm network.
        stem_stride: Stride of the backbone's first convolution, see `build_network`; None leaves it as published.
        pretrained: `none`, `imagenet` or the path of a file, see `pretrained_overlay`.
        stage: Index of the backbone's feature map that the attention uses, see `feature_map`; -1 is the last.
        cbam: Use CBAM.
        cbam_reduction: Reduction of its channel attention.
        cbam_kernel: Kernel size of its spatial attention.
        transformer: Use the transformer.
        max_grid: Maximum height and width of the token grid; a larger feature map is averaged to it.
        embed_dim: Size D of a token and of the embedding.
        num_layers: Transformer blocks.
        num_heads: Heads of their attention; D / heads must be a multiple of 16.
        mlp_ratio: Hidden size of their MLP in multiples of D.
        position: Position of the tokens, `none|learned|sinusoidal`.
        transformer_dropout: Dropout rate of the transformer's branches.
        dropout: Dropout rate before the classifier.

    Shape:
        | stage                            | shape                                        |
        |----------------------------------|----------------------------------------------|
        | image                            | (B, C, N, N)                                 |
        | feature map of the backbone      | (B, F, h, w); EfficientNet-B5: F = 512, N/32 |
        | CBAM                             | unchanged                                    |
        | average to at most `max_grid`    | (B, F, g, g)                                 |
        | 1x1 projection                   | (B, D, g, g)                                 |
        | tokens, with their position      | (B, g * g, D)                                |
        | transformer, layer normalisation | unchanged                                    |
        | average of the tokens (embedding)| (B, D)                                       |
        | dropout, linear                  | (B, K) logits                                |

    Readings:
        The abstract names an EfficientNet-B5 backbone, "a lightweight multi-head self-attention Transformer block" and
        CBAM, in this order, and gives no sizes and no connections. All that follows is the choice of this project.

        - The parts are applied in sequence: CBAM weighs channels and places of the convolutional map, then the
          transformer relates the places. CBAM could as well be inside the backbone's blocks, as in its own paper; here
          the published backbone is unchanged, so that pretrained weights fit.
        - Which map: the last one (`stage`), with stride 32 for EfficientNet; `hafem_lite` takes the one before it,
          because the last map of a 48-pixel image has 2 x 2 cells. The 1x1 convolution that EfficientNet appends to its
          last map (512 to 2048 channels in B5) is replaced by the projection to D.
        - Projection, width, layers, heads, MLP, dropout and position of the transformer: all options. Its blocks
          normalise before each branch. `transformer=false` omits blocks, position and last normalisation, and the
          embedding is the average of the projected map; `cbam=false` omits CBAM. The projection stays.
        - The embedding is the average of the tokens; there is no class token.
        - Large images: the map is averaged to `max_grid` x `max_grid`, which bounds the cost of the attention.
        - Image size: not in the abstract. EfficientNet-B5 was published for 456 pixels.
        - Small faces: `stem_stride` (see `build_network`) keeps a higher resolution of 48-pixel images.

    Raises:
        UserError: `max_grid` below 1; see also `build_network`, `feature_map`, `MultiHeadAttention` and `GridPosition`.

    Example:
        >>> import torch
        >>> net = HAFEM(num_classes=7, backbone="tf_efficientnet_lite0", stage=3, embed_dim=128, image_size=96)
        >>> net.forward_features(torch.zeros(2, 1, 96, 96)).shape
        torch.Size([2, 128])
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 1,
        image_size: int = 48,
        backbone: str = "efficientnet_b5",
        stem_stride: int | None = None,
        pretrained: str = "none",
        stage: int = -1,
        cbam: bool = True,
        cbam_reduction: int = 16,
        cbam_kernel: int = 7,
        transformer: bool = True,
        max_grid: int = 7,
        embed_dim: int = 256,
        num_layers: int = 1,
        num_heads: int = 4,
        mlp_ratio: float = 2,
        position: str = "learned",
        transformer_dropout: float = 0.1,
        dropout: float = 0.4,
    ) -> None:
        if max_grid < 1:
            raise UserError(f"model.max_grid must be at least 1; got {max_grid}.")
        super().__init__()
        network = build_network(
            backbone, in_channels=in_channels, image_size=image_size, stem_stride=stem_stride, pretrained=pretrained
        )
        self.normalisation = None if pretrained == "none" else normalisation(network, in_channels)
        self.stage = stage
        self.backbone, (channels, height, width) = feature_map(
            network, backbone, in_channels=in_channels, image_size=image_size, stage=stage
        )
        self.grid = (min(height, max_grid), min(width, max_grid))
        self.cbam = CBAM(channels, cbam_reduction, cbam_kernel) if cbam else nn.Identity()
        self.projection = nn.Conv2d(channels, embed_dim, 1)
        if transformer:
            self.transformer = nn.Sequential(
                GridPosition(position, embed_dim, *self.grid),
                *(TransformerBlock(embed_dim, num_heads, mlp_ratio, transformer_dropout) for _ in range(num_layers)),
                nn.LayerNorm(embed_dim),
            )
        else:
            self.transformer = nn.Sequential()
        self.embed_dim = embed_dim
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(embed_dim, num_classes)

    @property
    def gradcam_layer(self) -> nn.Module:
        """Module whose output (B, F', h', w') Grad-CAM weighs: the backbone's second to last map.

        The transformer mixes the few cells of the last map: on 40 validation faces of FER2013 (72 pixels), maps of the
        projection were worse than the same maps at random places (deletion 0.420 against 0.355, insertion 0.345 against
        0.394), those of this layer better (0.280 against 0.376, 0.445 against 0.351). Without such a map it is the
        projection (B, D, g, g).
        """
        maps = map_modules(self.backbone, self.stage)
        return maps[-2] if len(maps) > 1 else self.projection

    @property
    def feature_stages(self) -> dict[str, nn.Module]:
        """Modules whose outputs are shown as feature maps, by name, in the order of computation."""
        maps = map_modules(self.backbone, self.stage)
        stages = {f"backbone {number}": module for number, module in enumerate(maps, start=1)}
        return {**stages, "CBAM": self.cbam, "projection": self.projection}

    def forward_features(self, image: Tensor) -> Tensor:
        """Embedding (B, D) of images (B, C, N, N)."""
        (features,) = self.backbone(image)
        features = self.cbam(features)
        # Averaging and a 1x1 projection commute; this order is cheaper.
        features = self.projection(F.adaptive_avg_pool2d(features, self.grid))
        return self.transformer(features.flatten(2).transpose(1, 2)).mean(1)
