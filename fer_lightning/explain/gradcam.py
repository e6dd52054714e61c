"""Grad-CAM for every architecture of this package, with the library pytorch-grad-cam.

Paper: R. R. Selvaraju et al., Grad-CAM: visual explanations from deep networks via gradient-based localization (2017),
https://arxiv.org/abs/1610.02391, eqs 1 and 2.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.models.weighted_voting import WeightedVoting

try:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
except ModuleNotFoundError:
    raise UserError("Grad-CAM needs the library grad-cam: pip install 'fer_lightning[explain]'.") from None


def gradcam(net: nn.Module, image: Tensor, target: Tensor, side: Tensor | None = None) -> np.ndarray:
    """Grad-CAM of a class: the evidence of each place of an image for it.

    Args:
        net: Network, which is not modified. The output of its `gradcam_layer` is a map (B, D, h, w), or with
            `gradcam_tokens` = (P, h, w) tokens (B, P + h * w, D) with P prefix tokens. A network that warps the image
            first has `gradcam_in_image`, which transforms maps back. The map of a `WeightedVoting` is the weighted mean
            of the maps of its members.
        image: Normalised images (B, C, H, W).
        target: Class indices (B,) whose logits are explained.
        side: Auxiliary inputs (B, S) of networks that take them.

    Returns:
        float32 (B, H, W) in 0..1, each map scaled to its range; all 0 where there is no evidence for the class.
    """
    if isinstance(net, WeightedVoting):
        return _of_vote(net, image, target)
    with differentiable(net) as network:
        plain_image, plain_side = ordinary(image), None if side is None else ordinary(side)
        maps = _explain(network, plain_image, target, plain_side)
        if not hasattr(network, "gradcam_in_image"):
            return maps
        with torch.no_grad():
            return (
                cast(Any, network).gradcam_in_image(torch.from_numpy(maps).to(image.device), plain_image).cpu().numpy()
            )


def _of_vote(net: WeightedVoting, image: Tensor, target: Tensor) -> np.ndarray:
    members = np.array([gradcam(member, image, target) for member in net.members])
    if net.tta != "none":  # the maps of translated views would be those of the image
        mirrored = np.array([gradcam(member, image.flip(-1), target) for member in net.members])
        members = (members + mirrored[..., ::-1]) / 2
    return np.average(members, axis=0, weights=net.weights.float().cpu().numpy()).astype(np.float32)


def _explain(net: nn.Module, image: Tensor, target: Tensor, side: Tensor | None) -> np.ndarray:
    tokens = getattr(net, "gradcam_tokens", None)
    # Not as a context manager, which would suppress an IndexError of the network.
    explainer = GradCAM(
        WithSide(net, side),
        [cast(Any, net).gradcam_layer],
        reshape_transform=None if tokens is None else lambda output: tokens_to_map(output, *tokens),
    )
    try:
        return explainer(image, [ClassifierOutputTarget(int(index)) for index in target])
    finally:
        explainer.activations_and_grads.release()


def tokens_to_map(tokens: Tensor, prefix: int, rows: int, columns: int) -> Tensor:
    """Map (B, D, rows, columns) of tokens (B, prefix + rows * columns, D) without the prefix."""
    return tokens[:, prefix:].unflatten(1, (rows, columns)).permute(0, 3, 1, 2)


@contextmanager
def differentiable(net: nn.Module) -> Iterator[nn.Module]:
    """Context manager with a copy of a network in float32 and evaluation mode whose weights all require gradients.

    The original network is not modified. Gradients are enabled within the block, also for frozen networks, half
    precision, autocast and Lightning's `inference_mode`.
    """
    device = next(net.parameters()).device.type
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
        network = copy.deepcopy(net)
        for module in network.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, ordinary(buffer))
        yield network.float().eval().requires_grad_(True)


def ordinary(tensor: Tensor) -> Tensor:
    """Detached copy that autograd accepts, also of a tensor of inference mode; floats as float32."""
    copied = tensor.detach().clone()
    return copied.float() if copied.is_floating_point() else copied


class WithSide(nn.Module):
    """Network with fixed auxiliary inputs, for libraries that pass images alone.

    Args:
        net: Network of images (B, C, H, W), and auxiliary inputs (B, S) where it takes them, to logits (B, K).
        side: Auxiliary inputs (B, S), or (1, S) for any number of images; None for a network of images alone.
    """

    def __init__(self, net: nn.Module, side: Tensor | None) -> None:
        super().__init__()
        self.net = net
        self.side = side

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        return self.net(image) if self.side is None else self.net(image, self.side.expand(len(image), -1))
