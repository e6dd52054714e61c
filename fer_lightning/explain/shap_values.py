"""SHAP values of pixels, with the image explainers of the library shap.

Papers: S. Lundberg and S. Lee, A unified approach to interpreting model predictions (2017),
https://arxiv.org/abs/1705.07874; expected gradients: G. Erion et al., Improving performance of deep learning models
with axiomatic attribution priors and expected gradients (2021), https://arxiv.org/abs/1906.10670.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fer_lightning.data.store import track
from fer_lightning.errors import UserError
from fer_lightning.explain.gradcam import WithSide, differentiable, ordinary

METHODS = ("gradient", "partition")
_BATCH = 64


@dataclass(frozen=True)
class ShapMaps:
    """Contribution of every pixel to the logit of a class.

    Attributes:
        values: float32 (B, H, W), summed over the channels; positive for evidence for the class.
        base: (B,), the logit without the picture: the mean over the background, or that of the blurred face.
        score: (B,), the logit of the picture. The values of an image sum to `score - base`: exactly for
            `"partition"`, up to sampling for `"gradient"`.
    """

    values: np.ndarray
    base: np.ndarray
    score: np.ndarray


def shap_maps(
    net: nn.Module,
    image: Tensor,
    target: Tensor,
    method: str,
    background: Tensor,
    samples: int,
    side: Tensor | None = None,
) -> ShapMaps:
    """SHAP values of one class of each image.

    Args:
        net: Network, which is not modified.
        image: Normalised images (B, C, H, W).
        target: Class indices (B,) whose logits are explained.
        method: `"gradient"` for GradientExplainer (expected gradients, of single pixels and noisy), `"partition"` for
            PartitionExplainer (Owen values of halves, quarters and so on of the picture, whose hidden parts are
            blurred).
        background: Normalised images (N, C, H, W) with which a picture is compared; not used by `"partition"`.
        samples: Number of gradients (`"gradient"`) or evaluations (`"partition"`) of each image.
        side: Auxiliary inputs (B, S) of networks that take them, which are not explained.

    Raises:
        UserError: Unknown method.
    """
    if method not in METHODS:
        raise UserError(f"shap must be one of {', '.join(METHODS)}, or none; got {method}.")
    shap = _library()
    explained = []
    with differentiable(net) as network:
        for row in track(range(len(image)), "SHAP"):
            auxiliary = None if side is None else ordinary(side[row : row + 1])
            single = _OneLogit(WithSide(network, auxiliary), int(target[row]))
            shown = ordinary(image[row : row + 1])
            if method == "gradient":
                explained.append(_by_gradients(shap, single, shown, ordinary(background), samples))
            else:
                explained.append(_by_parts(shap, single, shown, samples))
    values, bases, scores = zip(*explained)
    return ShapMaps(np.stack(values).astype(np.float32), np.array(bases), np.array(scores))


def _library() -> Any:
    """Module of shap, whose import takes seconds; raises `UserError` where it is not installed."""
    try:
        import shap
    except ModuleNotFoundError:
        raise UserError(
            "shap=... needs the library shap: pip install 'fer_lightning[explain]', or use shap=none."
        ) from None
    return shap


class _OneLogit(nn.Module):
    """Logit (B, 1) of one class, so that no gradient of another is computed."""

    def __init__(self, net: nn.Module, target: int) -> None:
        super().__init__()
        self.net = net
        self.target = target

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image)[:, self.target, None].float()


@torch.no_grad()
def _scores(net: nn.Module, images: Tensor) -> np.ndarray:
    return torch.cat([net(part) for part in images.split(_BATCH)])[:, 0].cpu().numpy()


def _by_gradients(
    shap: Any, net: nn.Module, image: Tensor, background: Tensor, samples: int
) -> tuple[np.ndarray, np.floating, np.floating]:
    explainer = shap.GradientExplainer(net, background, batch_size=_BATCH)
    values = explainer.shap_values(image, nsamples=samples, rseed=0)
    return np.asarray(values)[0, ..., 0].sum(0), _scores(net, background).mean(), _scores(net, image)[0]


def _by_parts(shap: Any, net: nn.Module, image: Tensor, samples: int) -> tuple[np.ndarray, np.floating, np.floating]:
    pixels = image[0].permute(1, 2, 0).cpu().numpy()
    blurred = _blurred(pixels)

    def scores(parts: np.ndarray) -> np.ndarray:
        return _scores(net, torch.from_numpy(parts).float().permute(0, 3, 1, 2).to(image.device))

    # A separate masker for each picture: the library's "blur(...)" may reuse the blur of another picture, which it
    # identifies by its memory address.
    explainer = shap.PartitionExplainer(scores, shap.maskers.Image(blurred))
    explanation = explainer(pixels[None], max_evals=samples, batch_size=_BATCH, silent=True)
    return explanation.values[0].sum(-1), scores(blurred[None])[0], scores(pixels[None])[0]


def _blurred(pixels: np.ndarray) -> np.ndarray:
    """Image (H, W, C) averaged over windows of a third of its size, which removes the expression."""
    size = len(pixels) // 3
    return cv2.blur(pixels, (size, size)).reshape(pixels.shape)
