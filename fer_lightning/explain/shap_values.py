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
from rich.progress import track
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.explain.gradcam import WithSide, differentiable, ordinary

METHODS = ("gradient", "partition")
_BATCH = 64


@dataclass(frozen=True)
class ShapMaps:
    """What every pixel adds to the logit of a class.

    Attributes:
        values: float32 (B, H, W), summed over the channels; positive where a pixel speaks for the class.
        base: (B,): the logit without the picture, that is, the mean over the background, or that of the blurred face.
        score: (B,): the logit of the picture. The values of an image sum to `score - base`: exactly for
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
    """Explains one class of each image.

    Args:
        net: Stays as it is, see `differentiable`.
        image: Normalised images (B, C, H, W).
        target: Class indices (B,): the logit that is explained.
        method: `"gradient"`: GradientExplainer, expected gradients, which are sharp to the pixel and noisy.
            `"partition"`: PartitionExplainer, Owen values of halves, quarters and so on of the picture, in which what
            is hidden is blurred.
        background: Normalised images (N, C, H, W) that a picture is compared with; `"partition"` does without.
        samples: Gradients of each image for `"gradient"`, evaluations of each image for `"partition"`.
        side: Side vectors (B, S) for networks that take them; they are given, not explained.

    Raises:
        UserError: Unknown method.
    """
    if method not in METHODS:
        raise UserError(f"shap={method} is unknown: use one of {', '.join(METHODS)}, or none.")
    shap = _library()
    explained = []
    with differentiable(net) as own:
        for row in track(range(len(image)), description="SHAP", transient=True):
            given = None if side is None else ordinary(side[row : row + 1])
            single = _OneLogit(WithSide(own, given), int(target[row]))
            shown = ordinary(image[row : row + 1])
            if method == "gradient":
                explained.append(_by_gradients(shap, single, shown, ordinary(background), samples))
            else:
                explained.append(_by_parts(shap, single, shown, samples))
    values, bases, scores = zip(*explained)
    return ShapMaps(np.stack(values).astype(np.float32), np.array(bases), np.array(scores))


def _library() -> Any:
    """shap, whose import takes seconds.

    Raises:
        UserError: It is not installed.
    """
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

    # A masker of its own for each picture: the library's "blur(...)" may take over the blur of another one, which it
    # knows by the address of its memory.
    explainer = shap.PartitionExplainer(scores, shap.maskers.Image(blurred))
    found = explainer(pixels[None], max_evals=samples, batch_size=_BATCH, silent=True)
    return found.values[0].sum(-1), scores(blurred[None])[0], scores(pixels[None])[0]


def _blurred(pixels: np.ndarray) -> np.ndarray:
    """An image (H, W, C) in which no expression is left: averages over a third of its side."""
    side = len(pixels) // 3
    return cv2.blur(pixels, (side, side)).reshape(pixels.shape)
