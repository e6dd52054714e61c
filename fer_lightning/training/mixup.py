"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_lightning.errors import UserError


class Mixing:
    """Mixes each image of a batch with another one and their targets alike.

    Args:
        mixup_alpha: Both parameters of mixup's Beta distribution; 0 turns mixup off.
        cutmix_alpha: Both parameters of CutMix's Beta distribution; 0 turns CutMix off.
        probability: Share of the batches that are mixed. Where both are on, each gets half of them.
        num_classes: K.

    Raises:
        UserError: A parameter is out of range.
    """

    def __init__(self, mixup_alpha: float, cutmix_alpha: float, probability: float, num_classes: int) -> None:
        for name, alpha in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha)):
            if alpha < 0:
                raise UserError(f"mixing.{name}={alpha} is out of range: use a positive number, or 0 to turn it off.")
        if not 0 <= probability <= 1:
            raise UserError(f"mixing.probability={probability} is out of range: use a share in 0..1.")
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.probability = probability
        self.num_classes = num_classes

    def __call__(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mixes a batch.

        Args:
            image: `(B, C, H, W)`.
            target: Class indices `(B,)` or label distributions `(B, K)`.

        Returns:
            The images `(B, C, H, W)`, and the targets: `(B, K)` where the batch was mixed, else as they came.
        """
        methods = [method for method, alpha in ((_mixup, self.mixup_alpha), (_cutmix, self.cutmix_alpha)) if alpha > 0]
        if not methods or torch.rand(()) >= self.probability:
            return image, target
        method = methods[int(torch.randint(len(methods), ()))]
        alpha = self.mixup_alpha if method is _mixup else self.cutmix_alpha
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        partner = torch.randperm(len(image)).to(image.device)
        image, share = method(image, image[partner], share)
        soft = F.one_hot(target, self.num_classes).float() if target.ndim == 1 else target
        return image, share * soft + (1 - share) * soft[partner]


def _mixup(image: Tensor, other: Tensor, share: float) -> tuple[Tensor, float]:
    return share * image + (1 - share) * other, share


def _cutmix(image: Tensor, other: Tensor, share: float) -> tuple[Tensor, float]:
    height, width = image.shape[-2:]
    cut = (1 - share) ** 0.5
    centre_y, centre_x = int(torch.randint(height, ())), int(torch.randint(width, ()))
    top, bottom = max(0, centre_y - int(height * cut) // 2), min(height, centre_y + int(height * cut) // 2)
    left, right = max(0, centre_x - int(width * cut) // 2), min(width, centre_x + int(width * cut) // 2)
    mixed = image.clone()
    mixed[..., top:bottom, left:right] = other[..., top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
