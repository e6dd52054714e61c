"""How much features of one class vary within a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer_lightning.losses.distributions import as_distributions


class IntraClassVariation(nn.Module):
    """Variance of the features of a class around their own mean, averaged over the classes of a batch.

    With features x_i, target distributions t_i (one-hot for class indices), n_k = sum_i t_ik and the set C of classes
    with n_k >= 2:

        mean_k = 1 / n_k sum_i t_ik x_i
        loss = 1 / |C| sum_{k in C} 1 / n_k sum_i t_ik |x_i - mean_k|^2

    It is 0 where C is empty.

    Args:
        num_classes: K.

    Readings:
        HAFEM's abstract names no such term; it is off unless asked for. It differs from the center loss: the means are
        those of the batch alone, so there is no memory, no step size and no start at zero; the gradient flows through
        them, so a class is drawn together but never moved as a whole; and rare classes weigh as much as frequent
        ones. Several processes take each its own part of the batch.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """Variance of a batch.

        Args:
            features: `(B, D)`.
            target: Class indices `(B,)` or label distributions `(B, K)`.

        Returns:
            Scalar, in squared units of the features.
        """
        share = as_distributions(target, self.num_classes)
        # Under autocast the means would be rounded to half precision.
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            count = share.sum(dim=0)
            mean = (share.T @ features) / count.clamp_min(1)[:, None]
            distance = (features[:, None] - mean).square().sum(dim=2)
            variance = (share * distance).sum(dim=0) / count.clamp_min(1)
            repeated = (count >= 2).float()
            return (repeated * variance).sum() / repeated.sum().clamp_min(1)
