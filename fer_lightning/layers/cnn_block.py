"""CNN block of PsySFA-Net (section 3.5, eq. 7): convolutions with ReLU, and max pooling.

Paper: PsySFA-Net, IIETA 2026, section 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.conv import ConvReLU


class CNNBlock(nn.Module):
    """Stages of 3x3 convolutions with ReLU, each stage ended by 2x2 max pooling.

    Args:
        in_channels: Channels C of the fused map.
        widths: Channels of each stage.
        depths: Convolutions of each stage; 1 everywhere is a pooling after every convolution.
        stride: Stride of the very first convolution.
        normalization: `"batch"` or `"none"`, see `ConvReLU`.

    Shape:
        (B, C, H, W) to (B, widths[-1], H / (stride * 2 ** stages), W / (stride * 2 ** stages)).

    Raises:
        UserError: `widths` and `depths` of different length.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], depths: Sequence[int], *, stride: int, normalization: str
    ) -> None:
        if len(widths) != len(depths):
            raise UserError(
                f"model.widths has {len(widths)} stages but model.depths has {len(depths)}; give both the same number."
            )
        super().__init__()
        layers = []
        for width, depth in zip(widths, depths):
            for index in range(depth):
                last = index == depth - 1
                layers.append(ConvReLU(in_channels, width, stride=stride, normalization=normalization, pool=last))
                in_channels, stride = width, 1
        self.layers = nn.Sequential(*layers)

    @property
    def last_map(self) -> nn.Module:
        """The module whose output is the last map (B, widths[-1], h, w) before its pooling and ReLU."""
        named = dict(self.layers[-1].named_children())
        return named.get("norm", named["conv"])

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


def check_poolings(image_size: int, stages: int, stride: int) -> None:
    """Refuses images of which the stages of a `CNNBlock` would leave nothing.

    Args:
        image_size: Side of the image in pixels.
        stages: Number of stages, each of which ends with a pooling.
        stride: Stride before the first stage.

    Raises:
        UserError: The image is too small.
    """
    least = stride * 2**stages
    if image_size < least:
        raise UserError(
            f"data.image_size is {image_size}, too small for {stages} poolings after stride {stride}; "
            f"use {least} or more."
        )
