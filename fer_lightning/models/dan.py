"""DAN: several attention heads, each of spatial attention followed by channel attention.

Paper: Z. Wen et al., Distract your attention: multi-head cross attention network for facial expression recognition
(2021), https://arxiv.org/abs/2109.07270.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.models.architecture import Architecture
from fer_lightning.models.resnet import ResNet


class SpatialUnit(nn.Module):
    """Spatial attention from the sum of a 3x3, a 1x3 and a 3x1 convolution.

    Args:
        channels: Channels C of the map; a 1x1 convolution halves them first.

    Shape:
        (B, C, h, w) to (B, C, h, w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = nn.Sequential(nn.Conv2d(channels, half, 1), nn.BatchNorm2d(half))
        self.square, self.row, self.column = (
            nn.Sequential(
                nn.Conv2d(half, channels, kernel, padding=(kernel[0] // 2, kernel[1] // 2)), nn.BatchNorm2d(channels)
            )
            for kernel in ((3, 3), (1, 3), (3, 1))
        )

    def weights(self, features: Tensor) -> Tensor:
        """Non-negative spatial weights (B, 1, h, w) of maps (B, C, h, w)."""
        reduced = self.reduce(features)
        return F.relu(self.square(reduced) + self.row(reduced) + self.column(reduced)).sum(1, keepdim=True)

    def forward(self, features: Tensor) -> Tensor:
        return features * self.weights(features)


class ChannelUnit(nn.Module):
    """Global average of a map, with channel attention from a bottleneck of two linear layers.

    Args:
        channels: Channels C of the map.
        hidden: Size of the bottleneck.

    Shape:
        (B, C, h, w) to (B, C).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        pooled = features.mean((2, 3))
        return pooled * self.gate(pooled)


class DAN(Architecture):
    """Feature clustering network, multi-head cross attention and attention fusion (section 3).

    Args:
        num_classes: Number K of classes.
        in_channels: Channels C of the image.
        widths: Channels of the four residual stages; the last is the size D of the embedding.
        depths: Basic blocks of the four stages.
        stem_stride: Stride s of the first convolution, see `ResNet`.
        num_heads: Number M of attention heads.
        channel_hidden: Size of the bottleneck of the channel units.
        dropout: Dropout rate before the classifier.

    Shape:
        | stage                                       | shape                              |
        |---------------------------------------------|------------------------------------|
        | image                                       | (B, C, H, W)                       |
        | feature clustering network                  | (B, D, H / 8s, W / 8s)             |
        | each head: spatial unit                     | (B, D, H / 8s, W / 8s)             |
        | each head: channel unit                     | (B, D)                             |
        | log-softmax over the heads                  | (B, M, D)                          |
        | their sum (the embedding)                   | (B, D)                             |
        | dropout, linear, batch normalisation        | (B, K) logits                      |

    Readings:
        Structure of the heads and of the fusion as in the code published with the paper, https://github.com/yaoing/DAN.

        - The paper's backbone is a ResNet-18 for 224 pixels, pre-trained on faces. Here it is the `ResNet` of this
          package, narrow, with one block a stage and from scratch; at 48 pixels with `stem_stride=1` its map has 6 x 6
          places, close to the paper's 7 x 7.
        - The paper trains with cross-entropy, affinity loss (embeddings of a class move to a center, centers apart) and
          partition loss (variance among the heads). Only the classification loss of the run is used here: the other
          two need the backbone's map and the single heads, which `forward` does not return. So "DAN" in a table is its
          architecture, and only their random initialisation makes the heads differ.
        - With one head there is nothing to fuse: its features are the embedding.
        - Dropout before the classifier is not in the paper; 0 disables it.
        - Batch normalisation needs two images or more in a training batch.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128),
        depths: Sequence[int] = (1, 1, 1, 1),
        stem_stride: int = 1,
        num_heads: int = 4,
        channel_hidden: int = 32,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.embed_dim = widths[-1]
        self.backbone = ResNet(
            num_classes=num_classes,
            in_channels=in_channels,
            widths=widths,
            depths=depths,
            stem_stride=stem_stride,
            dropout=0.0,
        ).backbone
        self.heads = nn.ModuleList(
            nn.Sequential(SpatialUnit(self.embed_dim), ChannelUnit(self.embed_dim, channel_hidden))
            for _ in range(num_heads)
        )
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(self.embed_dim, num_classes)
        self.norm = nn.BatchNorm1d(num_classes)

    @property
    def gradcam_layer(self) -> nn.Module:
        """Module whose output (B, D, h, w) Grad-CAM weighs: the last residual stage, before the heads."""
        return self.backbone.get_submodule("layer4")

    def spatial_attention(self, image: Tensor) -> Tensor:
        """Spatial attention (B, M, h, w) of each head for images (B, C, H, W), not normalised, for explanation."""
        features = self.backbone.forward_features(image)
        return torch.cat([cast(SpatialUnit, head.get_submodule("0")).weights(features) for head in self.heads], 1)

    def forward_features(self, image: Tensor) -> Tensor:
        """Embedding (B, D) of images (B, C, H, W)."""
        features = self.backbone.forward_features(image)
        seen = torch.stack([head(features) for head in self.heads], 1)
        # Embeddings of an untrained net differ by less than the resolution of bf16.
        return seen[:, 0] if len(self.heads) == 1 else F.log_softmax(seen.float(), 1).sum(1)

    def forward_head(self, features: Tensor) -> Tensor:
        """Logits (B, K) of embeddings (B, D)."""
        return self.norm(self.classify(self.dropout(features)))
