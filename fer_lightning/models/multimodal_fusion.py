"""Two baselines of PsySFA-Net in one net: appearance and a description of the face, fused by a gate.

Papers: the baselines are rows of Tables 10-12 of PsySFA-Net (IIETA 2026), which cites no paper for them. Appearance and
68 landmarks in two branches: J. Guo et al., Multi-modality network with visual and geometrical information for micro
emotion recognition (2017). The fusion: J. Arevalo et al., Gated multimodal units for information fusion (2017),
https://arxiv.org/abs/1702.01992.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.gated_multimodal_unit import GatedMultimodalUnit
from fer_lightning.layers.side_encoder import SideEncoder
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
