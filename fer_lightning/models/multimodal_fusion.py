"""Two rivals of PsySFA-Net in one net: appearance and a description of the face, fused by a gate.

Papers: the baselines are rows of Tables 10-12 of PsySFA-Net (IIETA 2026), which cites no paper for them. Appearance and
68 landmarks in two branches: J. Guo et al., Multi-modality network with visual and geometrical information for micro
emotion recognition (2017). The fusion: J. Arevalo et al., Gated multimodal units for information fusion (2017),
https://arxiv.org/abs/1702.01992.

Paper: J. Arevalo et al., Gated multimodal units for information fusion (2017), https://arxiv.org/abs/1702.01992.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.models.resnet import ResNet


class MultimodalFusion(nn.Module):
    """Facial expression classifier of an image and a side vector.

    Args:
        num_classes: Number K of classes.
        in_channels: Channels C of the image.
        side: What the side vector holds: `landmarks`, the row "Multi-modal Fusion Model", or `blendshapes`, the row
            "Multimodal Emotion Recognition". The data module reads it here and provides it.
        side_dim: Size S of the side vector `[found, values ...]`: 137 for landmarks, 53 for blendshapes.
        widths: Channels of the four residual stages of the appearance branch.
        depths: Basic blocks of the four stages.
        stem_stride: Stride s of the first convolution, see `ResNet`.
        side_width: Size G of the embedding of the side vector.
        embed_dim: Size D of the fused embedding.
        dropout: Dropout rate before the classifier.

    Shape:
        | stage                                    | shape                              |
        |------------------------------------------|------------------------------------|
        | image                                    | (B, C, H, W)                       |
        | residual stages                          | (B, widths[3], H / 8s, W / 8s)     |
        | global average                           | (B, widths[3])                     |
        | side vector                              | (B, S)                             |
        | two linear layers                        | (B, G)                             |
        | gated multimodal unit (the embedding)    | (B, D)                             |
        | dropout, linear                          | (B, K) logits                      |

    Readings:
        What is known, and what is done here.

        - PsySFA-Net names both baselines in its tables only. Its section 2.3 describes reference 23 (Xiang et al. 2025)
          as fusing RGB, near-infrared and depth images; its reference 26 (Tang et al. 2023) is titled "Multimodal
          emotion recognition from facial expression and speech based on feature fusion", yet the text cites it as a
          GAN. None of FER2013, RAF-DB and CK+ has depth, infrared or speech, so what else was put in is unknown. Here
          the second modality is computed from the same image: this net is neither of those two, nor the authors' own.
        - Landmarks (`side=landmarks`): 68 points, normalised by a Procrustes fit, as the geometry of the face. That is
          the pair of modalities of Guo et al. 2017, who concatenate both embeddings.
        - Expression coefficients (`side=blendshapes`): the 52 of MediaPipe.
        - Fusion: gated instead of concatenated, because how much a description is worth differs from face to face: it
          may be wrong, and for some faces there is none. Only the side vector tells the two baselines apart.
        - Appearance: the residual stages of this project's `ResNet`, so that the baseline with nothing but appearance
          is a row of the same table.
        - Where no face was found, a learned vector stands for the side branch; see `SideEncoder`.
        - Both branches are trained together from the start, by one loss.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        side: str,
        side_dim: int,
        widths: Sequence[int],
        depths: Sequence[int],
        stem_stride: int,
        side_width: int,
        embed_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.side = side
        self.side_dim = side_dim
        self.embed_dim = embed_dim
        # Of the ResNet only what comes before its classifier, which would stay unused.
        self.appearance = ResNet(
            num_classes=num_classes,
            in_channels=in_channels,
            widths=widths,
            depths=depths,
            stem_stride=stem_stride,
            dropout=0.0,
        ).backbone
        self.description = SideEncoder(side_dim, side_width)
        self.fusion = GatedMultimodalUnit(widths[-1], side_width, embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(embed_dim, num_classes)

    @property
    def gradcam_layer(self) -> nn.Module:
        """The module whose output (B, widths[3], h, w) Grad-CAM weighs: the last residual stage."""
        return self.appearance.get_submodule("layer4")

    def forward_features(self, image: Tensor, side: Tensor) -> Tensor:
        """Embedding (B, D) of images (B, C, H, W) and side vectors (B, S).

        Raises:
            UserError: The side vectors have another size.
        """
        if side.shape[1] != self.side_dim:
            raise UserError(
                f"model.side_dim is {self.side_dim}, but a side vector of {self.side} has {side.shape[1]} values; "
                f"use model.side_dim={side.shape[1]}."
            )
        return self.fusion(self.appearance(image), self.description(side))

    def forward_head(self, features: Tensor) -> Tensor:
        """Logits (B, K) of embeddings (B, D)."""
        return self.classify(self.dropout(features))

    def forward(self, image: Tensor, side: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) and side vectors (B, S)."""
        return self.forward_head(self.forward_features(image, side))


class GatedMultimodalUnit(nn.Module):
    """The bimodal unit: `z * tanh(W_1 x_1) + (1 - z) * tanh(W_2 x_2)` with the gate `z = sigmoid(W_z [x_1, x_2])`.

    Its three linear maps have biases, which the equations of the paper leave away.

    Args:
        first_dim: Size of the vector of the first modality.
        second_dim: Size of the vector of the second modality.
        embed_dim: Size D of what both are fused into.

    Shape:
        (B, first_dim) and (B, second_dim) to (B, D), every value between -1 and 1.
    """

    def __init__(self, first_dim: int, second_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(first_dim, embed_dim)
        self.second = nn.Linear(second_dim, embed_dim)
        self.gate = nn.Linear(first_dim + second_dim, embed_dim)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        share = self.gate(torch.cat([first, second], dim=1)).sigmoid()
        return share * self.first(first).tanh() + (1 - share) * self.second(second).tanh()


class SideEncoder(nn.Module):
    """Two linear layers over the standardised values of a side vector, and a learned vector where a face was not found.

    A side vector is `[found, value 1, ..., value S - 1]`; the values of a face that was not found are zeros and say
    nothing, so neither the embedding nor the running statistics depend on them.

    Args:
        side_dim: Size S of a side vector.
        embed_dim: Size D of the embedding, and of the hidden layer.

    Shape:
        (B, S) to (B, D).
    """

    def __init__(self, side_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.standardise = nn.BatchNorm1d(side_dim - 1)
        self.layers = nn.Sequential(
            nn.Linear(side_dim - 1, embed_dim), nn.ReLU(), nn.Linear(embed_dim, embed_dim), nn.ReLU()
        )
        self.missing = nn.Parameter(torch.zeros(embed_dim))

    def forward(self, side: Tensor) -> Tensor:
        found, values = side[:, :1] > 0.5, side[:, 1:]
        if self.training:
            # Zeros would move the mean away from every face; at their mean, missing faces only shrink the variance.
            mean = (values * found).sum(0) / found.sum().clamp_min(1)
            values = torch.where(found, values, mean)
        encoded = self.layers(self.standardise(values))
        return torch.where(found, encoded, self.missing.to(encoded.dtype))
