"""Feature maps of the stages of a network, as in Figure 4 of PsySFA-Net (IIETA 2026)."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from fer_lightning.explain.gradcam import WithSide, differentiable, ordinary, tokens_to_map


def feature_maps(net: nn.Module, image: Tensor, side: Tensor | None = None) -> dict[str, np.ndarray]:
    """Feature maps of the stages of a network, averaged over their channels.

    The stages are those of the network's `feature_stages`, or else the last map or grid of tokens of every size, under
    the name of its module.

    Args:
        net: Network, which is not modified; not an ensemble, which has no maps.
        image: Normalised images (B, C, H, W).
        side: Auxiliary inputs (B, S) of networks that take them.

    Returns:
        By stage, in the order of computation, float32 (B, h, w): the mean magnitude over the channels.
    """
    seen: dict[str, np.ndarray] = {}
    with differentiable(net) as network, torch.no_grad():
        named = getattr(network, "feature_stages", None)
        tokens = getattr(network, "gradcam_tokens", None)
        for name, module in (named or dict(network.named_modules())).items():
            module.register_forward_hook(partial(_keep, seen, name, len(image), tokens))
        WithSide(network, None if side is None else ordinary(side))(ordinary(image))
    return seen if named else _last_of_each_size(seen)


def _keep(
    seen: dict[str, np.ndarray],
    name: str,
    batch: int,
    tokens: tuple[int, int, int] | None,
    module: nn.Module,
    inputs: object,
    output: object,
) -> None:
    if not isinstance(output, Tensor) or len(output) != batch:
        return
    features = _as_map(output, tokens)
    if features is not None:
        seen.pop(name, None)  # the last use of a module determines its place in the order
        seen[name] = features.abs().mean(1).cpu().numpy()


def _as_map(output: Tensor, tokens: tuple[int, int, int] | None) -> Tensor | None:
    """Output as a map (B, D, h, w), None where it is not a map."""
    shape = output.shape
    if output.ndim == 3 and tokens is not None and shape[1] == tokens[0] + tokens[1] * tokens[2]:
        return tokens_to_map(output, *tokens)
    if output.ndim != 4 or shape[2] < 2:
        return None
    if shape[2] == shape[3]:
        return output
    return output.permute(0, 3, 1, 2) if shape[1] == shape[2] else None  # timm's networks with channels last


def _last_of_each_size(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    last = {features.shape: name for name, features in seen.items()}
    return {name: features for name, features in seen.items() if name in last.values()}
