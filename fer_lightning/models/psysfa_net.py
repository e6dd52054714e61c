"""PsySFA-Net: fractal, spectral and psychological-attention features, attention fusion and emotion suppression.

Paper: PsySFA-Net, IIETA 2026 (CC BY 4.0).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.cnn_block import CNNBlock, PsychologicalAttention, check_poolings
from fer_lightning.layers.fractal import FractalBlock
from fer_lightning.layers.fusion import DynamicFeatureFusion
from fer_lightning.layers.spectral import SpectralBlock
from fer_lightning.layers.suppression import EmotionSuppression
from fer_lightning.models.architecture import Architecture


class PsySFANet(Architecture):
    """Facial expression classifier with three parallel feature blocks (sections 3.1-3.7).

    Args:
        num_classes: Number K of classes.
        in_channels: Channels C of the image, 1 or 3.
        image_size: Height and width N of the image in pixels.
        num_filters: Channels F of each of the three blocks.
        fractal: Use the fractal block (eq. 1).
        spectral: Use the spectral block (eq. 2).
        attention: Use the psychological attention block (eq. 3).
        texture: Descriptor of the fractal block, `diagonal|lbp|gabor|lbp_cnn|gabor_cnn` (Table 9).
        band: Band of the spectral block, `low|mid|high|low_mid|all` (Table 7).
        band_edges: Lower and upper bound of the mid band, see `band_mask`.
        attention_kernel: Kernel size of the psychological attention (Table 8).
        stride: Stride s of the first learned convolutions: of the three blocks, or of the CNN block when all are off.
        fusion: `attention` (eqs 4-6) or `concat`.
        fusion_grid: Rows and columns G of the grid that tokens are pooled to.
        fusion_dim: Size E of the common feature space.
        fusion_heads: Number of heads of the fusion; E / heads must be a multiple of 16.
        widths: Channels of the stages of the CNN block (eq. 7); each stage ends with max pooling.
        depths: Convolutions of each stage.
        normalization: `batch`, or `none` as in the equations.
        suppression: Use the emotion suppression block (eqs 8-12).
        head_grid: Height and width g of the map that is flattened.
        embed_dim: Size D of the embedding, the output of the first linear layer.
        dropout: Dropout rate before the last linear layer.

    Shape:
        | stage                            | equation | shape                                        |
        |----------------------------------|----------|----------------------------------------------|
        | image                            |          | (B, C, N, N)                                 |
        | fractal, spectral, attention     | 1, 2, 3  | three times (B, F, N / s, N / s)             |
        | tokens on the grid               | 4        | (B, 3 * G * G, E)                            |
        | attention, reshaped and added    | 5, 6     | (B, 3 * F, N / s, N / s)                     |
        | CNN block, t stages              | 7        | (B, widths[-1], N / (s * 2**t), the same)    |
        | emotion suppression              | 8-12     | unchanged                                    |
        | pooled to g x g, flattened       | 3.7      | (B, widths[-1] * g * g)                      |
        | linear, ReLU (the embedding)     | 3.7      | (B, D)                                       |
        | dropout, linear                  | 3.7      | (B, K) logits                                |

    Readings:
        - Eq. 1 at the first row and column, which have no diagonal neighbour: zero.
        - Colour images: eqs 1 and 2 apply to every channel separately, the convolutions mix the channels.
        - Eq. 2 prints `alpha_v = sqrt(2 / N)` for `u > 0`: taken as the orthonormal DCT-II along both axes.
        - The paper gives no bounds of the bands: cut points on `(u + v) / (2 N)`, the zigzag diagonal (`band_edges`).
        - Input of the spectral block's convolution: the inverse DCT of the masked coefficients, because a convolution
          expects neighbours to be alike. `band=all` therefore is the image itself.
        - Kernel of the fractal and spectral convolutions: 3x3. Every convolution has same padding with zeros.
        - `num_filters` is the width of each of the three blocks; the widths of the CNN block are not stated (`widths`).
        - Table 9, `lbp` and `gabor`: the fixed descriptor (LBP: 8 neighbours, one code image; Gabor: 4 orientations
          times 2 wavelengths) replaces the block, and a 1x1 convolution maps it to F channels. `lbp_cnn` and
          `gabor_cnn` put it before the block's 3x3 convolution.
        - Resolution of the maps: `stride` 1 follows the equations; 2 is four times cheaper.
        - Eq. 4 joins tokens (`flatten(2)` keeps channels). Tokens of the full resolution would dominate the cost of a
          step, so maps are averaged over `fusion_grid` cells first. The common feature space of section 3.3 is one
          linear map for each source; a learned position and layer normalisation precede the attention.
        - "Reshaped and passed forward": the attended tokens are projected to F channels, upsampled and added to the
          concatenated maps, so the CNN block keeps details finer than the grid.
        - Fusion off is concatenation of the same maps along channels (Table 6).
        - Normalisation is not mentioned: batch normalisation after every convolution trains far better;
          `normalization=none` is the net as printed.
        - "Several" convolutions, each followed by ReLU and pooling: `depths` convolutions before each pooling.
        - Place of the suppression: after the CNN block, before the FC layers, on its channels.
        - Eq. 10, attention over the weight vector: groups of channels are the tokens; and alpha, unbounded in eqs
          10-12, is kept in (0, 1) by a sigmoid. See `EmotionSuppression`.
        - Flatten: the map is first averaged to `head_grid`, so the size of the FC layers does not depend on the image
          size. Dropout is between the two linear layers, after ReLU.
        - "Backbone only" (Table 6) is the CNN block and the FC layers on the image; its first convolution has the
          stride `stride`, so that all variants compute at the same resolution.

    Raises:
        UserError: An unknown value of an option, `widths` and `depths` of different length, or an image too small for
            `stride` and the number of stages.

    Example:
        >>> import torch
        >>> net = PsySFANet(num_classes=7, spectral=False)
        >>> net(torch.zeros(2, 1, 48, 48)).shape
        torch.Size([2, 7])
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 1,
        image_size: int = 48,
        num_filters: int = 24,
        fractal: bool = True,
        spectral: bool = True,
        attention: bool = True,
        texture: str = "diagonal",
        band: str = "mid",
        band_edges: Sequence[float] = (0.1, 0.5),
        attention_kernel: int = 7,
        stride: int = 2,
        fusion: str = "attention",
        fusion_grid: int = 6,
        fusion_dim: int = 64,
        fusion_heads: int = 2,
        widths: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (1, 2, 2),
        normalization: str = "batch",
        suppression: bool = True,
        head_grid: int = 3,
        embed_dim: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if fusion not in ("attention", "concat"):
            raise UserError(f"model.fusion must be attention or concat; got {fusion!r}.")
        check_poolings(image_size, len(widths), stride)
        self.blocks = nn.ModuleDict()
        if fractal:
            self.blocks["fractal"] = FractalBlock(
                in_channels, num_filters, texture=texture, stride=stride, normalization=normalization
            )
        if spectral:
            first, second = band_edges
            self.blocks["spectral"] = SpectralBlock(
                in_channels,
                num_filters,
                image_size=image_size,
                band=band,
                edges=(first, second),
                stride=stride,
                normalization=normalization,
            )
        if attention:
            self.blocks["attention"] = PsychologicalAttention(
                in_channels, num_filters, kernel_size=attention_kernel, stride=stride, normalization=normalization
            )
        maps = len(self.blocks)
        self.fusion = (
            DynamicFeatureFusion(maps, num_filters, embed_dim=fusion_dim, num_heads=fusion_heads, grid=fusion_grid)
            if maps and fusion == "attention"
            else None
        )
        self.cnn = CNNBlock(
            maps * num_filters or in_channels,
            widths,
            depths,
            stride=1 if maps else stride,
            normalization=normalization,
        )
        self.suppression = EmotionSuppression(widths[-1]) if suppression else nn.Identity()
        self.head_grid = head_grid
        self.embed_dim = embed_dim
        self.embed = nn.Linear(widths[-1] * head_grid**2, embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(embed_dim, num_classes)

    @property
    def gradcam_layer(self) -> nn.Module:
        """Module whose output (B, widths[-1], h, w) Grad-CAM weighs: the map that the FC layers see.

        Not the finer one before the last pooling: the gradient there also passes through the averages of eq. 8, which
        know no places, and its maps tell a net's decision no better than random ones do (deletion and insertion).
        """
        return self.suppression

    @property
    def feature_stages(self) -> dict[str, nn.Module]:
        """The modules whose outputs are the stages of Figure 4, by the name of the stage, first to last."""
        stages: dict[str, nn.Module] = dict(self.blocks.items())
        if self.fusion is not None:
            stages["fused"] = self.fusion
        return {**stages, "before suppression": self.cnn, "after suppression": self.suppression}

    def source_maps(self, image: Tensor) -> list[Tensor]:
        """Maps of the blocks that are on, in the order fractal, spectral, attention; each (B, F, N / s, N / s)."""
        return [block(image) for block in self.blocks.values()]

    def fused(self, image: Tensor) -> Tensor:
        """What the CNN block sees: (B, M * F, N / s, N / s) for M blocks, or the image itself when all are off."""
        maps = self.source_maps(image)
        if not maps:
            return image
        return torch.cat(maps, 1) if self.fusion is None else self.fusion(maps)

    def fusion_attention(self, image: Tensor) -> Tensor:
        """Attention weights of the fusion, for explanation.

        Args:
            image: (B, C, N, N).

        Returns:
            (B, heads, M * G * G, M * G * G) for M blocks; tokens run over blocks, then rows, then columns.

        Raises:
            UserError: The net has no attention fusion.
        """
        if self.fusion is None:
            raise UserError("This PsySFA-Net has no attention fusion: train one with model.fusion=attention.")
        return self.fusion.attention_weights(self.source_maps(image))

    def forward_features(self, image: Tensor) -> Tensor:
        """Embedding (B, D) of images (B, C, N, N)."""
        features = self.suppression(self.cnn(self.fused(image)))
        flat = F.adaptive_avg_pool2d(features, self.head_grid).flatten(1)
        return F.relu(self.embed(flat))
