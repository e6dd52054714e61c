"""Depthwise convolutions where bf16 is slow."""

from __future__ import annotations

from timm.layers import Conv2dSame
from torch import Tensor, nn

from fer_lightning.layers.precision import without_autocast


class _Float32OnCPU:
    """Computes a convolution in the precision of its weights on the CPU, whatever autocast says.

    There, the bf16 gradient of a depthwise convolution with stride 2, or with a kernel larger than the map, takes 3 to
    15 times as long as in float32: without this, HAFEM-lite at 48 pixels trains at about half the speed.
    """

    def forward(self, features: Tensor) -> Tensor:
        if features.device.type != "cpu":
            return super().forward(features)  # type: ignore[misc]
        with without_autocast(features.device):
            weight: Tensor = self.weight  # type: ignore[attr-defined]
            return super().forward(features.to(weight.dtype)).to(features.dtype)  # type: ignore[misc]


class DepthwiseConv2d(_Float32OnCPU, nn.Conv2d):
    """`nn.Conv2d` in float32 on the CPU."""


class DepthwiseConv2dSame(_Float32OnCPU, Conv2dSame):
    """timm's convolution with the padding of TensorFlow in float32 on the CPU."""


FASTER: dict[type[nn.Conv2d], type[nn.Conv2d]] = {
    nn.Conv2d: DepthwiseConv2d,
    Conv2dSame: DepthwiseConv2dSame,
}


def speed_up_depthwise(network: nn.Module) -> None:
    """Turns every depthwise convolution of a network into its kind from above; names and weights stay.

    Args:
        network: It is changed.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and module.groups == module.in_channels:
            # The same attributes and parameters under another forward, so hooks and copies keep working.
            module.__class__ = FASTER.get(type(module), type(module))
