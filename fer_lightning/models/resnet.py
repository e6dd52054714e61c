"""ResNet for small faces: timm's residual stages behind a stem that keeps the resolution of small images.

Papers: K. He et al., Deep residual learning for image recognition (2016), https://arxiv.org/abs/1512.03385; the stem of
three 3x3 convolutions is that of T. He et al., Bag of tricks (2019), https://arxiv.org/abs/1812.01187.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from timm.models.resnet import BasicBlock
from timm.models.resnet import ResNet as TimmResNet
from torch import Tensor, nn

from fer_lightning.models.architecture import Architecture


class ResNet(Architecture):
    """Residual network of basic blocks without the max pooling after the stem.

    Args:
        num_classes: Number K of classes.
        in_channels: Channels C of the image.
        widths: Channels of the four residual stages, of which the first three must be 8 or more where a network is
            trained on a processor with AVX2 but not AVX-512: for fewer, oneDNN writes past its memory in the gradient
            of a strided 1x1 convolution, https://github.com/uxlfoundation/oneDNN/issues/6035
        depths: Basic blocks of the four stages.
        stem_stride: Stride s of the first convolution: 1 or 2 for 48 pixels, 2 or 4 from 112 pixels on.
        dropout: Dropout rate before the classifier.

    Shape:
        | stage                        | shape                                       |
        |------------------------------|---------------------------------------------|
        | image                        | (B, C, H, W)                                |
        | stem, three 3x3 convolutions | (B, widths[0], H / s, W / s)                |
        | stage 1                      | (B, widths[0], H / s, W / s)                |
        | stages 2 to 4                | halved each time, (B, widths[3], H / 8s, W / 8s) |
        | global average (embedding)   | (B, D) with D = widths[3]                   |
        | dropout, linear              | (B, K) logits                               |

    Readings:
        The paper's stem (7x7 with stride 2, then pooling by 2) reduces a 48 x 48 face to 12 x 12. Here it is three 3x3
        convolutions, the first with `stem_stride`, and no pooling.

    Example:
        >>> import torch
        >>> net = ResNet(num_classes=7)
        >>> net(torch.zeros(2, 1, 48, 48)).shape
        torch.Size([2, 7])
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 1,
        widths: Sequence[int] = (32, 64, 128, 256),
        depths: Sequence[int] = (1, 1, 1, 1),
        stem_stride: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.backbone = TimmResNet(
            BasicBlock,  # type: ignore[arg-type]  # timm annotates an instance and takes the class
            tuple(depths),
            num_classes=0,
            in_chans=in_channels,
            stem_type="deep",
            stem_width=widths[0] // 2,
            channels=tuple(widths),
        )
        first = cast(nn.Conv2d, self.backbone.conv1[0])
        first.stride = (stem_stride, stem_stride)
        self.backbone.add_module("maxpool", nn.Identity())
        self.embed_dim = widths[-1]
        self.dropout = dropout
        self.classify = nn.Linear(widths[-1], num_classes)

    @property
    def gradcam_layer(self) -> nn.Module:
        """Module whose output (B, D, h, w) Grad-CAM weighs: the last residual stage."""
        return self.backbone.get_submodule("layer4")

    def forward_features(self, image: Tensor) -> Tensor:
        """Embedding (B, D) of images (B, C, H, W)."""
        return self.backbone(image)

    def forward_head(self, features: Tensor) -> Tensor:
        """Logits (B, K) of embeddings (B, D)."""
        return self.classify(F.dropout(features, self.dropout, self.training))
