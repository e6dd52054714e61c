"""Distribution-aware label smoothing, and class indices as label distributions.

HAFEM's abstract names "distribution-aware label smoothing" and gives no formula; this one is our reading. Smoothing
that depends on the class frequency, to reduce the confidence in frequent classes, is also used by M. Islam et al.,
Class-distribution-aware calibration for long-tailed visual recognition (2021), https://arxiv.org/abs/2109.05263, and Z.
Zhong et al., Improving calibration for long-tailed recognition (2021), https://arxiv.org/abs/2104.00466.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DistributionAwareCrossEntropy(nn.Module):
    """Cross-entropy with label smoothing that depends on the distribution of the training classes.

    With n_k training images of class k, m their mean over the classes that have any, and a target distribution t:

        amount   e_k = s n (n_k / m)^a / sum_j n_j (n_j / m)^a     n = sum_j n_j; so the mean amount of an image is s
        target   q_k = (n_k / m)^-b / sum_j (n_j / m)^-b
        t'_k = (1 - e_k) t_k + q_k sum_j e_j t_j
        loss = mean over the batch of -sum_k t'_k log softmax(logits)_k

    For classes of equal size e_k = s and q_k = 1 / K: ordinary label smoothing.

    Args:
        class_counts: Training images n_k of each class, `(K,)`.
        label_smoothing: Share s of the targets that is spread over the classes, as a mean over the training images.
        amount_exponent: Exponent a of the amount; above 0, labels of frequent classes are smoothed more.
        target_exponent: Exponent b of the target; above 0, rare classes get more of the smoothed share, below 0
            frequent classes do.

    Readings:
        Amount: frequent classes are smoothed more, because a net is most often and most confidently wrong in their
        favour and a rare class has little evidence to lose.
        Target: a power of the inverse class distribution. Both take from frequent classes and give to rare ones, so the
        mean of all targets is closer to the uniform distribution than with ordinary smoothing.
        A class without images is neither smoothed nor given a share, because no image could contradict that share.
        A label distribution is smoothed as the mixture of its classes.

    Raises:
        ValueError: An option is out of range, or the amount of a class is not below 1.
    """

    amount: Tensor
    spread: Tensor

    def __init__(
        self,
        class_counts: Sequence[int],
        label_smoothing: float = 0.1,
        amount_exponent: float = 0.5,
        target_exponent: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"loss.label_smoothing must be at least 0 and below 1; got {label_smoothing}.")
        for name, exponent in (("amount_exponent", amount_exponent), ("target_exponent", target_exponent)):
            if not -1 <= exponent <= 1:
                raise ValueError(f"loss.{name} must be between -1 and 1; got {exponent}.")
        counts = torch.tensor(class_counts, dtype=torch.float64)
        frequency = _power(counts, amount_exponent)
        amount = label_smoothing * frequency * counts.sum() / (counts * frequency).sum()
        if amount.max() >= 1:
            raise ValueError(
                f"loss.label_smoothing={label_smoothing} with loss.amount_exponent={amount_exponent} must replace less "
                f"than 1 of each label; got {amount.max():.2f} for a class: use a smaller value of either."
            )
        spread = _power(counts, -target_exponent)
        self.register_buffer("amount", amount.float(), persistent=False)
        self.register_buffer("spread", (spread / spread.sum()).float(), persistent=False)

    def smooth(self, target: Tensor) -> Tensor:
        """Smoothed label distributions `(B, K)` of class indices `(B,)` or label distributions `(B, K)`."""
        target = as_distributions(target, len(self.amount))
        removed = target * self.amount
        return target - removed + removed.sum(dim=1, keepdim=True) * self.spread

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: `(B, K)`.
            target: Class indices `(B,)` or label distributions `(B, K)`.

        Returns:
            Scalar, in nats.
        """
        return F.cross_entropy(logits.float(), self.smooth(target))


def _power(counts: Tensor, exponent: float) -> Tensor:
    """`(n_k / m)^exponent`, exactly 1 for classes of equal size and 0 for a class without images."""
    present = counts > 0
    return torch.where(present, (counts / counts[present].mean()) ** exponent, 0.0)


def as_distributions(target: Tensor, num_classes: int) -> Tensor:
    """Float label distributions `(B, K)` of class indices `(B,)`, or of label distributions `(B, K)` themselves."""
    return F.one_hot(target, num_classes).float() if target.ndim == 1 else target.float()
