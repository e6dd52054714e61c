"""Psychological attention of PsySFA-Net (section 3.3, eq. 3): one convolution with a large kernel.

Paper: PsySFA-Net, IIETA 2026, section 3.3 and Table 8.
"""

from __future__ import annotations

from fer_lightning.errors import UserError
from fer_lightning.layers.cnn_block import ConvReLU


class PsychologicalAttention(ConvReLU):
    """`A(x, y) = ReLU(sum_ij W_ij I(x + i, y + j) + b)` with a kernel of 7x7 (eq. 3).

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
