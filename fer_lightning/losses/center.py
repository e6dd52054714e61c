"""Center loss, which draws features to the centre of their class, and intra-class variation within a batch.

Paper: Y. Wen et al., A discriminative feature learning approach for deep face recognition (2016),
https://doi.org/10.1007/978-3-319-46478-7_31.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn

from fer_lightning.losses.label_smoothing import as_distributions


class CenterLoss(nn.Module):
    """Half the squared Euclidean distance of features to the centre of their class, eq. 2.

    With features x_i, target distributions t_i (one-hot for class indices) and centres c_k:

        loss = 1 / 2B sum_i sum_k t_ik |x_i - c_k|^2
        c_k <- c_k - alpha sum_i t_ik (c_k - x_i) / (1 + sum_i t_ik)                            (eq. 4)

    The loss is computed with the centres before their update, as in Algorithm 1. Every forward pass in training mode
    updates the centres; no gradient reaches them. They are part of the state dict, and so of checkpoints.

    Args:
        num_classes: Number K of classes.
        embed_dim: Size D of the features.
        alpha: Step size of the centres, 0 < alpha <= 1.

    Readings:
        The loss is the mean over the batch where the paper sums. Its softmax loss is a sum as well, so the weight
        between the two keeps its meaning, and neither depends on the batch size.
        Centres start at zero.
        Label distributions weigh the distances and the sums of the update.
        Several processes sum over all their images before the update, so they share one set of centres, the same that
        one process would compute from all their images.

    Raises:
        ValueError: `alpha` is out of range.
    """

    centers: Tensor

    def __init__(self, num_classes: int, embed_dim: int, alpha: float = 0.5) -> None:
        super().__init__()
        if not 0 < alpha <= 1:
            raise ValueError(f"loss.center_alpha must be above 0 and at most 1; got {alpha}.")
        self.alpha = alpha
        self.register_buffer("centers", torch.zeros(num_classes, embed_dim))

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """Mean loss of a batch; updates the centres in training mode.

        Args:
            features: `(B, D)`.
            target: Class indices `(B,)` or label distributions `(B, K)`.

        Returns:
            Scalar, in squared units of the features.
        """
        share = as_distributions(target, len(self.centers))
        # Under autocast, the products of the update and with them the centres would be rounded to half precision.
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            distance = (features[:, None] - self.centers).square().sum(dim=2)
            loss = (share * distance).sum() / (2 * len(features))
            if self.training:
                self._step(features.detach(), share)
        return loss

    def _step(self, features: Tensor, share: Tensor) -> None:
        count = share.sum(dim=0)[:, None]
        totals = torch.cat([share.T @ features, count], dim=1)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(totals)
        total, count = totals[:, :-1], totals[:, -1:]
        self.centers -= self.alpha * (count * self.centers - total) / (1 + count)


class IntraClassVariation(nn.Module):
    """Intra-class variance of the features, averaged over the classes of a batch.

    With features x_i, target distributions t_i (one-hot for class indices), n_k = sum_i t_ik and the set C of classes
    with n_k >= 2:

        mean_k = 1 / n_k sum_i t_ik x_i
        loss = 1 / |C| sum_{k in C} 1 / n_k sum_i t_ik |x_i - mean_k|^2

    It is 0 where C is empty.

    Args:
        num_classes: Number K of classes.

    Readings:
        HAFEM's abstract names no such term; it is off by default. It differs from the center loss: the means are those
        of the batch alone, so there is no memory, no step size and no start at zero; the gradient flows through them,
        so a class contracts but never moves as a whole; and rare classes weigh as much as frequent ones. Each process
        uses its part of the batch.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """Mean intra-class variance of a batch.

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
