"""What the stages of a network make of a face, as in Figure 4 of PsySFA-Net (IIETA 2026)."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from fer_lightning.explain.gradcam import WithSide, differentiable, ordinary, tokens_to_map


def feature_maps(net: nn.Module, image: Tensor, side: Tensor | None = None) -> dict[str, np.ndarray]:
    """Maps of the stages of a network, averaged over their channels.

    A network that names its stages in `feature_stages` shows those. Of any other, what each resolution ends with is
    shown: the last map or grid of tokens of every size, under the name of the module it comes from.

    Args:
        net: Stays as it is, see `differentiable`; no vote, which has no maps of its own.
        image: Normalised images (B, C, H, W).
        side: Side vectors (B, S) for networks that take them.

    Returns:
        By stage, in the order of computation, float32 (B, h, w): the mean magnitude over the channels.
    """
    seen: dict[str, np.ndarray] = {}
    with differentiable(net) as own, torch.no_grad():
        named = getattr(own, "feature_stages", None)
        tokens = getattr(own, "gradcam_tokens", None)
        for name, module in (named or dict(own.named_modules())).items():
            module.register_forward_hook(partial(_keep, seen, name, len(image), tokens))
        WithSide(own, None if side is None else ordinary(side))(ordinary(image))
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
        seen.pop(name, None)  # a module that is used again stands where it was used last
        seen[name] = features.abs().mean(1).cpu().numpy()


def _as_map(output: Tensor, tokens: tuple[int, int, int] | None) -> Tensor | None:
    """The map (B, D, h, w) that an output is; None where it is something else."""
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
