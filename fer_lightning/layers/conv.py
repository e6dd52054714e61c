"""The convolution every block of PsySFA-Net is made of: convolution, optional normalisation, optional pooling, ReLU."""

from __future__ import annotations

from torch import nn

from fer_lightning.errors import UserError

NORMALIZATIONS = ("batch", "none")


class ConvReLU(nn.Sequential):
    """Convolution with same padding and ReLU, the operation of eq. 7 of PsySFA-Net.

    Its parts are `conv`, `norm` (batch normalisation only), `pool` (with `pool=True` only) and `relu`.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels F of the output.
        kernel_size: Odd side of the kernel.
        stride: Stride of the convolution.
        normalization: `"batch"` puts batch normalisation after the convolution, `"none"` nothing.
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
            raise UserError(f"model.normalization is {normalization!r}; use one of {', '.join(NORMALIZATIONS)}.")
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
