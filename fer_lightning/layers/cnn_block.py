"""Convolutions of PsySFA-Net: the CNN block (section 3.5, eq. 7) and psychological attention (section 3.3, eq. 3).

Paper: PsySFA-Net, IIETA 2026, sections 3.3 and 3.5, and Table 8. All blocks of PsySFA-Net use `ConvReLU`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fer_lightning.errors import UserError

NORMALIZATIONS = ("batch", "none")


class CNNBlock(nn.Module):
    """Stages of 3x3 convolutions with ReLU, each stage ended by 2x2 max pooling.

    Args:
        in_channels: Channels C of the fused map.
        widths: Channels of each stage.
        depths: Number of convolutions of each stage.
        stride: Stride of the first convolution.
        normalization: `"batch"` or `"none"`, see `ConvReLU`.

    Shape:
        (B, C, H, W) to (B, widths[-1], H / (stride * 2 ** stages), W / (stride * 2 ** stages)).

    Raises:
        UserError: `widths` and `depths` differ in length.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], depths: Sequence[int], *, stride: int, normalization: str
    ) -> None:
        if len(widths) != len(depths):
            raise UserError(
                f"model.widths and model.depths must have the same length; got {len(widths)} and {len(depths)}."
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
        """Module whose output is the last map (B, widths[-1], h, w) before pooling and ReLU."""
        named = dict(self.layers[-1].named_children())
        return named.get("norm", named["conv"])

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


def check_poolings(image_size: int, stages: int, stride: int) -> None:
    """Raises `UserError` for an image too small for the strides and poolings of a `CNNBlock`.

    Args:
        image_size: Height and width of the image in pixels.
        stages: Number of stages, each of which ends with a pooling.
        stride: Stride before the first stage.
    """
    least = stride * 2**stages
    if image_size < least:
        raise UserError(
            f"data.image_size must be at least {least} for {stages} poolings after stride {stride}; got {image_size}."
        )


class ConvReLU(nn.Sequential):
    """Convolution with same padding and ReLU, the operation of eq. 7 of PsySFA-Net.

    Its submodules are `conv`, `norm` (batch normalisation only), `pool` (with `pool=True` only) and `relu`.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels F of the output.
        kernel_size: Odd size of the kernel.
        stride: Stride of the convolution.
        normalization: `"batch"` for batch normalisation after the convolution, or `"none"`.
        pool: Halve the map with 2x2 max pooling.

    Shape:
        (B, C, H, W) to (B, F, H / stride, W / stride), halved once more with `pool`.

    Raises:
        UserError: Unknown `normalization`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        normalization: str = "batch",
        pool: bool = False,
    ) -> None:
        if normalization not in NORMALIZATIONS:
            raise UserError(f"model.normalization must be one of {', '.join(NORMALIZATIONS)}; got {normalization!r}.")
        super().__init__()
        batch = normalization == "batch"
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=not batch)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        self.add_module("conv", conv)
        if batch:
            self.add_module("norm", nn.BatchNorm2d(out_channels))
        if pool:
            # ReLU is monotone, so pooling first gives the same values and rectifies a quarter of them.
            self.add_module("pool", nn.MaxPool2d(2))
        self.add_module("relu", nn.ReLU(inplace=True))


class PsychologicalAttention(ConvReLU):
    """`A(x, y) = ReLU(sum_ij W_ij I(x + i, y + j) + b)` with a kernel of 7x7 (section 3.3, eq. 3).

    Despite its name, the block contains no attention weights: the equation is a convolution with ReLU.

    Args:
        in_channels: Channels C of the image.
        num_filters: Channels F of the feature map.
        kernel_size: Odd size of the kernel; Table 8 compares 3, 5, 7, 9 and 11.
        stride: Stride of the convolution.
        normalization: `"batch"` or `"none"`, see `ConvReLU`.

    Shape:
        (B, C, H, W) to (B, F, H / stride, W / stride).

    Raises:
        UserError: The kernel size is even.
    """

    def __init__(
        self, in_channels: int, num_filters: int, *, kernel_size: int, stride: int, normalization: str
    ) -> None:
        if kernel_size % 2 == 0:
            raise UserError(f"model.attention_kernel must be odd, such as 3, 5, 7, 9 or 11; got {kernel_size}.")
        super().__init__(in_channels, num_filters, kernel_size, stride=stride, normalization=normalization)
