"""Any timm network with the dropout and linear classifier of the other models.

Library: R. Wightman, PyTorch image models, https://github.com/huggingface/pytorch-image-models; each network's paper is
named in its timm source.
"""

from __future__ import annotations

import math
from typing import Any, cast

from timm.models.vgg import VGG
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.models.architecture import Architecture
from fer_lightning.models.backbone import build_network, normalisation, probed


class TimmNet(Architecture):
    """A timm network whose classifier is replaced by dropout and a linear layer.

    Args:
        num_classes: Number K of classes.
        in_channels: Channels C of the image.
        image_size: Height and width N of the image in pixels.
        name: Name of the timm network.
        stem_stride: Stride of its first convolution, see `build_network`; None leaves it as published.
        pretrained: `none`, `imagenet` or the path of a file, see `pretrained_overlay`.
        dropout: Dropout rate before the classifier.

    Shape:
        | stage                               | shape                                          |
        |-------------------------------------|------------------------------------------------|
        | image                               | (B, C, N, N)                                   |
        | last map, or tokens with P prefixes | (B, F, h, w), or (B, P + h * w, F)             |
        | timm's own pooling (embedding)      | (B, D), for most networks D = F                |
        | dropout, linear                     | (B, K) logits                                  |

    Readings:
        - The networks were published for 224 pixels or more. `stem_stride` alone is changed for small faces.
        - VGG's two hidden layers of 4096 units expect a map of 7 x 7 and hold nine tenths of its parameters. Where the
          last map is smaller (48 pixels leave one cell), they are left out and the map is averaged.

    Raises:
        UserError: The network returns neither a map nor tokens; see also `build_network`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 1,
        image_size: int = 48,
        name: str = "efficientnet_b0",
        stem_stride: int | None = 2,
        pretrained: str = "none",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        network = build_network(
            name, in_channels=in_channels, image_size=image_size, stem_stride=stem_stride, pretrained=pretrained
        )
        self.normalisation = None if pretrained == "none" else normalisation(network, in_channels)
        self.network = cast(Any, network)
        self.network.reset_classifier(0)
        features = probed(network, self.network.forward_features, name, in_channels, image_size)
        if not isinstance(features, Tensor) or features.ndim not in (3, 4):
            raise UserError(f"model.name must be a network that returns a feature map or tokens; got {name}.")
        if isinstance(network, VGG) and features.shape[-1] < 7:
            self.network.pre_logits = nn.Identity()
        self.embed_dim = probed(network, self.network, name, in_channels, image_size).shape[1]
        self._num_tokens = features.shape[1] if features.ndim == 3 else None
        self._channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        self.last_map = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(self.embed_dim, num_classes)

    @property
    def gradcam_layer(self) -> nn.Module:
        """Module whose output Grad-CAM weighs.

        It is the last map (B, F, h, w), or for tokens (B, P + h * w, F) the normalisation before the last attention,
        after which patches no longer reach the class token. Token networks without `blocks` use their last tokens.
        """
        if self._num_tokens is not None and hasattr(self.network, "blocks"):
            return getattr(self.network.blocks[-1], "norm1", self.last_map)
        return self.last_map

    @property
    def gradcam_tokens(self) -> tuple[int, int, int] | None:
        """Number P of prefix tokens, and rows and columns of the square grid of the others; None for a map."""
        if self._num_tokens is None:
            return None
        prefix = getattr(self.network, "num_prefix_tokens", 0)
        side = math.isqrt(self._num_tokens - prefix)
        return prefix, side, side

    def forward_features(self, image: Tensor) -> Tensor:
        """Embedding (B, D) of images (B, C, N, N)."""
        features = self.network.forward_features(image)
        # Hooks of the last map receive channels first, as in every other net.
        if self._channels_last:
            features = self.last_map(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        else:
            features = self.last_map(features)
        return self.network.forward_head(features)
