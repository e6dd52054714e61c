"""Two-stage attention: local multi-patch attention, then global self-attention among channels.

Papers: the baseline is a row of PsySFA-Net's Tables 10-12 (IIETA 2026), which gives only the names of its two modules.
The gate of a patch is that of Y. Li et al., Occlusion aware facial expression recognition using CNN with attention
mechanism (2019), https://doi.org/10.1109/TIP.2018.2886767; the attention among channels is that of A. El-Nouby et al.,
XCiT: Cross-covariance image transformers (2021), https://arxiv.org/abs/2106.09681.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.cnn_block import CNNBlock
from fer_lightning.layers.precision import without_autocast
from fer_lightning.models.architecture import Architecture


class LocalMultiPatchAttention(nn.Module):
    """Spatial attention from the weights of overlapping patches.

    Every P x P patch (with stride 1) has the weight `a = sigmoid(w . relu(W mean(patch) + b) + c)`; a place is
    multiplied by the mean weight of the patches that cover it.

    Args:
        channels: Channels C of the map.
        patch_size: Height and width P of a patch in cells of the map.
        hidden: Size of the hidden layer that weighs a patch.

    Shape:
        (B, C, h, w) to (B, C, h, w), with h and w at least P.
    """

    def __init__(self, channels: int, patch_size: int, hidden: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.judge = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1))

    def patch_weights(self, features: Tensor) -> Tensor:
        """Patch weights (B, h - P + 1, w - P + 1) between 0 and 1 of maps (B, C, h, w)."""
        averages = F.avg_pool2d(features, self.patch_size, stride=1).permute(0, 2, 3, 1)
        return self.judge(averages).squeeze(3).sigmoid()

    def place_weights(self, features: Tensor) -> Tensor:
        """Spatial weights (B, 1, h, w) between 0 and 1 of maps (B, C, h, w)."""
        weights = self.patch_weights(features)[:, None].float()
        margin = self.patch_size - 1
        # A place is covered by the patches that start up to P - 1 above and to the left of it.
        spread = F.avg_pool2d(F.pad(weights, [margin] * 4), self.patch_size, stride=1)
        covered = F.avg_pool2d(F.pad(torch.ones_like(weights), [margin] * 4), self.patch_size, stride=1)
        return spread / covered

    def forward(self, features: Tensor) -> Tensor:
        return features * self.place_weights(features).to(features.dtype)


class GlobalChannelAttention(nn.Module):
    """Self-attention with channels as tokens, added to the map: `x + W_o Softmax(q k^T * t) v`.

    A channel is described by its h * w values. Queries, keys and values are 1x1 convolutions; queries and keys are
    scaled to length 1, so the C x C similarities are cosines whatever the size of the map, and t is learned. With
    several heads only the channels of the same head attend to each other.

    Args:
        channels: Channels C of the map.
        num_heads: Number of heads; 1 is the whole C x C attention.

    Shape:
        (B, C, h, w) to (B, C, h, w).

    Raises:
        UserError: `channels` is not a multiple of `num_heads`.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        if channels % num_heads:
            raise UserError(f"model.num_heads must divide {channels}, the last of model.widths; got {num_heads}.")
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.output = nn.Conv2d(channels, channels, 1)

    def _attend(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Attention weights (B, heads, C / heads, C / heads) and attended values (B, C, h, w), both in float32."""
        mixed = self.query_key_value(features).flatten(2).float()
        query, key, value = mixed.unflatten(1, (3, self.num_heads, -1)).unbind(1)
        with without_autocast(features.device):
            similarity = F.normalize(query, dim=3) @ F.normalize(key, dim=3).transpose(2, 3)
            weights = (similarity * self.temperature).softmax(3)
            return weights, (weights @ value).reshape(features.shape)

    def weights(self, features: Tensor) -> Tensor:
        """Attention weights (B, heads, C / heads, C / heads) among channels, for explanation; rows sum to one."""
        return self._attend(features)[0]

    def forward(self, features: Tensor) -> Tensor:
        _, attended = self._attend(features)
        return features + self.output(attended)


class TwoStage(Architecture):
    """CNN with local multi-patch attention and global self-attention among channels.

    Args:
        num_classes: Number K of classes.
        in_channels: Channels C of the image.
        image_size: Height and width N of the image in pixels.
        widths: Channels of the stages of the CNN; each of the t stages ends with max pooling.
        depths: Convolutions of each stage.
        stride: Stride s of the first convolution.
        normalization: Normalisation of the CNN, `batch` or `none`.
        patch_size: Height and width of a patch in cells of the map.
        patch_hidden: Size of the hidden layer that weighs a patch.
        num_heads: Number of heads of the attention among channels.
        head_grid: Height and width g of the map that is flattened.
        embed_dim: Size D of the embedding.
        dropout: Dropout rate before the classifier.

    Shape:
        | stage                              | shape                                             |
        |------------------------------------|---------------------------------------------------|
        | image                              | (B, C, N, N)                                      |
        | CNN of t stages                    | (B, F, h, h), F = widths[-1], h = N / (s * 2**t)  |
        | local multi-patch attention        | (B, F, h, h)                                      |
        | global channel self-attention      | (B, F, h, h)                                      |
        | averaged to g x g, flattened       | (B, F * g * g)                                    |
        | linear, ReLU (the embedding)       | (B, D)                                            |
        | dropout, linear                    | (B, K) logits                                     |

    Readings:
        PsySFA-Net has a "Two-Stage DL Model" in its tables. Its related work ascribes "a two-stage DL model" to Pei et
        al. [19], with "the Local Multi-Patch Attention Module and the Global Self-Attention Channel Module". Reference
        19 of its bibliography (Pei, Chen, Wang 2024) is titled "Multi-scale patch fuzzy decision for face recognition
        with category information". We had neither that text nor another with these two modules: everything but the two
        names is our choice.

        - Stages are the two modules, in sequence in one net that is trained end to end, not two trainings.
        - Patches are cut from the CNN's map, not from the image, overlap, and are all of one size.
        - The weight of a patch is a sigmoid of its content, as in the gate units of Li et al. 2019, so several patches
          can matter at once; overlapping patches share a place by averaging.
        - "Self-attention channel": channels are the tokens, all C x C of them (`num_heads=1`).
        - CNN and head are those of the other nets of this package.

    Raises:
        UserError: `widths` and `depths` differ in length, the map is smaller than a patch, or the number of heads does
            not divide the channels.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 1,
        image_size: int = 48,
        widths: Sequence[int] = (64, 128),
        depths: Sequence[int] = (1, 2),
        stride: int = 2,
        normalization: str = "batch",
        patch_size: int = 3,
        patch_hidden: int = 32,
        num_heads: int = 1,
        head_grid: int = 3,
        embed_dim: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        reduction = stride * 2 ** len(widths)
        if image_size < patch_size * reduction:
            raise UserError(
                f"model.patch_size must be at most {image_size // reduction}, the size of the map of an image of "
                f"{image_size} pixels; got {patch_size}: use data.image_size={patch_size * reduction} or more."
            )
        self.embed_dim = embed_dim
        self.cnn = CNNBlock(in_channels, widths, depths, stride=stride, normalization=normalization)
        self.patches = LocalMultiPatchAttention(widths[-1], patch_size, patch_hidden)
        self.channels = GlobalChannelAttention(widths[-1], num_heads)
        self.head_grid = head_grid
        self.embed = nn.Linear(widths[-1] * head_grid**2, embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(embed_dim, num_classes)

    @property
    def gradcam_layer(self) -> nn.Module:
        """Module whose output (B, F, h, h) Grad-CAM weighs: the second stage."""
        return self.channels

    def forward_features(self, image: Tensor) -> Tensor:
        """Embedding (B, D) of images (B, C, N, N)."""
        features = self.channels(self.patches(self.cnn(image)))
        return F.relu(self.embed(F.adaptive_avg_pool2d(features, self.head_grid).flatten(1)))
