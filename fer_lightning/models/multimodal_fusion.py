"""Gated fusion of appearance and an auxiliary description of the face: two baselines of PsySFA-Net.

Papers: the baselines are rows of Tables 10-12 of PsySFA-Net (IIETA 2026), which cites no paper for them. Appearance and
68 landmarks in two branches: J. Guo et al., Multi-modality network with visual and geometrical information for micro
emotion recognition (2017). The fusion: J. Arevalo et al., Gated multimodal units for information fusion (2017),
https://arxiv.org/abs/1702.01992.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.models.architecture import Architecture
from fer_lightning.models.resnet import ResNet


class MultimodalFusion(Architecture):
    """Facial expression classifier of an image and an auxiliary input vector.

    Args:
        num_classes: Number K of classes.
        in_channels: Channels C of the image.
        side: Kind of the auxiliary input: `landmarks`, the row "Multi-modal Fusion Model", or `blendshapes`, the row
            "Multimodal Emotion Recognition". The data module provides the kind that the model names.
        side_dim: Size S of the auxiliary input `[found, values ...]`: 137 for landmarks, 53 for blendshapes.
        widths: Channels of the four residual stages of the appearance branch.
        depths: Basic blocks of the four stages.
        stem_stride: Stride s of the first convolution, see `ResNet`.
        side_width: Size G of the embedding of the auxiliary input.
        embed_dim: Size D of the fused embedding.
        dropout: Dropout rate before the classifier.

    Shape:
        | stage                                    | shape                              |
        |------------------------------------------|------------------------------------|
        | image                                    | (B, C, H, W)                       |
        | residual stages                          | (B, widths[3], H / 8s, W / 8s)     |
        | global average                           | (B, widths[3])                     |
        | auxiliary input                          | (B, S)                             |
        | two linear layers                        | (B, G)                             |
        | gated multimodal unit (the embedding)    | (B, D)                             |
        | dropout, linear                          | (B, K) logits                      |

    Readings:
        - PsySFA-Net names both baselines in its tables only. Its section 2.3 describes reference 23 (Xiang et al. 2025)
          as fusing RGB, near-infrared and depth images; its reference 26 (Tang et al. 2023) is titled "Multimodal
          emotion recognition from facial expression and speech based on feature fusion", yet the text cites it as a
          GAN. None of FER2013, RAF-DB and CK+ has depth, infrared or speech, so the second modality is unknown. Here it
          is computed from the same image: this net is neither of those two, nor the authors' baseline.
        - Landmarks (`side=landmarks`): 68 points, normalised by a Procrustes fit, as the geometry of the face. That is
          the pair of modalities of Guo et al. 2017, who concatenate both embeddings.
        - Expression coefficients (`side=blendshapes`): the 52 of MediaPipe.
        - Fusion: gated instead of concatenated, because the reliability of a description differs from face to face: it
          may be wrong, and for some faces there is none. The two baselines differ only in the auxiliary input.
        - Appearance: the residual stages of this project's `ResNet`, so that the baseline of appearance alone is a row
          of the same table.
        - Where no face was found, a learned vector replaces the auxiliary embedding; see `SideEncoder`.
        - Both branches are trained together from the start, by one loss.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 1,
        side: str = "landmarks",
        side_dim: int = 137,
        widths: Sequence[int] = (32, 64, 128, 256),
        depths: Sequence[int] = (1, 1, 1, 1),
        stem_stride: int = 2,
        side_width: int = 128,
        embed_dim: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.side = side
        self.side_dim = side_dim
        self.embed_dim = embed_dim
        # Without the classifier of the ResNet, which would stay unused.
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
        """Module whose output (B, widths[3], h, w) Grad-CAM weighs: the last residual stage."""
        return self.appearance.get_submodule("layer4")

    def forward_features(self, image: Tensor, side: Tensor) -> Tensor:
        """Embedding (B, D) of images (B, C, H, W) and auxiliary inputs (B, S).

        Raises:
            UserError: The auxiliary inputs have another size.
        """
        if side.shape[1] != self.side_dim:
            raise UserError(
                f"model.side_dim must be {side.shape[1]}, the size of the auxiliary input {self.side}; "
                f"got {self.side_dim}."
            )
        return self.fusion(self.appearance(image), self.description(side))

    def forward(self, image: Tensor, side: Tensor) -> Tensor:  # type: ignore[override]
        """Logits (B, K) of images (B, C, H, W) and auxiliary inputs (B, S)."""
        return self.forward_head(self.forward_features(image, side))


class GatedMultimodalUnit(nn.Module):
    """Bimodal unit: `z * tanh(W_1 x_1) + (1 - z) * tanh(W_2 x_2)` with the gate `z = sigmoid(W_z [x_1, x_2])`.

    Its three linear maps have biases, which the equations of the paper omit.

    Args:
        first_dim: Size of the vector of the first modality.
        second_dim: Size of the vector of the second modality.
        embed_dim: Size D of the fused vector.

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
    """Encoder of an auxiliary input: two linear layers, or a learned vector where no face was found.

    An auxiliary input is `[found, value 1, ..., value S - 1]`. The values of a face that was not found are zeros;
    neither the embedding nor the running statistics depend on them.

    Args:
        side_dim: Size S of an auxiliary input.
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
            # Zeros would bias the mean; set to the mean, missing faces only reduce the variance.
            mean = (values * found).sum(0) / found.sum().clamp_min(1)
            values = torch.where(found, values, mean)
        encoded = self.layers(self.standardise(values))
        return torch.where(found, encoded, self.missing.to(encoded.dtype))
