"""Attentional convolutional network: a spatial transformer followed by a small CNN.

Papers: S. Minaee, M. Minaei, A. Abdolrashidi, Deep-Emotion: facial expression recognition using attentional
convolutional network (2021), https://arxiv.org/abs/1902.01019; its attention is M. Jaderberg et al., Spatial
transformer networks (2015), https://arxiv.org/abs/1506.02025.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.cnn_block import CNNBlock, ConvReLU
from fer_lightning.layers.precision import without_autocast
from fer_lightning.models.architecture import Architecture


class SpatialTransformer(nn.Module):
    """Affine warp of an image, predicted from the image by a small network.

    The localisation network regresses the 2x3 matrix theta; a point (x, y) of the output, in -1..1 along both axes, is
    sampled bilinearly at `theta (x, y, 1)` of the input. It starts as the identity.

    Args:
        in_channels: Channels C of the image.
        widths: Channels of the two convolutions of the localisation network.
        hidden: Units of its first linear layer.
        grid: Height and width of the map that is flattened.
        normalization: `"batch"` or `"none"`, see `ConvReLU`.

    Shape:
        (B, C, H, W) to (B, C, H, W).
    """

    def __init__(self, in_channels: int, widths: Sequence[int], *, hidden: int, grid: int, normalization: str) -> None:
        super().__init__()
        first, second = widths
        self.localize = nn.Sequential(
            ConvReLU(in_channels, first, 7, normalization=normalization, pool=True),
            ConvReLU(first, second, 5, normalization=normalization, pool=True),
            nn.AdaptiveAvgPool2d(grid),
            nn.Flatten(),
            nn.Linear(second * grid**2, hidden),
            nn.ReLU(inplace=True),
        )
        self.regress = nn.Linear(hidden, 6)
        nn.init.zeros_(self.regress.weight)
        with torch.no_grad():
            self.regress.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def theta(self, image: Tensor) -> Tensor:
        """Affine matrices (B, 2, 3) of images (B, C, H, W), always in float32."""
        features = self.localize(image)
        # The eight bits of bf16 would move pixels by a tenth of their size.
        with without_autocast(image.device):
            return self.regress(features.float()).view(-1, 2, 3)

    def forward(self, image: Tensor) -> Tensor:
        theta = self.theta(image)
        with without_autocast(image.device):
            places = F.affine_grid(theta, list(image.shape), align_corners=False)
            return F.grid_sample(image.float(), places, padding_mode="border", align_corners=False)


class AttentionCNN(Architecture):
    """Spatial transformer, four convolutions and two linear layers (Minaee et al., section 3).

    Args:
        num_classes: Number K of classes.
        in_channels: Channels C of the image.
        image_size: Height and width N of the image in pixels.
        localization_widths: Channels of the two convolutions of the localisation network.
        localization_hidden: Units of its first linear layer.
        widths: Channels of the two stages of feature extraction, each of two convolutions and a pooling.
        normalization: `batch`, or `none`.
        head_grid: Height and width g of the map that is flattened, in the classifier and in the localisation network.
        embed_dim: Size D of the embedding, the output of the first linear layer.
        dropout: Dropout rate before the last linear layer.

    Shape:
        | stage                                      | shape                        |
        |--------------------------------------------|------------------------------|
        | image                                      | (B, C, N, N)                 |
        | localisation network, theta                | (B, 2, 3)                    |
        | warped image                               | (B, C, N, N)                 |
        | two convolutions, max pooling              | (B, widths[0], N / 2, N / 2) |
        | two convolutions, max pooling              | (B, widths[1], N / 4, N / 4) |
        | averaged to g x g, flattened               | (B, widths[1] * g * g)       |
        | linear, ReLU (the embedding)               | (B, D)                       |
        | dropout, linear                            | (B, K) logits                |

    Readings:
        The baseline of PsySFA-Net's Table 10 is named "Attention CNN" without a reference. Its bibliography does not
        contain the paper above, but other CNNs with attention (Li et al. 2020; Nan et al. 2022). We chose that paper as
        the best known "attentional convolutional network" for expressions.

        - The paper gives the structure: four convolutions, a max pooling and ReLU after each two, then dropout
          and two linear layers; a localisation network of two convolutions, each with max pooling and ReLU, and two
          linear layers; an affine map. Widths, kernels and units are options or ours (7x7, 5x5 and 3x3).
        - The whole image is warped, before the first convolution.
        - ReLU also stands between the two convolutions of a stage; convolutions have same padding.
        - Batch normalisation after every convolution is ours; `normalization=none` omits it.
        - The maps are averaged to `head_grid` before they are flattened, so that the linear layers do not grow with the
          image.
        - Dropout stands between the two linear layers, as everywhere in this package.
        - Points outside the image take the value of its border.

    Raises:
        UserError: `widths` or `localization_widths` is not of length 2, or the image is smaller than 8 pixels.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 1,
        image_size: int = 48,
        localization_widths: Sequence[int] = (8, 10),
        localization_hidden: int = 32,
        widths: Sequence[int] = (32, 64),
        normalization: str = "batch",
        head_grid: int = 6,
        embed_dim: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        for name, channels in {"widths": widths, "localization_widths": localization_widths}.items():
            if len(channels) != 2:
                raise UserError(f"model.{name} must be the channels of two stages; got {len(channels)} numbers.")
        if image_size < 8:
            raise UserError(f"data.image_size must be at least 8 for two poolings; got {image_size}.")
        self.embed_dim = embed_dim
        self.attend = SpatialTransformer(
            in_channels,
            localization_widths,
            hidden=localization_hidden,
            grid=head_grid,
            normalization=normalization,
        )
        self.cnn = CNNBlock(in_channels, widths, (2, 2), stride=1, normalization=normalization)
        self.head_grid = head_grid
        self.embed = nn.Linear(widths[1] * head_grid**2, embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(embed_dim, num_classes)

    @property
    def gradcam_layer(self) -> nn.Module:
        """Module whose output (B, widths[1], N / 2, N / 2) Grad-CAM weighs; it shows the warped image."""
        return self.cnn.last_map

    def gradcam_in_image(self, maps: Tensor, image: Tensor) -> Tensor:
        """Maps of the warped images, transformed back to the original images.

        Args:
            maps: Maps (B, H, W) of the warped images.
            image: Images (B, C, H, W) before the warp.

        Returns:
            (B, H, W); 0 at places outside the warped image.
        """
        theta = self.attend.theta(image)
        last_row = theta.new_tensor([0.0, 0.0, 1.0]).expand(len(theta), 1, 3)
        # A pseudo-inverse, because a net may learn a warp to a single point.
        inverse = torch.linalg.pinv(torch.cat([theta, last_row], 1))[:, :2]
        places = F.affine_grid(inverse, list(maps[:, None].shape), align_corners=False)
        return F.grid_sample(maps[:, None].float(), places, align_corners=False)[:, 0]

    def forward_features(self, image: Tensor) -> Tensor:
        """Embedding (B, D) of images (B, C, N, N)."""
        features = self.cnn(self.attend(image))
        return F.relu(self.embed(F.adaptive_avg_pool2d(features, self.head_grid).flatten(1)))
