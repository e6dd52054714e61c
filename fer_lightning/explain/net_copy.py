"""A network that can be differentiated, whatever state the original is in."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def differentiable(net: nn.Module) -> Iterator[nn.Module]:
    """Lends a copy of a network in float32 and evaluation mode whose weights all get gradients.

    Weights, gradients and mode of the original stay as they are, and within the block gradients are on: frozen
    networks, half precision, autocast and Lightning's `inference_mode` do not matter.

    Args:
        net: The network.
    """
    device = next(net.parameters()).device.type
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
        own = copy.deepcopy(net)
        for module in own.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, ordinary(buffer))
        yield own.float().eval().requires_grad_(True)


def ordinary(tensor: Tensor) -> Tensor:
    """A detached copy that autograd accepts, also of a tensor that was made in inference mode; floats as float32."""
    own = tensor.detach().clone()
    return own.float() if own.is_floating_point() else own


class WithSide(nn.Module):
    """A network that is given its side vectors beforehand, for libraries that pass images alone.

    Args:
        net: Maps images (B, C, H, W), and side vectors (B, S) where it takes them, to logits (B, K).
        side: Side vectors (B, S), or (1, S) for any number of images; None for a network that takes images alone.
    """

    def __init__(self, net: nn.Module, side: Tensor | None) -> None:
        super().__init__()
        self.net = net
        self.side = side

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        return self.net(image) if self.side is None else self.net(image, self.side.expand(len(image), -1))
