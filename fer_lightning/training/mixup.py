"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms import v2

from fer_lightning.errors import UserError


class Mixing:
    """Mixes each image of a batch with another one, and their targets in the same proportion.

    Args:
        mixup_alpha: Both parameters of mixup's Beta distribution; 0 turns mixup off.
        cutmix_alpha: Both parameters of CutMix's Beta distribution; 0 turns CutMix off.
        probability: Share of the batches that are mixed. Where both are on, each gets half of them.
        num_classes: Number K of classes.

    Raises:
        UserError: A parameter is out of range.
    """

    def __init__(self, mixup_alpha: float, cutmix_alpha: float, probability: float, num_classes: int) -> None:
        for name, alpha in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha)):
            if alpha < 0:
                raise UserError(f"mixing.{name} must be a positive number, or 0 to disable it; got {alpha}.")
        if not 0 <= probability <= 1:
            raise UserError(f"mixing.probability must be between 0 and 1; got {probability}.")
        alphas = ((v2.MixUp, mixup_alpha), (v2.CutMix, cutmix_alpha))
        self.methods = [method(alpha=float(alpha)) for method, alpha in alphas if alpha > 0]
        self.probability = probability
        self.num_classes = num_classes

    def __call__(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mixes a batch.

        Args:
            image: `(B, C, H, W)`.
            target: Class indices `(B,)`, label distributions `(B, K)`, or those and a teacher's `(B, 2, K)`.

        Returns:
            Images `(B, C, H, W)` and targets: `(B, K)` or `(B, 2, K)` if the batch was mixed, else unchanged.
        """
        if not self.methods or torch.rand(()) >= self.probability:
            return image, target
        method = self.methods[int(torch.randint(len(self.methods), ()))]
        distributions = one_hot(target, self.num_classes).float() if target.ndim == 1 else target
        mixed, labels = method(image, distributions.flatten(1))
        return mixed, labels.view_as(distributions)
